"""A file system of two layers, as a power cut sees it: what is durable, and what the kernel has not written yet.

A pure model, no I/O. Everything that is done to a file or a directory is volatile until fsync(2) of that very file or
directory. After a cut there is what was durable and any part of the rest: of a file each page, the size and the
attributes on their own, in any state they were in since the last fsync; of a directory each change on its own. That is
what POSIX allows, and more than ext4 does (which keeps the changes of directories in order): what holds here, holds
there. A rename is one change, both its names or neither. A file that is new has no content until it is synced; a name
may be durable before the content is, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

PAGE = 4096
_T = TypeVar("_T")
Tree: TypeAlias = "dict[str, File | Link | None]"
"""Paths and what lies there; None for a directory."""
Attributes: TypeAlias = tuple[object, ...]
"""Whatever belongs to a file besides its content; compared, never looked into."""
Choose: TypeAlias = Callable[[int], int]
"""Takes a number n and gives one from 0 to n - 1: what the cut leaves of n possibilities, the first of which is what
was durable and the last what is now."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is, or as a cut leaves it."""

    content: bytes
    attributes: Attributes = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link: made whole or not at all."""

    target: str


@dataclass(slots=True, eq=False)
class Inode:
    """A file in both layers: of each page, the size and the attributes every state since the last fsync."""

    pages: dict[int, list[bytes]] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=lambda: [0])
    attributes: list[Attributes] = field(default_factory=lambda: [()])

    @classmethod
    def durable(cls, file: File) -> Inode:
        """A file that was there before anything was watched."""
        inode = cls()
        inode.hold(file)
        inode.fsync()
        return inode

    def hold(self, file: File) -> None:
        """The file holds this now."""
        size = len(file.content)
        for number in range(-(-max(size, self.sizes[-1]) // PAGE)):
            page = file.content[number * PAGE : (number + 1) * PAGE].ljust(PAGE, b"\0")
            states = self.pages.setdefault(number, [bytes(PAGE)])
            if states[-1] != page:
                states.append(page)
        if self.sizes[-1] != size:
            self.sizes.append(size)
        if self.attributes[-1] != file.attributes:
            self.attributes.append(file.attributes)

    def fsync(self) -> None:
        """What it holds now is durable."""
        self.pages = {number: states[-1:] for number, states in self.pages.items()}
        self.sizes, self.attributes = self.sizes[-1:], self.attributes[-1:]

    @property
    def settled(self) -> bool:
        """Whether nothing of it could be lost."""
        return len(self.sizes) == len(self.attributes) == 1 and all(len(states) == 1 for states in self.pages.values())

    @property
    def now(self) -> File:
        """As the running system sees it."""
        return self.cut(lambda count: count - 1)

    def cut(self, choose: Choose) -> File:
        """As a cut leaves it."""
        size = _one(self.sizes, choose)
        pages = [_one(self.pages.get(number, [bytes(PAGE)]), choose) for number in range(-(-size // PAGE))]
        return File(b"".join(pages)[:size], _one(self.attributes, choose))


Node: TypeAlias = "Inode | Link | Directory"
Change: TypeAlias = "Mapping[tuple[int, str], Node | None]"
"""What one call does to names, each in a directory (by its identity); None: the name is gone."""


@dataclass(slots=True, eq=False)
class Directory:
    """The names of a directory that are durable."""

    durable: dict[str, Node] = field(default_factory=dict)


class Volatile:
    """A tree of files. Paths are absolute, of names that need not be those of a real file system."""

    def __init__(self) -> None:
        self.root = Directory()
        self._pending: list[Change] = []
        self._directories: dict[int, Directory] = {id(self.root): self.root}

    # --- what there was before

    def adopt(self, path: str, what: File | Link | None) -> Node:
        """This lay there, durably, with the directories above it; None: a directory."""
        place, below = self.root, ""
        *above, last = _names(path)
        for name in above:
            below = f"{below}/{name}"
            found = self._node(below) if self.has(below) else place.durable.setdefault(name, self._directory())
            assert isinstance(found, Directory), path
            place = found
        node: Node = self._directory() if what is None else Inode.durable(what) if isinstance(what, File) else what
        return place.durable.setdefault(last, node)

    def _directory(self) -> Directory:
        made = Directory()
        self._directories[id(made)] = made
        return made

    # --- what is done; each takes effect at once in the volatile layer

    def create(self, path: str, attributes: Attributes = ()) -> Inode:
        """A new, empty file: it has its attributes from the beginning."""
        inode = Inode(attributes=[attributes])
        self._change({path: inode})
        return inode

    def write(self, path: str, offset: int, data: bytes) -> None:
        """Write into a file, as pwrite(2)."""
        inode = self.inode(path)
        now = inode.now
        content = now.content.ljust(offset, b"\0")
        inode.hold(File(content[:offset] + data + content[offset + len(data) :], now.attributes))

    def truncate(self, path: str, size: int) -> None:
        """Cut or lengthen a file, as truncate(2)."""
        now = self.inode(path).now
        self.inode(path).hold(File(now.content[:size].ljust(size, b"\0"), now.attributes))

    def chmod(self, path: str, attributes: Attributes) -> None:
        """Change what a file has besides its content."""
        self.inode(path).hold(File(self.inode(path).now.content, attributes))

    def mkdir(self, path: str) -> None:
        """A new, empty directory."""
        self._change({path: self._directory()})

    def symlink(self, target: str, path: str) -> None:
        """A new symbolic link."""
        self._change({path: Link(target)})

    def link(self, source: str, path: str) -> None:
        """Another name of a file."""
        self._change({path: self._node(source)})

    def rename(self, source: str, target: str) -> None:
        """Give another name, in the place of what has it already."""
        self._change({source: None, target: self._node(source)})

    def unlink(self, path: str) -> None:
        """Take a name away (of a directory too)."""
        self._change({path: None})

    def fsync(self, path: str) -> None:
        """Make a file durable (not its name), or a directory: all its names (not what they name)."""
        node = self._node(path)
        if isinstance(node, Inode):
            node.fsync()
        elif isinstance(node, Directory):
            durable = {place: directory.durable for place, directory in self._directories.items()}
            left = []
            for change in self._pending:
                if any(place == id(node) for place, _ in change):
                    _set(durable, change)
                else:
                    left.append(change)
            self._pending = left

    # --- what there is

    def inode(self, path: str) -> Inode:
        """The file of that name. Raises FileNotFoundError."""
        node = self._node(path)
        assert isinstance(node, Inode), path
        return node

    def has(self, path: str) -> bool:
        """Whether the running system sees that name."""
        try:
            self._node(path)
        except FileNotFoundError:
            return False
        return True

    def now(self) -> Tree:
        """The tree as the running system sees it"""
        return self.cut(lambda count: count - 1)

    def cut(self, choose: Choose) -> Tree:
        """The tree after a power cut; None for a directory."""
        names = {place: dict(directory.durable) for place, directory in self._directories.items()}
        for change in self._pending:
            if choose(2):
                _set(names, change)
        found: Tree = {}
        seen: dict[int, File] = {}
        self._collect("", id(self.root), names, choose, found, seen)
        return found

    def settled(self) -> bool:
        """Whether a power cut would lose nothing at all."""
        return not self._pending and all(
            node.settled for directory in self._directories.values() for node in directory.durable.values()
            if isinstance(node, Inode)
        )  # fmt: skip

    def _collect(
        self,
        path: str,
        place: int,
        names: Mapping[int, Mapping[str, Node]],
        choose: Choose,
        found: Tree,
        seen: dict[int, File],
    ) -> None:
        for name, node in sorted(names[place].items()):
            below = f"{path}/{name}"
            if isinstance(node, Inode):
                # One file may have several names; it is cut once.
                found[below] = seen[id(node)] = seen.get(id(node)) or node.cut(choose)
            elif isinstance(node, Link):
                found[below] = node
            else:
                found[below] = None
                self._collect(below, id(node), names, choose, found, seen)

    def _change(self, changes: Mapping[str, Node | None]) -> None:
        self._pending.append({(id(self._parent(path)), _names(path)[-1]): to for path, to in changes.items()})

    def _parent(self, path: str) -> Directory:
        above = self._node("/" + "/".join(_names(path)[:-1]))
        assert isinstance(above, Directory), path
        return above

    def _node(self, path: str) -> Node:
        names = {place: dict(directory.durable) for place, directory in self._directories.items()}
        for change in self._pending:
            _set(names, change)
        node: Node = self.root
        for name in _names(path):
            if not isinstance(node, Directory) or name not in names[id(node)]:
                raise FileNotFoundError(path)
            node = names[id(node)][name]
        return node


def every(outcome: Callable[[Choose], Tree], limit: int) -> Iterator[Tree]:
    """Every outcome there can be, up to `limit` of them: the choices are counted through like an odometer."""
    plan: list[list[int]] = []
    for _ in range(limit):
        at = 0

        def choose(count: int) -> int:
            nonlocal at
            if at == len(plan):
                plan.append([0, count])
            at += 1
            return plan[at - 1][0]

        yield outcome(choose)
        del plan[at:]
        while plan and plan[-1][0] == plan[-1][1] - 1:
            plan.pop()
        if not plan:
            return
        plan[-1][0] += 1


def _one(states: list[_T], choose: Choose) -> _T:
    return states[0] if len(states) == 1 else states[choose(len(states))]


def _set(names: Mapping[int, dict[str, Node]], change: Change) -> None:
    for (place, name), node in change.items():
        if node is None:
            names[place].pop(name, None)
        else:
            names[place][name] = node


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]
