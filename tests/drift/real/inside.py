"""A setup whose files are `stubbed`'s, made by the real tools in a Debian root; then drift by drift, as the lab makes
them: produced, asked about by the program itself, taken back, asked again. Told as JSON.

Runs in a mount namespace of its own: `unshare -m python -m tests.drift.real.inside ROOT`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from engine.attempt import fire, take_step
from engine.progress import reporter
from engine.scribe import Scribe
from engine.session import STATE_DIR, Choice, Session
from engine.states import FORWARD
from engine.target import SessionOptions
from journal.events import Origin
from journal.images import Images
from journal.store import Journal
from steps.base import State
from steps.config import Config, Device
from tests.boot.real.inside import ADDRESS, Layered, mounted
from tests.lab_unit import labkit

DRIFTS = labkit.module("drift").RUNNING
# What needs no running kernel of that system.
NAMES = (
    "the file edited",
    "replaced by a package",
    "replaced through ucf",
    "turned into a symlink",
    "another owner",
    "another mode",
    "removed",
    "a drop-in that overrides us",
    "a new kernel",
    "an initramfs rebuilt without us",
    "restore.sh gone",
)


def set_up(root: Path, kernel: str) -> None:
    """The step `stubbed` taken by the engine, without a trial; the states around it only said to be reached."""
    host = Layered(root, kernel)
    assert host.run(("update-grub",), timeout=60.0).ok
    place = host.local(f"{STATE_DIR}/journal.db")
    place.parent.mkdir(mode=0o700, parents=True)
    with closing(Journal.create(str(place))) as journal:
        scribe = Scribe(journal, Origin(host.boot_id, os.getuid(), None, "test"), [])
        images = Images(host.local(f"{STATE_DIR}/images"))
        session = Session(host, scribe, images, reporter(), SessionOptions(root=root), choice=Choice(trial=False))
        session.begin_setup(Config((Device(ADDRESS, "1234:1111"),)))
        for move in FORWARD:
            if move.target is State.STUBBED:
                assert take_step(session, move, reboot=False).state is State.STUBBED
            elif move.target.rank <= State.REBOOTED.rank:
                fire(session, move, {"remember": {"release": kernel}}, move.target)


def shell(root: Path, kernel: str, script: str) -> None:
    """A script of the lab, in the root; `uname -r` there would be the kernel of the machine that tests."""
    script = script.replace("$(uname -r)", kernel)
    done = subprocess.run(("chroot", root, "sh", "-ec", script), capture_output=True, timeout=200, check=False)
    assert done.returncode == 0, (script, done.stdout[-1000:], done.stderr[-1000:])


def audit(root: Path) -> tuple[int, str]:
    """`vfiostate --root ROOT audit`: its exit code and what it says."""
    argv = (sys.executable, "-m", "engine", "--root", str(root), "audit")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)
    return done.returncode, done.stdout + done.stderr


def main(root: Path) -> None:
    """Every drift."""
    mounted(root)
    kernel = next(path.name for path in sorted((root / "lib/modules").iterdir()))
    set_up(root, kernel)
    told: dict[str, object] = {"before": audit(root)}
    for row in DRIFTS:
        if row.name in NAMES:
            shell(root, kernel, row.produce)
            found = audit(root)
            shell(root, kernel, row.back)
            told[row.name] = {"code": row.code, "audit": found, "again": audit(root)}
    print(json.dumps(told))  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    os.umask(0o022)
    main(Path(sys.argv[1]).resolve())
