"""The lock of a run that changes a host, and who holds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from engine.hosts.base import ChangeableHost
from journal.errors import LockedError

LOCK = "/run/lock/vfiostate.lock"
TIDYING = 2.0
"""Seconds for which the lock may outlive a run that was killed: one of its children hides a ROM, or has not begun."""
POLL = 0.1


@contextlib.contextmanager
def taken(host: ChangeableHost) -> Iterator[None]:
    """Hold the lock meanwhile. The kernel gives it back when the process ends, however it ends.

    Raises LockedError, with who holds it, where somebody else is at work.
    """
    place = host.local(LOCK)
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not _locked(host, descriptor):
            other = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "Another process"
            raise LockedError(
                f"{other} is at work on {host.label}.", evidence=(LOCK,), hint="Wait for it to end, then try again."
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"vfiostate, process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _locked(host: ChangeableHost, descriptor: int) -> bool:
    """Lock it. What a killed run left to tidy up after it may hold it for a moment longer: that is waited for."""
    deadline = time.monotonic() + TIDYING
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if holder(host) is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.02)


def holder(host: ChangeableHost) -> int | None:
    """The process that holds the lock, None where none does; found out without touching the lock.

    Trying it would make a run that begins at that moment fail. Its holder writes its number into the file, and
    has the file open: /proc/PID/fd (proc(5)) of this very system, in which we both are.
    """
    place = host.local(LOCK)
    try:
        words = place.read_text("ascii", errors="replace").split()
    except OSError:
        return None
    if not words or not words[-1].isdecimal():
        return None
    pid = int(words[-1])
    wanted = os.path.realpath(place)
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(descriptor) == wanted and pid != os.getpid():
                    return pid
    return None


def wait(host: ChangeableHost, seconds: float) -> int | None:
    """Wait for its holder to end, at most so many seconds. The process that holds it still, None where none does."""
    deadline = time.monotonic() + seconds
    while (pid := holder(host)) is not None and time.monotonic() < deadline:
        time.sleep(POLL)
    return pid
