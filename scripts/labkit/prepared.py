"""A disk with vfiostate installed and configured, shut down in order, and what every file was then: where lives begin.

Made once for one image and one state of the program, and kept beside the image.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from . import bundle, image, observe
from .base import REPOSITORY, cache_directory, limit, need_commands, say
from .channel import Ran
from .machine import Machine, Shape, overlay
from .scenario import DEVICES, GUEST

PROGRAM = ("engine", "journal", "steps")
# On a machine that is short of processor time the emulated timer ticks too late for the kernel's check of it: a panic
# that is the lab's fault.
PATIENT = (
    "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&no_timer_check /' /etc/default/grub && grep -q no_timer_check /etc/default/grub"
    " && update-grub && sync"
)
KEPT = 2 * 86400  # seconds; an older one of another program is removed
REVISION = 3  # one more whenever the functions below prepare another disk of the same program


@dataclass(frozen=True)
class Prepared:
    """The disk, never to be written to, and what the machine was."""

    disk: Path
    before: observe.Sight

    def machine(self, directory: Path, *, processors: int = 2) -> Machine:
        """A machine whose disk begins as this one."""
        directory.mkdir(parents=True, exist_ok=True)
        return Machine(directory, overlay(self.disk, directory / "disk.qcow2"), Shape(processors=processors))


def vfiostate(machine: Machine, *words: str, nominal: str = "advance") -> Ran:
    """Runs vfiostate in the machine, as root."""
    return machine.agent.run(["vfiostate", *words], timeout=limit(nominal))


def ensure(stub: str = "vfio-pci") -> Prepared:
    """The prepared disk of the present program, from the cache or made now."""
    need_commands(["qemu-system-x86_64", "qemu-img", "pip"])
    base = image.ensure_image()
    directory = cache_directory() / f"prepared-{key(base, stub)}"
    with open(cache_directory() / "prepare.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            forget_old()
            prepare(base, stub, directory)
        os.utime(directory)
    sight = json.loads((directory / "before.json").read_text(encoding="utf-8"))
    functions = {address: observe.Function(**one) for address, one in sight["functions"].items()}
    return Prepared(directory / "disk.qcow2", observe.Sight(sight["cmdline"], functions, sight["files"]))


def key(base: Path, stub: str) -> str:
    """Changes with the image, with the program and with how it is prepared."""
    digest = hashlib.sha256(f"{REVISION} {base.name} {stub} {GUEST} {DEVICES}".encode())
    files = [REPOSITORY / "pyproject.toml", *(path for name in PROGRAM for path in (REPOSITORY / name).rglob("*.py"))]
    for path in sorted(files):
        digest.update(f"{path.relative_to(REPOSITORY)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def forget_old() -> None:
    """Removes prepared disks that nobody has asked for in days."""
    for directory in cache_directory().glob("prepared-*"):
        if directory.stat().st_mtime < time.time() - KEPT:
            shutil.rmtree(directory, ignore_errors=True)


def prepare(base: Path, stub: str, target: Path) -> None:
    """Installs and configures vfiostate as its user would, looks at every file, shuts down."""
    say("preparing a disk with vfiostate installed …")
    work = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=cache_directory()))
    try:
        with Machine(work, overlay(base, work / "disk.qcow2")) as machine:
            machine.start()
            machine.agent.sh(PATIENT, timeout=limit("initramfs"))
            machine.reboot()
            observe.place_programs(machine.agent)
            bundle.install(machine.agent, bundle.make(work / "bundle"))
            devices = [word for address, (ids, _) in DEVICES.items() for word in ("--device", f"{address}={ids}")]
            vfiostate(machine, "init", *devices, "--stub", stub, *GUEST).check()
            # Nothing runs in this guest that could shut it down.
            machine.agent.sh("sed -i 's/^# stop_timeout = .*/stop_timeout = 5/' /etc/vfiostate.toml; sync")
            before = observe.look(machine.agent)
            machine.power_off()
        (work / "before.json").write_text(json.dumps(asdict(before)), encoding="utf-8")
        shutil.rmtree(work / "bundle")
        os.replace(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
