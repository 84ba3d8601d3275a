"""A host held in a dictionary: paths to bytes, symlinks or directories, and commands answered from a table.

Give `MemoryHost({"/etc/modules": b"loop\\n", "/sys/x/driver": Link("../drivers/foo"), "/empty": None})`: parents of a
path are directories, None is an (empty) directory. `sh` and `bash` are the real shells, fed through stdin.
"""

from __future__ import annotations

import posixpath
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from steps.base import Completed, FileKind, Json, Stat


@dataclass(frozen=True, slots=True)
class Link:
    """A symlink."""

    target: str


@dataclass(frozen=True, slots=True)
class Denied:
    """A file that is there and may not be read."""


Node = bytes | Link | Denied | None
Answer = Callable[[tuple[str, ...], bytes], Completed | None]


def completed(argv: Sequence[str], stdout: str = "", status: int = 0, stderr: str = "") -> Completed:
    """A command's answer, from text."""
    return Completed(tuple(argv), status, stdout.encode(), stderr.encode())


@dataclass(slots=True)
class MemoryHost:
    """The read-only protocol `steps.base.Host` over a dictionary.

    `commands` are the names `which` finds in /usr/bin; `answers` maps a whole argument list, or a command's name alone,
    to its standard output or to a Completed; `answer` is asked first. A command without an answer ends with status 127
    when it is not in `commands`, otherwise with 1.
    """

    tree: dict[str, Node] = field(default_factory=dict)
    commands: set[str] = field(default_factory=set)
    answers: Mapping[tuple[str, ...] | str, str | Completed] = field(default_factory=dict)
    answer: Answer | None = None
    release: str = "6.1.0-test"
    boot_id: str = "00000000-0000-0000-0000-000000000001"
    free_bytes: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    guests: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)

    def read(self, path: str) -> bytes:
        """The bytes of a file."""
        node = self._node(self.resolve(path))
        if isinstance(node, bytes):
            return node
        if isinstance(node, Denied):
            raise PermissionError(13, "Permission denied", path)
        raise IsADirectoryError(21, "Is a directory", path)

    def lstat(self, path: str) -> Stat | None:
        """What the path is; files are 0644 unless `modes` says otherwise."""
        parent, name = posixpath.split(path.rstrip("/") or "/")
        real = posixpath.join(self.resolve(parent), name) if name else "/"
        try:
            node = self._node(real)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if isinstance(node, Link):
            return Stat(FileKind.SYMLINK, 0o777, 0, 0, len(node.target))
        if isinstance(node, bytes | Denied):
            size = len(node) if isinstance(node, bytes) else 0
            return Stat(FileKind.FILE, self.modes.get(real, 0o644), 0, 0, size)
        return Stat(FileKind.DIRECTORY, self.modes.get(real, 0o755), 0, 0, 0)

    def list(self, path: str) -> tuple[str, ...]:
        """The names below a directory."""
        real = self.resolve(path)
        if self._node(real) is not None:
            raise NotADirectoryError(20, "Not a directory", path)
        prefix = real.rstrip("/") + "/"
        return tuple(sorted({key[len(prefix) :].split("/")[0] for key in self.tree if key.startswith(prefix)} - {""}))

    def readlink(self, path: str) -> str:
        """The text of a symlink."""
        parent, name = posixpath.split(path)
        node = self._node(posixpath.join(self.resolve(parent), name))
        if not isinstance(node, Link):
            raise OSError(22, "Invalid argument", path)
        return node.target

    def resolve(self, path: str) -> str:
        """The path with all symlinks followed."""
        todo = [part for part in path.split("/") if part]
        done = ""
        hops = 0
        while todo:
            part = todo.pop(0)
            if part == ".":
                continue
            if part == "..":
                done = posixpath.dirname(done).rstrip("/")
                continue
            here = f"{done}/{part}"
            node = self.tree.get(here)
            if isinstance(node, Link):
                hops += 1
                if hops > 40:
                    raise OSError(40, "Too many levels of symbolic links", path)
                if node.target.startswith("/"):
                    done = ""
                todo = [part for part in node.target.split("/") if part] + todo
                continue
            done = here
        return done or "/"

    def which(self, name: str) -> str | None:
        """Whether a command is on the PATH."""
        return f"/usr/bin/{name}" if name in self.commands else None

    def free(self, path: str) -> int:
        """Free bytes: what `free_bytes` says of the longest prefix, else 10 GiB."""
        prefixes = [prefix for prefix in self.free_bytes if path.startswith(prefix)]
        return self.free_bytes[max(prefixes, key=len)] if prefixes else 10 << 30

    def query(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        """Answer a command from the table; `sh` and `bash` run for real."""
        args = tuple(argv)
        self.asked.append(args)
        if self.answer is not None and (given := self.answer(args, stdin)) is not None:
            return given
        for key in (args, args[0]):
            if key in self.answers:
                found = self.answers[key]
                return found if isinstance(found, Completed) else completed(args, found)
        if posixpath.basename(args[0]) in ("sh", "bash"):
            ran = subprocess.run(args, input=stdin, capture_output=True, timeout=timeout, check=False)
            return Completed(args, ran.returncode, ran.stdout, ran.stderr)
        return completed(args, status=1 if args[0] in self.commands else 127)

    def qmp(
        self, name: str, command: str, arguments: Mapping[str, Json] | None = None, *, timeout: float = 10.0
    ) -> Json:
        """What `guests` says under the guest's name and the command; a guest that is not there does not answer."""
        if name not in self.guests:
            raise ConnectionRefusedError(111, "Connection refused", name)
        if command not in self.guests[name]:
            raise ValueError(f"{command}: the guest does not know this command")
        return self.guests[name][command]

    def alive(self, name: str) -> int | None:
        """A guest that answers lives."""
        return 1 if name in self.guests else None

    def _node(self, path: str) -> Node:
        if path in self.tree:
            return self.tree[path]
        prefix = path.rstrip("/") + "/"
        if any(key.startswith(prefix) for key in self.tree) or path == "/":
            return None
        raise FileNotFoundError(2, "No such file or directory", path)
