"""A power cut at any call of a file effect: the file is the old or the new one, whole; once it returned, the new one.

The program's own code runs over the model of a disk that loses what was not synced, cut at every call that changes
something, with every outcome that such a cut can have. The negative control: with an fsync taken out it must be caught.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.hosts.base import Attributes
from engine.hosts.files import FileTree, temporary_name
from engine.images import restore_link
from journal.events import Draft, Kind, Origin
from journal.images import Images
from journal.store import Journal
from tests.support.volatile import File, Link, Tree, every
from tests.support.watched import Watched

OUTCOMES = 150
# The model says what is durable; the real disk below it need not be one.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
TARGET = "/etc/target"
ORIGIN = Origin("boot", 0, None, "0.1.0")


class Cut(BaseException):
    """The power went: nothing of the program runs any more."""


@dataclass(frozen=True)
class Found:
    """Where the run was cut (None: it came to its end), and every tree that may be left."""

    at: str | None
    trees: list[Tree]


Prepare = Callable[[Path], None]
Effect = Callable[[Path], object]
Sync = Callable[[int], None]


def cuts(prepare: Prepare, effect: Effect, *, without: Callable[[int], bool] | None = None) -> Iterator[Found]:
    """Run it again and again, cut at one call after the other, and at last to its end.

    `without` says of which descriptors the fsync is taken out.
    """
    number = 0
    while True:
        with tempfile.TemporaryDirectory(prefix="vfiostate-power-", dir=MEMORY) as directory:
            root = Path(directory).resolve()
            prepare(root)
            found = _run(root, effect, number, without)
        yield found
        if found.at is None:
            return
        number += 1


def _run(root: Path, effect: Effect, cut_at: int, without: Callable[[int], bool] | None) -> Found:
    passed: list[str] = []

    def point(name: str) -> None:
        passed.append(name)
        if len(passed) == cut_at + 1:
            watched.freeze()
            raise Cut

    watched, ended = Watched(root, point=point), None
    watched.know()
    with watched.watching():
        if without is not None:
            mirrored = os.fsync

            def fsync(descriptor: int) -> None:
                if not without(descriptor):
                    mirrored(descriptor)

            os.fsync = fsync  # type: ignore[assignment]  # the program syncs descriptors
        try:
            effect(root)
            watched.freeze()
        except Cut:
            ended = passed[-1]
        dice = Random(cut_at)
        trees = list(every(watched.disk.cut, OUTCOMES))
        trees += [watched.disk.cut(dice.randrange) for _ in range(20)] if len(trees) == OUTCOMES else []
    return Found(ended, trees)


def violations(found: Found, target: str, old: object, new: object) -> list[object]:
    """What a cut leaves at the target that is neither the old nor the new; at the end: that is not the new."""
    allowed = [new] if found.at is None else [old, new]
    return [seen for tree in found.trees if (seen := tree.get(target)) not in allowed]


def strangers(found: Found, *known: str) -> set[str]:
    """Names that a cut leaves and that nobody expects."""
    return {path for tree in found.trees for path, node in tree.items() if node is not None} - {"/source", *known}


# --- the program's file effects

CONTENT = st.sampled_from([0, 1, 3000, 4096, 4097, 9000]).flatmap(
    lambda size: st.integers(0, 255).map(lambda byte: (bytes([byte]) * size)[:size])
)
MODE = st.sampled_from([0o644, 0o600, 0o755])
STATE = st.tuples(CONTENT, MODE)


def laid(state: tuple[bytes, int] | None) -> Prepare:
    """A root in which the target holds this."""

    def prepare(root: Path) -> None:
        (root / "etc").mkdir()
        (root / "source").write_bytes(b"the source\n" * 700)
        if state is not None:
            (root / "etc/target").write_bytes(state[0])
            (root / "etc/target").chmod(state[1])

    return prepare


def file(state: tuple[bytes, int]) -> File:
    """As the model tells it."""
    return File(state[0], (state[1], os.getuid(), os.getgid(), ()))


def attributes(mode: int) -> Attributes:
    """Our own file with this mode."""
    return Attributes(mode, os.getuid(), os.getgid())


def writing(new: tuple[bytes, int]) -> Effect:
    """write_file."""
    return lambda root: FileTree(root).write_file(TARGET, new[0], attributes(new[1]))


TEMPORARY = f"/etc/{temporary_name('target')}"


@settings(deadline=None, max_examples=12)
@given(old=st.none() | STATE, new=STATE)
def test_a_file_that_is_written_is_the_old_or_the_new_one_whole(
    old: tuple[bytes, int] | None, new: tuple[bytes, int]
) -> None:
    was = None if old is None else file(old)
    points = 0
    for found in cuts(laid(old), writing(new)):
        assert violations(found, TARGET, was, file(new)) == [], found.at
        assert strangers(found, TARGET, TEMPORARY) == set()
        points += 1
    assert points >= 10
    assert all(TEMPORARY not in tree for tree in found.trees)


@settings(deadline=None, max_examples=8)
@given(old=st.none() | STATE, mode=MODE)
def test_a_file_that_is_put_is_the_old_or_the_new_one_whole(old: tuple[bytes, int] | None, mode: int) -> None:
    was = None if old is None else file(old)
    for found in cuts(laid(old), lambda root: FileTree(root).put_file(TARGET, root / "source", attributes(mode))):
        assert violations(found, TARGET, was, file((b"the source\n" * 700, mode))) == [], found.at


@settings(deadline=None, max_examples=8)
@given(old=STATE)
def test_a_file_that_is_removed_is_there_whole_or_gone(old: tuple[bytes, int]) -> None:
    for found in cuts(laid(old), lambda root: FileTree(root).remove_file(TARGET)):
        assert violations(found, TARGET, file(old), None) == [], found.at
        assert strangers(found, TARGET) == set()


@settings(deadline=None, max_examples=10)
@given(states=st.lists(st.none() | STATE, min_size=2, max_size=4))
def test_after_any_effects_only_the_last_one_is_open(states: list[tuple[bytes, int] | None]) -> None:
    first, *others = states

    def all_of_them(root: Path) -> None:
        tree = FileTree(root)
        for state in others:
            if state is not None:
                tree.write_file(TARGET, state[0], attributes(state[1]))
            elif (root / "etc/target").exists():
                tree.remove_file(TARGET)

    seen = [None if state is None else file(state) for state in states]
    for found in cuts(laid(first), all_of_them):
        allowed = seen if found.at is not None else seen[-1:]
        assert all(tree.get(TARGET) in allowed for tree in found.trees), found.at


def test_what_a_command_wrote_is_durable_once_it_was_synced() -> None:
    def command(root: Path) -> None:
        (root / "etc/target").write_bytes(b"new" * 3000)
        FileTree(root).sync(TARGET)

    *_, end = cuts(laid((b"old", 0o644)), command)
    assert violations(end, TARGET, None, file((b"new" * 3000, 0o644))) == []


def test_what_a_crash_left_is_tidied_up_for_good() -> None:
    def prepare(root: Path) -> None:
        laid((b"old", 0o644))(root)
        (root / TEMPORARY[1:]).write_bytes(b"half")

    for found in cuts(prepare, lambda root: FileTree(root).tidy(TARGET)):
        assert violations(found, TARGET, file((b"old", 0o644)), file((b"old", 0o644))) in (
            [],
            [None] * len(found.trees),
        )
    assert all(TEMPORARY not in tree for tree in found.trees)


def test_a_link_that_is_restored_is_the_old_or_the_new_one() -> None:
    def prepare(root: Path) -> None:
        (root / "etc").mkdir()
        (root / "etc/target").symlink_to("old")

    for found in cuts(prepare, lambda root: restore_link(root / "etc/target", "new")):
        assert violations(found, TARGET, Link("old"), Link("new")) == [], found.at


# --- the journal's own files

IMAGE = b"an initramfs\n" * 900
NAME = f"/state/images/{sha256(IMAGE).hexdigest()}"


def keeping(root: Path) -> None:
    """Keep an image in a directory that is not there yet."""
    assert Images(root / "state/images").keep(root / "source") == sha256(IMAGE).hexdigest()


def with_source(root: Path) -> None:
    """A root with a file that is worth keeping."""
    (root / "source").write_bytes(IMAGE)


def test_an_image_is_there_whole_or_not_at_all_and_stays() -> None:
    for found in cuts(with_source, keeping):
        left = [tree.get(NAME) for tree in found.trees]
        contents = [node.content if isinstance(node, File) else node for node in left]
        assert all(content == IMAGE or (content is None and found.at) for content in contents), found.at


def test_a_journal_that_was_made_is_there_after_any_cut() -> None:
    path = "/var/lib/vfiostate/journal.db"

    def make(root: Path) -> None:
        with Journal.create(root / path[1:]) as journal:
            journal.append([Draft(Kind.SETUP_CREATED, "0123456789ab")], origin=ORIGIN)

    def prepare(root: Path) -> None:
        (root / "var/lib").mkdir(parents=True)

    for found in cuts(prepare, make):
        left = [tree.get(path) for tree in found.trees]
        # Never a half one under that name: it has its name only when it was whole.
        assert all(isinstance(node, File) and len(node.content) > 4096 for node in left if node is not None)
        assert found.at is not None or None not in left


def test_the_first_event_makes_the_name_durable_that_a_killed_run_left() -> None:
    path = "/var/lib/vfiostate/journal.db"

    def killed_and_again(root: Path) -> None:
        place = root / path[1:]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda descriptor: None)  # the run that made it did not come to that
            Journal.create(place).close()
        with Journal.open(place, write=True) as journal:
            journal.append([Draft(Kind.SETUP_CREATED, "0123456789ab")], origin=ORIGIN)

    *_, end = cuts(lambda root: (root / "var/lib").mkdir(parents=True), killed_and_again)
    assert all(isinstance(tree.get(path), File) for tree in end.trees)


# --- the negative control


def _file(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _directory(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


@contextmanager
def caught() -> Iterator[list[object]]:
    """At least one violation has to come of it."""
    found: list[object] = []
    yield found
    assert found, "the harness did not notice that an fsync was taken out"


OLD, NEW = (b"old", 0o644), (b"new" * 3000, 0o600)


@pytest.mark.parametrize("without", [_file, _directory])
def test_the_harness_catches_a_write_without_an_fsync(without: Callable[[int], bool]) -> None:
    with caught() as bad:
        for found in cuts(laid(OLD), writing(NEW), without=without):
            bad += violations(found, TARGET, file(OLD), file(NEW))


def test_the_harness_catches_a_removal_without_an_fsync() -> None:
    with caught() as bad:
        for found in cuts(laid(OLD), lambda root: FileTree(root).remove_file(TARGET), without=_directory):
            bad += violations(found, TARGET, file(OLD), None)


@pytest.mark.parametrize("without", [_file, _directory])
def test_the_harness_catches_an_image_without_an_fsync(without: Callable[[int], bool]) -> None:
    with caught() as bad:
        *_, end = cuts(with_source, keeping, without=without)
        kept = [tree.get(NAME) for tree in end.trees]
        bad += [node for node in kept if not isinstance(node, File) or node.content != IMAGE]


def test_the_harness_catches_a_file_written_in_place() -> None:
    def in_place(root: Path) -> None:
        with open(root / "etc/target", "r+b") as stream:
            stream.write(b"new" * 3000)
            stream.flush()
            os.fsync(stream.fileno())

    with caught() as bad:
        for found in cuts(laid((b"old" * 3000, 0o644)), in_place):
            bad += violations(found, TARGET, file((b"old" * 3000, 0o644)), file((b"new" * 3000, 0o644)))
