"""Where a report or a capture goes: written whole or not at all, and over nothing but another of its kind."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from engine.console import err, out
from journal.errors import RefusedError, UsageError, VfiostateError

STDOUT = "-"


def give(target: str, text: str, *, kind: str, mark: str, force: bool = False) -> None:
    """Write it to stdout for `-`; else into a file, as `put` does, and say so."""
    if target == STDOUT:
        out(text.removesuffix("\n"))
        return
    put(target, text, kind=kind, mark=mark, force=force)
    err(f"{target} written; look at it before you give it away")


def put(target: str, text: str, *, kind: str, mark: str, force: bool = False) -> None:
    """Write it: a temporary file beside it, fsync, rename, fsync of the directory. A crash leaves the old file.

    Raises RefusedError for a file that does not begin with `mark`, as one of its `kind` does, unless `force`;
    UsageError for what is no file, VfiostateError where it cannot be written. A symlink is never followed: with `force`
    it is replaced, but none in /dev.
    """
    path = Path(target)
    try:
        _look(path, kind, mark, force)
        _write(path, text.encode())
    except OSError as error:
        raise VfiostateError(
            f"{target} cannot be written: {error.strerror}.", hint="Give another file with `-o`."
        ) from None


def _look(path: Path, kind: str, mark: str, force: bool) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    # A symlink in /dev, such as /dev/stdout, is the system's: whoever replaced it would take it from every program.
    file = not path.absolute().is_relative_to("/dev") if stat.S_ISLNK(mode) else stat.S_ISREG(mode)
    if not file:
        raise UsageError(f"{path} is no file.", hint=f"Name a file, new or a {kind} made before.")
    if force:
        return
    if not stat.S_ISREG(mode) or not _begins(path, mark.encode()):
        raise RefusedError(
            f"{path} is there already and is no {kind} of vfiostate.",
            hint="Name another file, or replace it with `--force`.",
        )


def _begins(path: Path, mark: bytes) -> bool:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        return file.read(len(mark)) == mark


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
