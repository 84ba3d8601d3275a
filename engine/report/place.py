"""Where the report goes: written whole or not at all, and over nothing but another report."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from engine.report.page import MARK
from journal.errors import RefusedError, UsageError, VfiostateError


def put(target: str, text: str, *, force: bool = False) -> None:
    """Write the page: a temporary file beside it, fsync, rename, fsync of the directory. A crash leaves the old file.

    Raises RefusedError for a file that is no report unless `force`, UsageError for what is no file, VfiostateError
    where it cannot be written. A symlink is never followed: with `force` it is replaced.
    """
    path = Path(target)
    try:
        _look(path, force)
        _write(path, text.encode())
    except OSError as error:
        raise VfiostateError(
            f"{target} cannot be written: {error.strerror}.", hint="Give another file with `-o`."
        ) from None


def _look(path: Path, force: bool) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise UsageError(f"{path} is no file.", hint="Name a file, new or a report made before.")
    if force:
        return
    if not stat.S_ISREG(mode) or not _is_report(path):
        raise RefusedError(
            f"{path} is there already and is no report of vfiostate.",
            hint="Name another file, or replace it with `--force`.",
        )


def _is_report(path: Path) -> bool:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        return file.read(len(MARK)) == MARK.encode()


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
