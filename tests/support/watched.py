"""Calls of the operating system, watched and told to the model of a file system that loses what was not synced.

Every call that changes a file or a name below a root is carried out as always and mirrored into a `Volatile`. What was
written into a file is looked at before and after each call that is watched. SQLite writes and syncs its files below
Python: their content counts as durable, their names do not.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.volatile import Attributes, Choose, File, Inode, Link, Volatile

CALLS = (
    "open mkdir symlink link rename replace unlink remove rmdir fsync fdatasync "
    "chmod fchmod chown fchown setxattr truncate ftruncate write copy_file_range"
).split()
_BY_PATH_OR_DESCRIPTOR = ("chmod", "fchmod", "chown", "fchown", "setxattr", "truncate", "ftruncate", "write")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SQLITE = "journal.db"


class Watched:
    """What the calls below `root` came to; `point` is told of each one, before it is carried out and after.

    `wanted` says which paths, as seen from the root, lie on a disk. Watching ends with the block or the process.
    """

    def __init__(
        self, root: Path, *, point: Callable[[str], None] | None = None, wanted: Callable[[str], bool] | None = None
    ) -> None:
        self.root = os.path.realpath(root)
        self.disk = Volatile()
        self._point = point or (lambda name: None)
        self._wanted = wanted or (lambda path: True)
        self._over = False
        self._real = {name: getattr(os, name) for name in CALLS}
        self._real_open = builtins.open
        self._inodes: dict[tuple[int, int], tuple[Inode, int, bool]] = {}
        self._touched: set[str] = set()

    # --- to begin and to end

    def begin(self) -> None:
        """From now on every call is watched."""
        for name in CALLS:
            own = getattr(self, f"_{name}", None)
            setattr(os, name, own or self._changing(name))
        builtins.open = io.open = self._python_open

    def end(self) -> None:
        """No more."""
        for name, function in self._real.items():
            setattr(os, name, function)
        builtins.open = io.open = self._real_open
        for _, descriptor, _ in self._inodes.values():
            os.close(descriptor)

    @contextlib.contextmanager
    def watching(self) -> Iterator[Watched]:
        """In the block."""
        self.begin()
        try:
            yield self
        finally:
            self.end()

    def know(self) -> None:
        """Take in the whole tree as it lies there, durable; otherwise each file is when it is first touched."""
        for above, directories, files in os.walk(self.root):
            for name in (*directories, *files):
                self._adopt(os.path.join(above, name).removeprefix(self.root))

    def freeze(self) -> None:
        """The cut: what is done from now on happens on a machine that is off."""
        self._look()
        self._over = True

    def lose(self, choose: Choose) -> None:
        """The power goes: make the real files what a cut leaves."""
        self.freeze()
        left = self.disk.cut(choose)
        self.end()  # whoever watches beside us, at a point within this very call, must not be asked again
        for path in sorted(self._touched - left.keys(), key=lambda one: (-one.count("/"), one)):
            place = Path(self.root + path)
            if place.is_dir() and not place.is_symlink():
                place.rmdir()
            else:
                place.unlink(missing_ok=True)
        for path, node in sorted(left.items()):
            if path in self._touched:
                _make(Path(self.root + path), node)

    # --- the calls

    @contextlib.contextmanager
    def _call(self, name: str, *paths: str) -> Iterator[None]:
        self._touched.update(paths)
        for path in paths:
            if (above := os.path.dirname(path)) != "/":
                self._adopt(above)
        self._look()
        self._point(f"before {name}")
        yield
        self._look()
        self._point(f"after {name}")

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        below = self._below(path, dir_fd) if flags & _WRITING else None
        if below is None:
            return int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
        self._adopt(below)
        with self._call("open", below):
            descriptor: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
            self._track(below, descriptor)
        return descriptor

    def _python_open(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        below = self._below(file) if not isinstance(file, int) and set(mode) & set("wax+") else None
        if below is None:
            return self._real_open(file, mode, *args, **kwargs)
        self._adopt(below)
        with self._call("open", below):
            stream = self._real_open(file, mode, *args, **kwargs)
            self._track(below, stream.fileno())
        return stream

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        below = self._below(path, dir_fd)
        if below is None or os.path.lexists(self.root + below):
            self._real["mkdir"](path, mode, dir_fd=dir_fd)
            return
        with self._call("mkdir", below):
            self._real["mkdir"](path, mode, dir_fd=dir_fd)
            self.disk.mkdir(below)

    def _symlink(self, target: Any, path: Any, target_is_directory: bool = False, *, dir_fd: int | None = None) -> None:
        below = self._below(path, dir_fd)
        if below is None:
            self._real["symlink"](target, path, dir_fd=dir_fd)
            return
        with self._call("symlink", below):
            self._real["symlink"](target, path, dir_fd=dir_fd)
            self.disk.symlink(os.fspath(target), below)

    def _link(self, source: Any, path: Any, **kwargs: Any) -> None:
        self._two("link", source, path, kwargs)

    def _rename(self, source: Any, path: Any, **kwargs: Any) -> None:
        self._two("rename", source, path, kwargs)

    def _replace(self, source: Any, path: Any, **kwargs: Any) -> None:
        self._two("replace", source, path, kwargs)

    def _two(self, name: str, source: Any, path: Any, kwargs: dict[str, Any]) -> None:
        a, b = self._below(source), self._below(path)
        if a is None or b is None or not self._adopt(a):
            self._real[name](source, path, **kwargs)
            return
        self._adopt(b)
        with self._call(name, a, b):
            self._real[name](source, path, **kwargs)
            (self.disk.link if name == "link" else self.disk.rename)(a, b)

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._gone("unlink", path, dir_fd)

    def _remove(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._gone("remove", path, dir_fd)

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._gone("rmdir", path, dir_fd)

    def _gone(self, name: str, path: Any, dir_fd: int | None) -> None:
        below = self._below(path, dir_fd)
        if below is None or not self._adopt(below):
            self._real[name](path, dir_fd=dir_fd)
            return
        with self._call(name, below):
            self._real[name](path, dir_fd=dir_fd)
            self.disk.unlink(below)

    def _fsync(self, descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        path = os.readlink(f"/proc/self/fd/{number}")
        below = "/" if path == self.root and not self._over else self._below(path)
        inode = self._inode(number)
        if below is None or (inode is None and not stat.S_ISDIR(os.fstat(number).st_mode)):
            self._real["fsync"](descriptor)
            return
        with self._call("fsync"):
            self._real["fsync"](descriptor)
            if inode is not None:
                inode.fsync()
            elif below == "/" or self._adopt(below):
                self.disk.fsync(below)

    _fdatasync = _fsync

    def _copy_file_range(self, source: int, to: int, *args: Any, **kwargs: Any) -> int:
        if self._inode(to) is None:
            return int(self._real["copy_file_range"](source, to, *args, **kwargs))
        with self._call("copy_file_range"):
            return int(self._real["copy_file_range"](source, to, *args, **kwargs))

    def _changing(self, name: str) -> Callable[..., Any]:
        """A call that changes a file, given by its path or by a descriptor."""
        assert name in _BY_PATH_OR_DESCRIPTOR

        def call(what: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(what, int):
                ours = self._inode(what) is not None
            else:
                below = self._below(os.path.realpath(what), kwargs.get("dir_fd"))
                ours = below is not None and self._adopt(below)
            if not ours:
                return self._real[name](what, *args, **kwargs)
            with self._call(name):
                return self._real[name](what, *args, **kwargs)

        return call

    # --- what they are about

    def _below(self, path: Any, dir_fd: int | None = None) -> str | None:
        """Where a path lies below the root; None for what does not, or not on a disk, or after the cut."""
        if self._over:
            return None
        base = os.readlink(f"/proc/self/fd/{dir_fd}") if dir_fd is not None else os.getcwd()
        above, name = os.path.split(os.path.join(base, os.fsdecode(path)))
        full = os.path.join(os.path.realpath(above), name)
        below = full.removeprefix(self.root)
        return below if full.startswith(f"{self.root}/") and self._wanted(below) else None

    def _inode(self, descriptor: int) -> Inode | None:
        if self._over:
            return None
        found = os.fstat(descriptor)
        known = self._inodes.get((found.st_dev, found.st_ino))
        return known[0] if known else None

    def _adopt(self, below: str) -> bool:
        """See that the model knows what lies there; False where nothing does that a disk would hold."""
        if self.disk.has(below):
            return True
        try:
            mode = os.lstat(self.root + below).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
        if stat.S_ISREG(mode):
            descriptor = self._real["open"](self.root + below, os.O_RDONLY | os.O_CLOEXEC)
            node = self.disk.adopt(below, _seen(descriptor))
            assert isinstance(node, Inode)
            self._know(node, descriptor, below)
        elif stat.S_ISLNK(mode):
            self.disk.adopt(below, Link(os.readlink(self.root + below)))
        elif stat.S_ISDIR(mode):
            self.disk.adopt(below, None)
        return stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)

    def _track(self, below: str, descriptor: int) -> None:
        """A file was opened for writing: it is known, or it is new."""
        if self.disk.has(below) or not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return
        kept = self._real["open"](f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        self._know(self.disk.create(below, _seen(kept).attributes), kept, below)

    def _know(self, inode: Inode, descriptor: int, below: str) -> None:
        """Held open, so that the kernel gives its number to no other file."""
        found = os.fstat(descriptor)
        self._inodes[found.st_dev, found.st_ino] = inode, descriptor, SQLITE in below

    def _look(self) -> None:
        """Tell the model what the files hold now."""
        if self._over:
            return
        for inode, descriptor, synced in self._inodes.values():
            inode.hold(_seen(descriptor))
            if synced:
                inode.fsync()


def _seen(descriptor: int) -> File:
    found = os.fstat(descriptor)
    xattrs: Attributes = ()
    with contextlib.suppress(OSError):
        xattrs = tuple((name, os.getxattr(descriptor, name)) for name in sorted(os.listxattr(descriptor)))
    attributes = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, xattrs)
    return File(os.pread(descriptor, found.st_size, 0), attributes)


def _make(place: Path, node: File | Link | None) -> None:
    """Make a real path what the model says."""
    if node is None:
        place.mkdir(exist_ok=True)
        return
    # Not written into: the lock of a run that died may still be held on what was there.
    place.unlink(missing_ok=True)
    if isinstance(node, Link):
        place.symlink_to(node.target)
        return
    place.write_bytes(node.content)
    mode, uid, gid, _ = node.attributes
    assert isinstance(mode, int) and isinstance(uid, int) and isinstance(gid, int)
    os.chown(place, uid, gid)
    place.chmod(mode)
