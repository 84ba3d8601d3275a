"""A package manager at work makes the files that we do: a kernel's maintainer scripts run update-initramfs and
update-grub, and two of these at once write to one and the same file (grub.cfg.new)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import signals
from journal.errors import LockedError
from steps.actions import Action, Regenerate, RunCommand

if TYPE_CHECKING:
    from engine.session import Session
    from engine.setup import Deed

# dpkg's frontends, dpkg itself, and rpm's transactions: write locks of fcntl(2).
LOCKED = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/rpm/.rpm.lock",
    "/usr/lib/sysimage/rpm/.rpm.lock",
)
# pacman's is there while it runs, and after a run that was killed.
THERE = "/var/lib/pacman/db.lck"
# Seconds: an upgrade that makes an initramfs or two has ended by then.
PATIENCE = 600.0
POLL = 0.5
# struct flock of the 64-bit architectures: l_type, l_whence, l_start, l_len, l_pid.
FLOCK = "hhqqi4x"


def waited_for(session: Session, actions: Iterable[Action]) -> bool:
    """Wait until no package manager is at work, where one of these actions makes what it may make too.

    Whether it had to be waited for: what was seen before that is to be looked at anew. Raises LockedError where it goes
    on for longer than PATIENCE, InterruptedByUser when a signal came meanwhile.
    """
    return any(map(_makes, actions)) and _settled(session)


def waited_for_undoing(session: Session, deeds: Iterable[Deed]) -> bool:
    """As `waited_for`, for what is to be taken back."""
    undoes = ((deed.action.get("undo") or {}).get("type") for deed in deeds)
    return "regenerate" in undoes and _settled(session)


def _makes(action: Action) -> bool:
    return isinstance(action, RunCommand) and isinstance(action.undo, Regenerate)


def _settled(session: Session) -> bool:
    deadline = time.monotonic() + PATIENCE
    waited = False
    while (found := _at_work(session)) is not None:
        who, path = found
        if time.monotonic() > deadline:
            raise LockedError(
                f"{who} is at work on {session.host.label}, and may make the same files; nothing was done.",
                evidence=(path,),
                hint="Wait for it to end, then try again.",
            )
        if not waited:
            session.reporter.say(f"- {who} is at work, and may make the same files: waiting for it to end ({path})")
        waited = True
        signals.check()
        time.sleep(POLL)
    return waited


def _at_work(session: Session) -> tuple[str, str] | None:
    """Who it is, and its lock. Raises LockedError for one of which nobody can tell whether it still runs."""
    host = session.host
    for path in LOCKED:
        with contextlib.suppress(OSError):
            if (pid := _holder(host.local(host.resolve(path)))) is not None:
                return _name(pid), path
    if host.booted and host.lstat(THERE) is not None:
        raise LockedError(
            f"The package manager pacman is at work on {host.label}, and may make the same files; nothing was done.",
            evidence=(THERE,),
            hint=f"Wait for it to end, then try again. Where none runs, one was killed: remove {THERE}.",
        )
    return None


def _holder(place: Path) -> int | None:
    """The process with a write lock on a file, 0 where the kernel does not say which; found out without locking it."""
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        asked = struct.pack(FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        answer: tuple[Any, ...] = struct.unpack(FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    return None if answer[0] == fcntl.F_UNLCK else max(0, answer[4])


def _name(pid: int) -> str:
    try:
        return f"{Path(f'/proc/{pid}/comm').read_text(errors='replace').strip()} (process {pid})"
    except OSError:
        return "A package manager"
