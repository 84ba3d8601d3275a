"""What the files of the state directory need: durable names, and errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from journal.errors import JournalError, JournalFullError, JournalUnreadableError


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_names(path: Path) -> None:
    """Make the name of a file durable, and those of the directories above it, which may be as new. Raises OSError."""
    sync_directory(path.parent)
    for directory in path.parent.parents:
        # Nobody without the right to read a directory has made anything in it.
        with contextlib.suppress(PermissionError):
            sync_directory(directory)


def cannot_write(message: str, path: Path, error: OSError) -> JournalError:
    """The JournalError for a file of ours that could not be written."""
    evidence = (f"{path}: {error.strerror or error}",)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JournalFullError(
            message, hint="Make room on that file system, then run the command again.", evidence=evidence
        )
    return JournalUnreadableError(
        message, hint="Run as root, and see whether the file system is writable.", evidence=evidence
    )
