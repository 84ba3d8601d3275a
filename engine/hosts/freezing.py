"""An XFS that is frozen for a moment, so that what its log holds is written where GRUB reads it.

GRUB does not replay the log, and sync(2) only writes the log out (fs/xfs/xfs_super.c: xfs_fs_sync_fs); freezing empties
it (xfs_fs_freeze). grubby does so by fsfreeze(8), and ostree by the same two calls, with a watchdog as here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
from pathlib import Path
from typing import NoReturn

from engine.hosts.mounts import mount_of

FIFREEZE = 0xC0045877
FITHAW = 0xC0045878
# Seconds for which it may be frozen: it takes milliseconds, and whoever writes there waits.
LONGEST = 10.0
# It cannot be frozen, we may not (a container's root), it is frozen already, it is not frozen.
REFUSALS = frozenset({errno.EOPNOTSUPP, errno.EPERM, errno.EBUSY, errno.EINVAL})


def write_in_place(directory: Path, root: Path) -> None:
    """Empty the log of the XFS that holds a directory; nothing on another file system.

    Nor on that of `/` or of the host's root: there everything would wait that writes, and who is to thaw it may be part
    of that. Raises OSError with the kernel's errno where the file system fails.
    """
    mount = mount_of(directory)
    if mount is None or mount.type != "xfs" or mount.device in map(_device, (Path("/"), root)):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        _freeze_and_thaw(descriptor)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(descriptor)


def _device(place: Path) -> str | None:
    mount = mount_of(place)
    return None if mount is None else mount.device


def _freeze_and_thaw(descriptor: int) -> None:
    """No signal that can be held back comes between the two, and nothing is logged or written there."""
    reader, writer = os.pipe()
    watcher = os.fork()
    if watcher == 0:
        _watch(descriptor, reader)
    try:
        # A crash here leaves it frozen until the watcher reads the end of the pipe.
        if not _asked(descriptor, FIFREEZE) or _asked(descriptor, FITHAW):
            os.write(writer, b"!")
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(watcher, 0)


def _watch(descriptor: int, reader: int) -> NoReturn:
    """Thaw when our process has ended in between, or after a while; in a session of its own, with nothing else open."""
    try:
        os.setsid()
        first, second = sorted((descriptor, reader))
        os.closerange(0, first)
        os.closerange(first + 1, second)
        os.closerange(second + 1, os.sysconf("SC_OPEN_MAX"))
        told = select.poll()
        told.register(reader, select.POLLIN)
        while not told.poll(LONGEST * 1000):
            _asked(descriptor, FITHAW)
        if not os.read(reader, 1):
            _asked(descriptor, FITHAW)
    finally:
        os._exit(0)


def _asked(descriptor: int, what: int) -> bool:
    """Whether the kernel did it. Raises OSError where that is no answer but a failure."""
    try:
        fcntl.ioctl(descriptor, what, 0)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        return False
    return True
