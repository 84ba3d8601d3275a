#!/usr/bin/env python3
"""Syncs, counted by strace and not timed: of one commit (budget 5), of the six file edits of a whole way (budget 50).

The six edits in the steps that make them: /etc/modules; GRUB's file, a softdep and the initramfs' modules; the script
and the unit that bind at boot. With all that the engine does around them: intents, outcomes, transitions, restore.sh.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MARKS = ("/begin-of-commit", "/end-of-commit", "/begin-of-edits", "/end-of-edits")
EDITS = {
    "load_modules": ("/etc/modules",),
    "stub": ("/etc/default/grub", "/etc/modprobe.d/00-vfiostate.conf", "/etc/initramfs-tools/modules"),
    "bind": ("/usr/local/sbin/vfiostate-bind", "/etc/systemd/system/vfiostate.service"),
}


def child(directory: Path) -> None:
    """What is counted: between the marks, which are looked up and not there."""
    from engine import attempt, config
    from engine.perform import perform
    from engine.progress import Plain
    from engine.session import open_session
    from engine.states import FORWARD
    from engine.target import SessionOptions
    from journal.events import Kind
    from steps.base import Plan
    from steps.config import Config, Device

    with open_session(SessionOptions(simulate=directory), Plain(), write=True, create=True) as session:
        for paths in EDITS.values():
            for path in paths:
                session.host.local(path).parent.mkdir(parents=True, exist_ok=True)
        wanted = Config(devices=(Device("0000:03:00.0", "10de:1200"),))
        session.begin_setup(config.decode(config.encode(wanted)))
        session.scribe.later(session.scribe.note(Kind.GUEST, {"what": "start", "detail": ""}))
        os.path.exists(MARKS[0])
        session.scribe.flush()
        os.path.exists(MARKS[1])
        for move in FORWARD:
            counted = move.trigger in EDITS
            actions = tuple(_edit(session.host, path) for path in EDITS.get(move.trigger, ()))
            if counted:
                os.path.exists(MARKS[2])
                attempt.begin(session, move, Plan(actions=actions), session.setup.attempts + 1)
                perform(session, move.target, session.setup.attempts + 1, actions)
            attempt.fire(session, move, {}, move.target)
            if counted:
                os.path.exists(MARKS[3])


def _edit(host, path):  # type: ignore[no-untyped-def]  # the imports it would need belong into the child
    """An edit as the steps make them: a line more, or a new file."""
    from hashlib import sha256

    from steps.actions import EditFile

    before = host.read(path) if host.lstat(path) is not None else None
    line = b"# vfiostate: a line of ours\n"
    digest = None if before is None else sha256(before).hexdigest()
    return EditFile(path, (before or b"") + line, digest, "a line of ours", inserted=line)


def counts(trace: str) -> tuple[int, int]:
    """Syncs of the commit and of the edits."""
    found = {"commit": 0, "edits": 0}
    now = ""
    for line in trace.splitlines():
        mark = re.search(r'"/(begin|end)-of-(commit|edits)"', line)
        if mark:
            now = mark[2] if mark[1] == "begin" else ""
        elif now and re.search(r"\bf(data)?sync\(\d", line):
            found[now] += 1
    return found["commit"], found["edits"]


def main() -> int:
    """Print both counts; 1 when one is over its budget."""
    if shutil.which("strace") is None:
        print("syncs: skipped, there is no strace here")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        trace = Path(directory, "trace")
        calls = "trace=fsync,fdatasync,stat,lstat,newfstatat,access"
        argv = ["strace", "-f", "-e", calls, "-o", str(trace), sys.executable, __file__, f"{directory}/machine"]
        done = subprocess.run(argv, capture_output=True, check=False)
        if done.returncode != 0:
            print(f"syncs: skipped, strace does not work here: {done.stderr.decode(errors='replace')[-300:].strip()}")
            return 0 if b"ptrace" in done.stderr.lower() else 2
        commit, edits = counts(trace.read_text())
    print(f"syncs of a commit: {commit} (budget 5)")
    print(f"syncs of six file edits: {edits} (budget 50)")
    return 0 if 0 < commit <= 5 and 0 < edits <= 50 else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(Path(sys.argv[1]))
    else:
        sys.exit(main())
