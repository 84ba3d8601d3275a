"""Reading and changing files below a root, as a Linux host, a mounted system and the simulated machine all do it.

Paths are absolute and as the system below the root sees them: an absolute symlink means the root's, and `..` above the
root stays at the root, as after chroot(2). So no symlink leads out.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from engine.hosts.base import Attributes
from engine.hosts.mounts import mount_of
from steps.base import FileKind, Stat

# The kernel's own limit of symlinks in one path (path_resolution(7)).
MAX_LINKS = 40
ACCESS_LIST = "system.posix_acl_access"


class FileTree:
    """The file half of a host whose `/` is the directory `root`.

    Two processes must not change the same file at once: whoever writes holds the lock of the run.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root.resolve()
        # Empty at /: there the kernel follows symlinks itself, and the same way.
        self._above = str(self.root).rstrip("/")

    # --- where things are

    def resolve(self, path: str) -> str:
        """The path with every symlink followed, in the host's terms; need not exist. Raises OSError (ELOOP)."""
        return self._walk(path, follow_last=True)

    def local(self, path: str) -> Path:
        """Where a path of the host lies for us; symlinks on the way are followed, the last name is not."""
        return self._outside(self._walk(path, follow_last=False))

    def _itself(self, path: str) -> str:
        """Where a path lies for us; symlinks on the way are followed, the last name is not."""
        if not self._above and path.startswith("/"):
            return path
        return f"{self._above}{self._walk(path, follow_last=False)}"

    def _real(self, path: str) -> str:
        """Where the thing itself lies for us, symlinks followed."""
        if not self._above and path.startswith("/"):
            return path
        return f"{self._above}{self.resolve(path)}"

    def _outside(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _walk(self, path: str, *, follow_last: bool) -> str:
        if not path.startswith("/"):
            raise ValueError(f"not an absolute path: {path!r}")
        pending = path.split("/")[::-1]
        done = ""
        links = 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                done = done.rpartition("/")[0]
                continue
            step = f"{done}/{name}"
            target = self._link_text(step) if follow_last or any(pending) else None
            if target is None:
                done = step
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            pending.extend(target.split("/")[::-1])
            if target.startswith("/"):
                done = ""
        return done or "/"

    def _link_text(self, path: str) -> str | None:
        try:
            return os.readlink(f"{self._above}{path}")
        except OSError:
            return None

    # --- reading

    def read(self, path: str) -> bytes:
        """The content of a file, symlinks followed."""
        with open(self._real(path), "rb") as stream:
            try:
                return stream.read()
            except OSError as error:
                # The kernel does not say of which open file it speaks.
                error.filename = path
                raise

    def lstat(self, path: str) -> Stat | None:
        """What the path itself is, None where nothing is."""
        try:
            found = os.lstat(self._itself(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        uid, gid = self.ids_inside(found.st_uid, found.st_gid)
        same = (found.st_dev, found.st_ino)
        mode = stat.S_IMODE(found.st_mode)
        return Stat(_kind(found.st_mode), mode, uid, gid, found.st_size, found.st_mtime_ns, same)

    def list(self, path: str) -> tuple[str, ...]:
        """The names in a directory, sorted."""
        return tuple(sorted(os.listdir(self._real(path))))

    def readlink(self, path: str) -> str:
        """The text of a symlink."""
        return os.readlink(self._itself(path))

    def free(self, path: str) -> int:
        """Bytes that may still be written to the file system that holds `path` (or its nearest existing parent)."""
        found = os.statvfs(self._nearest(path))
        return found.f_bavail * found.f_frsize

    def filesystem(self, path: str) -> str:
        """What tells the file system that holds `path` (or its nearest existing parent) from every other."""
        place = self._nearest(path)
        if (mount := mount_of(place)) is not None:
            return mount.device
        device = os.stat(place).st_dev
        return f"{os.major(device)}:{os.minor(device)}"

    def _nearest(self, path: str) -> Path:
        place = self._outside(self.resolve(path))
        while not place.exists() and place != self.root:
            place = place.parent
        return place

    def attributes(self, path: str) -> Attributes:
        """Mode, owner and extended attributes of a file, symlinks followed."""
        place = self._outside(self.resolve(path))
        found = os.lstat(place)
        uid, gid = self.ids_inside(found.st_uid, found.st_gid)
        return Attributes(stat.S_IMODE(found.st_mode), uid, gid, _xattrs(place))

    # --- changing

    def write_file(self, path: str, content: bytes, attributes: Attributes) -> None:
        """Replace or make a file, durably, whole or not at all. The path is the file's own: a symlink is refused.

        Raises OSError: ELOOP for a symlink, EISDIR for a directory, and what the system says otherwise.
        """
        with self._replacement(path, attributes) as temporary:
            temporary.write(content)

    def put_file(self, path: str, source: Path, attributes: Attributes) -> None:
        """As write_file, with the content of a local file."""
        with open(source, "rb") as content, self._replacement(path, attributes) as temporary:
            shutil.copyfileobj(content, temporary, 1 << 20)

    def remove_file(self, path: str) -> None:
        """Remove a file (or a symlink, itself), durably. Raises FileNotFoundError, IsADirectoryError."""
        place = self.local(path)
        # A crash after this line and before the next: the name may come back with the file system; the journal's
        # intent is still open then, and recovery looks at the file.
        os.unlink(place)
        _sync_directory(place.parent)

    def sync(self, path: str) -> None:
        """Make durable what somebody else wrote to a path, and its name; nothing where nothing is."""
        place = self.local(path)
        if place.is_file() and not place.is_symlink():
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        if place.parent.is_dir():
            _sync_directory(place.parent)

    def tidy(self, path: str) -> None:
        """Remove the temporary file that a write of `path` left behind when it was cut short, if there is one."""
        place = self.local(path)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(place.with_name(temporary_name(place.name)))
            _sync_directory(place.parent)

    @contextlib.contextmanager
    def _replacement(self, path: str, attributes: Attributes) -> Iterator[IO[bytes]]:
        place = self.local(path)
        _refuse_special(place)
        temporary = place.with_name(temporary_name(place.name))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        # A crash from here to the rename leaves the target as it was and a temporary file beside it (see tidy).
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary, flags, 0o600)
        except OSError as error:
            # The name that means something to the user: what is missing is the directory.
            error.filename = str(place.parent if isinstance(error, FileNotFoundError) else place)
            raise
        try:
            with open(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                self._apply(stream.fileno(), attributes)
                # Content and attributes are durable before the name is: a crash after the rename never shows less.
                os.fsync(stream.fileno())
            _rename(temporary, place)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        # A crash here shows the old or the new file, each whole.
        _sync_directory(place.parent)

    def _apply(self, descriptor: int, attributes: Attributes) -> None:
        found = os.fstat(descriptor)
        uid, gid = self.ids_outside(attributes.uid, attributes.gid)
        if (found.st_uid, found.st_gid) != (uid, gid):
            os.fchown(descriptor, uid, gid)
        present = _xattrs(descriptor)
        # A file that is made inherits the access list that its directory has for new ones (acl(5)).
        if ACCESS_LIST in present.keys() - attributes.xattrs.keys():
            os.removexattr(descriptor, ACCESS_LIST)
        # After the owner: chown(2) clears the set-user-id bits.
        os.fchmod(descriptor, attributes.mode)
        for name, value in attributes.xattrs.items():
            if present.get(name) != value:
                os.setxattr(descriptor, name, value)

    # --- owners; the simulated machine, which may belong to a user, maps them

    def ids_inside(self, uid: int, gid: int) -> tuple[int, int]:
        """The owner and group the host sees, from those of the local file."""
        return uid, gid

    def ids_outside(self, uid: int, gid: int) -> tuple[int, int]:
        """The owner and group the local file gets, from those the host means."""
        return uid, gid


def temporary_name(name: str) -> str:
    """The name of the temporary file beside `name`: always the same, so that the next write clears what a crash left.

    It begins with a dot, which no glob of the shell matches (grub.d, conf.d), and ends in neither .cfg nor .conf.
    """
    return f".vfiostate-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.tmp"


def _rename(temporary: Path, place: Path) -> None:
    """Put a file in its place. Raises OSError with the name that means something to the user."""
    try:
        os.rename(temporary, place)
    except OSError as error:
        # What root may not do either: chattr(1), +i and +a.
        hint = "; `lsattr` shows whether it is immutable" if error.errno == errno.EPERM else ""
        raise OSError(error.errno, f"{error.strerror}{hint}", str(place)) from error


def _refuse_special(place: Path) -> None:
    try:
        found = os.lstat(place).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found):
        raise OSError(errno.ELOOP, "is a symbolic link", str(place))
    if stat.S_ISDIR(found):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(place))


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _xattrs(place: Path | int) -> dict[str, bytes]:
    try:
        return {name: os.getxattr(place, name) for name in os.listxattr(place)}
    except OSError as error:
        # A file system without extended attributes has none to keep.
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return {}
        raise


def _kind(mode: int) -> FileKind:
    if stat.S_ISREG(mode):
        return FileKind.FILE
    if stat.S_ISDIR(mode):
        return FileKind.DIRECTORY
    if stat.S_ISLNK(mode):
        return FileKind.SYMLINK
    return FileKind.OTHER
