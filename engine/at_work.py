"""Whether another vfiostate is at work on a host, found out without touching its lock."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from engine.hosts.base import ChangeableHost

POLL = 0.1


def at_work(host: ChangeableHost, lock: str) -> int | None:
    """The process that holds the lock, None where none does.

    Trying the lock would make a run that begins at that moment fail. Its holder writes its number into the file, and
    has the file open: /proc/PID/fd (proc(5)) of this very system, in which we both are.
    """
    place = host.local(lock)
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


def wait(host: ChangeableHost, lock: str, seconds: float) -> int | None:
    """Wait for it to end, at most so many seconds. The process that is still at work then, None where none is."""
    deadline = time.monotonic() + seconds
    while (pid := at_work(host, lock)) is not None and time.monotonic() < deadline:
        time.sleep(POLL)
    return pid
