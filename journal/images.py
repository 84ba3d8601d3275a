"""Before-images too large for the database (an initramfs): plain files `images/<sha256>` beside the journal.

They are plain so that `restore.sh` can copy them back in a rescue shell.
"""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

from journal.chain import VERIFY_HINT
from journal.errors import JournalDamagedError
from journal.files import cannot_write, sync_names

BLOB_LIMIT = 1 << 20
"""Bytes up to which a before-image goes into the journal as a blob; a larger one is kept as an image."""

_CHUNK = 1 << 20
_NO_RANGE = frozenset({errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM})


class Images:
    """The directory of large before-images. One writer at a time: the run's lock sees to that."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def keep(self, source: Path) -> str:
        """Copy a file and return the sha256 of what was kept; it is durable when this returns.

        Raises OSError when the source cannot be read, JournalFullError or JournalUnreadableError when the copy cannot
        be written.
        """
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return self._keep(descriptor)
        except OSError as error:
            raise cannot_write("A before-image cannot be kept.", self.directory, error) from error
        finally:
            os.close(descriptor)

    def path(self, digest: str) -> Path:
        """Where the image with this sha256 lies. Raises ValueError for what is no sha256, such as a path."""
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ValueError(f"not a sha256: {digest!r}")
        return self.directory / digest

    def check(self, digest: str) -> Path:
        """Where the image lies, once it has been read and found to be what it was. Raises JournalDamagedError."""
        path = self.path(digest)
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise JournalDamagedError(
                "A before-image beside the journal cannot be read.",
                hint=VERIFY_HINT,
                evidence=(f"{path}: {error.strerror or error}",),
            ) from error
        if found != digest:
            raise JournalDamagedError(
                "A before-image beside the journal is damaged.",
                hint=VERIFY_HINT,
                evidence=(str(path), f"found sha256 {found}"),
            )
        return path

    def _keep(self, source: int) -> str:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # One name for all: what a crash leaves under it is overwritten by the next image, so orphans do not pile up.
        draft = self.directory / ".draft"
        draft.unlink(missing_ok=True)
        target = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _copy(source, target)
            digest = _digest(target)
            os.fsync(target)
            # A crash here leaves only the orphan; after the rename and before the sync of the directory, nothing or
            # the whole image. Nobody has been told of it yet in either case.
            os.replace(draft, self.directory / digest)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        finally:
            os.close(target)
        # The directories as well, also where they were there: the run that made them may have been killed before this.
        sync_names(self.directory / digest)
        return digest


def _copy(source: int, target: int) -> None:
    """Copy from the beginning; by reference where the file system can (copy_file_range(2) does that by itself)."""
    copied = 0
    while copied < os.fstat(source).st_size:
        try:
            count = os.copy_file_range(source, target, 1 << 30)
        except OSError as error:
            if error.errno not in _NO_RANGE or copied:
                raise
            break
        if count == 0:
            break
        copied += count
    # Also what copy_file_range does not see: files of the kernel that say they have no size.
    while chunk := os.read(source, _CHUNK):
        _write_all(target, chunk)


def _write_all(target: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(target, view) :]


def _digest(descriptor: int) -> str:
    """Of the copy and not of the source: what counts is what can be put back."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    digest = hashlib.sha256()
    while chunk := os.read(descriptor, _CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
