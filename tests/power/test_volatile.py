"""The model of a file system that loses what was not synced: it loses all that POSIX lets it lose, and no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.support.volatile import PAGE, File, Link, Tree, Volatile, every


def outcomes(disk: Volatile) -> list[Tree]:
    """Every tree that a cut can leave, each once."""
    found: list[Tree] = []
    for tree in every(disk.cut, 5000):
        if tree not in found:
            found.append(tree)
    return found


def with_directory() -> Volatile:
    """A tree with the durable directory /d."""
    disk = Volatile()
    disk.adopt("/d", None)
    return disk


def at(disk: Volatile, path: str) -> list[object]:
    """What a cut can leave of a path; `gone` where nothing is."""
    return [tree.get(path, "gone") for tree in outcomes(disk)]


def test_what_was_there_before_is_there_after() -> None:
    disk = with_directory()
    disk.adopt("/d/f", File(b"old", (0o644,)))
    disk.adopt("/d/l", Link("f"))
    assert outcomes(disk) == [{"/d": None, "/d/f": File(b"old", (0o644,)), "/d/l": Link("f")}]
    assert disk.settled()


def test_a_new_file_may_be_gone_empty_or_there() -> None:
    disk = with_directory()
    disk.create("/d/f")
    disk.write("/d/f", 0, b"new")
    assert set(map(str, at(disk, "/d/f"))) >= {"gone", str(File(b"")), str(File(b"new"))}


def test_a_synced_file_in_an_unsynced_directory_may_lose_its_name_and_never_its_content() -> None:
    disk = with_directory()
    disk.create("/d/f")
    disk.write("/d/f", 0, b"new")
    disk.fsync("/d/f")
    assert at(disk, "/d/f") == ["gone", File(b"new")]


def test_a_synced_directory_keeps_the_name_and_not_the_content() -> None:
    disk = with_directory()
    disk.create("/d/f", (0o600,))
    disk.write("/d/f", 0, b"new")
    disk.fsync("/d")
    found = at(disk, "/d/f")
    assert "gone" not in found
    assert File(b"", (0o600,)) in found and File(b"new", (0o600,)) in found


def test_a_rename_before_the_fsync_of_the_file_may_leave_an_empty_file_in_place_of_the_old_one() -> None:
    disk = with_directory()
    disk.adopt("/d/f", File(b"old"))
    disk.create("/d/t")
    disk.write("/d/t", 0, b"new")
    disk.rename("/d/t", "/d/f")
    assert {File(b"old"), File(b""), File(b"new")} <= set(at(disk, "/d/f"))


def test_a_rename_after_the_fsync_leaves_the_old_or_the_new_and_after_that_of_the_directory_the_new() -> None:
    disk = with_directory()
    disk.adopt("/d/f", File(b"old"))
    disk.create("/d/t")
    disk.write("/d/t", 0, b"new")
    disk.fsync("/d/t")
    disk.rename("/d/t", "/d/f")
    assert set(at(disk, "/d/f")) == {File(b"old"), File(b"new")}
    disk.fsync("/d")
    assert outcomes(disk) == [{"/d": None, "/d/f": File(b"new")}]


def test_a_rename_is_one_change_both_names_or_neither() -> None:
    disk = with_directory()
    disk.adopt("/d/a", File(b"a"))
    disk.rename("/d/a", "/d/b")
    assert outcomes(disk) == [{"/d": None, "/d/a": File(b"a")}, {"/d": None, "/d/b": File(b"a")}]


def test_a_removed_file_may_come_back_whole() -> None:
    disk = with_directory()
    disk.adopt("/d/f", File(b"old"))
    disk.unlink("/d/f")
    assert at(disk, "/d/f") == [File(b"old"), "gone"]
    disk.fsync("/d")
    assert at(disk, "/d/f") == ["gone"]


def test_pages_of_one_write_are_lost_each_on_its_own() -> None:
    disk = with_directory()
    disk.adopt("/d/f", File(b"a" * 2 * PAGE))
    disk.write("/d/f", 0, b"b" * 2 * PAGE)
    a, b = b"a" * PAGE, b"b" * PAGE
    assert set(at(disk, "/d/f")) == {File(x + y) for x in (a, b) for y in (a, b)}


def test_a_page_written_twice_may_be_as_it_was_between() -> None:
    disk = with_directory()
    disk.adopt("/d/f", File(b"a"))
    disk.write("/d/f", 0, b"b")
    disk.write("/d/f", 0, b"c")
    assert set(at(disk, "/d/f")) == {File(b"a"), File(b"b"), File(b"c")}


def test_a_size_may_be_durable_without_the_content_which_then_is_zeros() -> None:
    disk = with_directory()
    disk.create("/d/f")
    disk.write("/d/f", 0, b"new")
    disk.fsync("/d")
    assert File(b"\0\0\0") in at(disk, "/d/f")


def test_what_truncate_cut_away_does_not_come_back_with_the_size() -> None:
    disk = with_directory()
    disk.adopt("/d/f", File(b"secret"))
    disk.truncate("/d/f", 0)
    disk.fsync("/d/f")
    disk.truncate("/d/f", 6)
    assert set(at(disk, "/d/f")) == {File(b""), File(bytes(6))}


def test_a_mode_is_lost_on_its_own() -> None:
    disk = with_directory()
    disk.adopt("/d/f", File(b"x", (0o644,)))
    disk.chmod("/d/f", (0o600,))
    assert at(disk, "/d/f") == [File(b"x", (0o644,)), File(b"x", (0o600,))]


def test_a_new_directory_needs_the_fsync_of_the_one_above_it() -> None:
    disk = with_directory()
    disk.mkdir("/d/new")
    disk.create("/d/new/f")
    disk.fsync("/d/new/f")
    disk.fsync("/d/new")
    assert outcomes(disk) == [{"/d": None}, {"/d": None, "/d/new": None, "/d/new/f": File(b"")}]
    disk.fsync("/d")
    assert len(outcomes(disk)) == 1


def test_a_second_name_names_the_same_file() -> None:
    disk = with_directory()
    disk.create("/d/a")
    disk.link("/d/a", "/d/b")
    disk.unlink("/d/a")
    disk.fsync("/d")
    disk.write("/d/b", 0, b"x")
    disk.fsync("/d/b")
    assert outcomes(disk) == [{"/d": None, "/d/b": File(b"x")}]


def test_a_name_that_is_not_there_cannot_be_written_to() -> None:
    with pytest.raises(FileNotFoundError):
        with_directory().write("/d/f", 0, b"")


@given(st.integers(1, 4), st.integers(1, 4))
def test_every_counts_through_all_choices_once(first: int, second: int) -> None:
    seen = list(every(lambda choose: {str((choose(first), choose(second))): None}, 1000))
    assert [list(tree) for tree in seen] == [[str((a, b))] for a in range(first) for b in range(second)]


NAMES = st.sampled_from(["/d/a", "/d/b", "/d/c"])
DATA = st.binary(max_size=3)


class AnyCalls(RuleBasedStateMachine):
    """Held against the obvious: a dictionary that is what the running system sees."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = with_directory()
        self.seen: dict[str, bytes] = {}
        self.synced: dict[str, bytes] | None = {}

    @rule(path=NAMES, data=DATA)
    def write(self, path: str, data: bytes) -> None:
        """Made first where it is not there."""
        if path not in self.seen:
            self.disk.create(path)
        self.disk.write(path, 0, data)
        self.seen[path] = data + self.seen.get(path, b"")[len(data) :]
        self.synced = None

    @rule(source=NAMES, to=NAMES)
    def rename(self, source: str, to: str) -> None:
        """Of what is there."""
        if source in self.seen and source != to:
            self.disk.rename(source, to)
            self.seen[to] = self.seen.pop(source)
            self.synced = None

    @rule(path=NAMES)
    def unlink(self, path: str) -> None:
        """Of what is there."""
        if self.seen.pop(path, None) is not None:
            self.disk.unlink(path)
            self.synced = None

    @rule()
    def sync(self) -> None:
        """Everything."""
        for path in self.seen:
            self.disk.fsync(path)
        self.disk.fsync("/d")
        self.synced = dict(self.seen)

    @invariant()
    def the_running_system_sees_what_was_done(self) -> None:
        """Whatever is synced or not."""
        assert self.disk.now() == {"/d": None, **{path: File(content) for path, content in self.seen.items()}}

    @invariant()
    def what_is_synced_is_all_there_is(self) -> None:
        """And a cut that keeps everything keeps what is seen."""
        if self.synced is not None:
            assert self.disk.settled()
            assert self.disk.cut(lambda _: 0) == self.disk.now()


TestAnyCalls = AnyCalls.TestCase
