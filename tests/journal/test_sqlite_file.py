"""The journal as a file: what it looks like, what happens to it, and what a reader leaves of it."""

from __future__ import annotations

import os
import signal
import sqlite3
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal.audit import Audit, audit
from journal.database import Database, hot_journal_of, locate
from journal.errors import (
    Exit,
    JournalDamagedError,
    JournalEmptyError,
    JournalError,
    JournalExistsError,
    JournalFullError,
    JournalMissingError,
    JournalNewerError,
    NotAJournalError,
    NotRootError,
    UsageError,
)
from journal.events import Draft, Event, Kind
from journal.store import Journal
from tests.journal.support import ORIGIN, SETUP, digest, note

EVENTS = 40
BLOB = bytes(range(256)) * 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good journal of some events and a blob, closed."""
    return fill(tmp_path / "state" / "journal.db")


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that anybody may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        Path(name).chmod(0o755)


def fill(path: Path) -> Path:
    """Make that journal."""
    with Journal.create(path) as journal:
        said = [note(f"{number} {'x' * 300}") for number in range(1, EVENTS)]
        journal.append([Draft(Kind.SETUP_CREATED, SETUP), *said], origin=ORIGIN, blobs=[BLOB])
        assert audit(journal, set()).ok
    return path


def contents(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below, with content and time of change."""
    return {
        str(file.relative_to(directory)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in directory.rglob("*")
        if file.is_file()
    }


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to read everything; nothing to do where the tests do not run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_the_journal_is_private_and_so_is_the_directory_it_makes(path: Path) -> None:
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [file.name for file in path.parent.iterdir()] == ["journal.db"]


def test_the_database_is_set_to_lose_nothing_that_was_acknowledged(path: Path) -> None:
    database = Database(locate(path), write=True)
    with database.reading() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
    database.close()
    assert pragmas == {"journal_mode": "delete", "synchronous": 3}


@pytest.mark.parametrize("name", ["a b.db", "50%.db", "q?x=y#z.db", "ünï.db"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    path = fill(tmp_path / name)
    assert path.exists()
    with Journal.open(path, write=False) as journal:
        assert journal.path == path
        assert len(list(journal.events())) == EVENTS


def test_a_url_names_the_same_journal_as_its_path(path: Path) -> None:
    with Journal.open(f"sqlite:///{path}", write=False) as journal:
        assert journal.head().seq == EVENTS


@pytest.mark.parametrize("where", ["sqlite://", "sqlite:///:memory:", "://", "nosuchdatabase://x/y"])
def test_an_address_that_cannot_hold_a_journal_is_refused(where: str) -> None:
    with pytest.raises(UsageError) as caught:
        Journal.open(where, write=True)
    assert caught.value.hint


@pytest.mark.parametrize("where", ["mysql+nosuchdriver://x/y", "mysql://x/y", "nosuchdatabase://x/y", "http://[bad"])
def test_another_database_is_answered_with_those_that_hold_a_journal(where: str) -> None:
    with pytest.raises(UsageError) as caught:
        Journal.open(where, write=True)
    assert "No journal can lie in" in caught.value.message
    assert "SQLite" in caught.value.message and "PostgreSQL" in caught.value.message


@pytest.mark.parametrize("lacking", ["psycopg", "libpq"])
def test_a_driver_that_is_missing_is_installed_where_this_python_looks(
    lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "psycopg", raising=False)
    if lacking == "psycopg":
        monkeypatch.setitem(sys.modules, "psycopg", None)
    else:
        (tmp_path / "psycopg.py").write_text("raise ImportError('no pq wrapper available')\n")
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="PostgreSQL is not installed, or not whole") as caught:
        Journal.open("postgresql+psycopg://x/y", write=True)
    assert f"`{sys.executable} -m pip install 'psycopg[binary]'`" in caught.value.hint


def test_a_password_is_never_shown() -> None:
    assert "secret" not in locate("postgresql+psycopg://me:secret@host/db").shown


def test_reading_leaves_the_file_and_everything_beside_it_untouched(path: Path) -> None:
    before = contents(path.parent)
    with Journal.open(path, write=False) as journal:
        list(journal.events())
        journal.blob(digest(BLOB))
        audit(journal, set())
        assert [file.name for file in path.parent.iterdir()] == ["journal.db"]
    assert contents(path.parent) == before


def test_opening_for_writing_alone_writes_nothing_either(path: Path) -> None:
    before = contents(path.parent)
    Journal.open(path, write=True).close()
    assert contents(path.parent) == before


def test_a_creation_that_was_cut_short_leaves_no_journal_and_hinders_none(tmp_path: Path) -> None:
    orphan = tmp_path / ".journal.db.0000.new"
    orphan.write_bytes(b"")
    path = tmp_path / "journal.db"
    with pytest.raises(JournalMissingError):
        Journal.open(path, write=True)
    fill(path)
    with pytest.raises(JournalExistsError):
        Journal.create(path)


# Each damage to the file, the answer, and what the answer must name.


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096)


def cut_inside_a_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def cut_to_less_than_a_header(path: Path) -> None:
    os.truncate(path, 50)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def other_file(path: Path) -> None:
    path.write_text("GRUB_DEFAULT=0\n" * 500)


def other_database(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def newer(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[60:64] = struct.pack(">I", 7)
    path.write_bytes(data)


def flipped_magic(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)


def flipped_in_a_body(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b'"detail":"7 xxx') + 20] ^= 1
    path.write_bytes(data)


def no_tables(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DROP TABLE events")
    connection.close()


CASES: dict[str, tuple[Callable[[Path], None], type[JournalError], str]] = {
    "truncated": (truncated, JournalDamagedError, ""),
    "cut inside a page": (cut_inside_a_page, JournalDamagedError, ""),
    "cut to less than a header": (cut_to_less_than_a_header, JournalDamagedError, "damaged"),
    "emptied": (emptied, JournalEmptyError, "empty"),
    "other file": (other_file, NotAJournalError, "not a journal"),
    "other database": (other_database, NotAJournalError, "not a journal"),
    "directory": (directory, NotAJournalError, "no journal file"),
    "fifo": (fifo, NotAJournalError, "no journal file"),
    "newer": (newer, JournalNewerError, "newer"),
    "bit flip in the file's first bytes": (flipped_magic, JournalDamagedError, "damaged"),
    "bit flip in an event": (flipped_in_a_body, JournalDamagedError, "Event 8"),
    "tables dropped": (no_tables, JournalDamagedError, "damaged"),
}


def use(path: Path, *, write: bool) -> tuple[Event, ...]:
    """Open and read everything, the way a command does; with `write`, try to append."""
    with Journal.open(path, write=write) as journal:
        events = tuple(journal.events())
        for name in journal.blobs():
            journal.blob(name)
        if write:
            journal.append([note("more")], origin=ORIGIN)
        return events


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_each_damage_has_its_own_answer_and_the_file_is_byte_for_byte_unchanged(
    path: Path, case: str, write: bool
) -> None:
    damage, answer, named = CASES[case]
    damage(path)
    before = contents(path.parent)
    with pytest.raises(JournalError) as caught:
        use(path, write=write)
    error = caught.value
    assert type(error) is answer
    assert error.exit == Exit.DAMAGED
    assert named in error.message
    assert error.hint
    assert error.evidence
    assert contents(path.parent) == before


@pytest.mark.parametrize("write", [False, True])
def test_a_journal_that_may_not_be_read_needs_root(public: Path, write: bool) -> None:
    path = fill(public / "journal.db")
    path.chmod(0)
    before = path.stat()
    with as_nobody(), pytest.raises(NotRootError) as caught:
        Journal.open(path, write=write)
    assert "sudo" in caught.value.hint
    assert str(path) in caught.value.evidence[0]
    assert path.stat() == before


def test_a_journal_that_may_only_be_read_is_read_and_not_opened_for_writing(public: Path) -> None:
    path = fill(public / "journal.db")
    public.chmod(0o555)
    path.chmod(0o444)
    with as_nobody():
        with Journal.open(path, write=False) as journal:
            assert journal.head().seq == EVENTS
        with pytest.raises(NotRootError):
            Journal.open(path, write=True)


def test_a_full_disk_is_said_so_and_what_was_there_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal.open(path, write=True) as journal:
        connection = journal._database.connection
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # SQLite takes the present size as the limit
        connection.rollback()
        with pytest.raises(JournalFullError) as caught:
            journal.append([note("x" * 100_000)], origin=ORIGIN)
        assert "room" in caught.value.message
        assert len(list(journal.events())) == EVENTS
        assert audit(journal, set()).good == EVENTS


def looks_whole(path: Path) -> tuple[tuple[Event, ...], Audit]:
    with Journal.open(path, write=False) as journal:
        report = audit(journal, set())
        return tuple(journal.events()), report


@dataclass(frozen=True)
class Whole:
    """The bytes of a good journal, not to be shown when a test fails."""

    data: bytes = field(repr=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A good journal."""
    return Whole(fill(tmp_path_factory.mktemp("whole") / "journal.db").read_bytes())


@settings(deadline=None, max_examples=300)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_or_harmless(
    whole: Whole, tmp_path_factory: pytest.TempPathFactory, where: float, bit: int
) -> None:
    path = tmp_path_factory.mktemp("flip") / "journal.db"
    data = bytearray(whole.data)
    data[int(where * len(data))] ^= 1 << bit
    path.write_bytes(data)
    try:
        events, report = looks_whole(path)
    except JournalError:
        return
    finally:
        assert path.read_bytes() == data
    if report.ok:
        path.write_bytes(whole.data)
        assert events == looks_whole(path)[0]
        with Journal.open(path, write=False) as journal:
            assert journal.blob(digest(BLOB)) == BLOB


@settings(deadline=None, max_examples=150)
@given(start=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=1, max_size=5000), cut=st.booleans())
def test_overwritten_or_cut_parts_are_found_or_harmless(
    whole: Whole, tmp_path_factory: pytest.TempPathFactory, start: float, junk: bytes, cut: bool
) -> None:
    path = tmp_path_factory.mktemp("junk") / "journal.db"
    good = whole.data
    at = int(start * len(good))
    data = good[:at] if cut else (good[:at] + junk + good[at + len(junk) :])[: len(good)]
    path.write_bytes(data)
    try:
        events, report = looks_whole(path)
    except JournalError:
        return
    finally:
        assert path.read_bytes() == data
    if report.ok:
        assert [event.seq for event in events] == list(range(1, EVENTS + 1))


# Crashes.


def in_child(work: Callable[[], None]) -> None:
    """Run this in a forked process that ends without any clean-up, as in a power cut of the program."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def die_in_the_middle_of_a_commit(path: Path) -> None:
    """Leave a file that is half written, and the hot journal that takes it back."""

    def work() -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA cache_size = 5")  # so that pages go to the file before the commit
        connection.execute("BEGIN IMMEDIATE")
        for name in ("events_no_update", "events_no_delete"):
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE events SET body = replace(body, 'x', 'y')")
        connection.execute("DELETE FROM events WHERE seq > 5")
        os._exit(0)

    in_child(work)


def test_after_a_crash_in_a_commit_a_reader_sees_the_last_acknowledged_state_and_writes_nothing(path: Path) -> None:
    with Journal.open(path, write=False) as journal:
        events = tuple(journal.events())
    good = path.read_bytes()
    die_in_the_middle_of_a_commit(path)
    assert hot_journal_of(path).exists()
    assert path.read_bytes() != good
    before = contents(path.parent)
    for _ in range(2):
        with Journal.open(path, write=False) as journal:
            assert tuple(journal.events()) == events
            assert audit(journal, set()).good == EVENTS
            with pytest.raises(JournalError):
                journal.append([note("no")], origin=ORIGIN)
    assert contents(path.parent) == before


def test_a_reader_on_a_read_only_mount_recovers_in_a_copy_too_and_leaves_none_behind(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    die_in_the_middle_of_a_commit(path)
    path.parent.chmod(0o500)
    with Journal.open(path, write=False) as journal:
        assert [place.stat().st_mode & 0o777 for place in scratch.iterdir()] == [0o700]
        assert len(list(journal.events())) == EVENTS
    assert list(scratch.iterdir()) == []
    path.parent.chmod(0o700)


def test_after_a_crash_in_a_commit_the_next_writer_takes_it_back(path: Path) -> None:
    good = path.read_bytes()
    die_in_the_middle_of_a_commit(path)
    with Journal.open(path, write=True) as journal:
        assert path.read_bytes() == good
        assert journal.append([note("next")], origin=ORIGIN)[0].seq == EVENTS + 1
    assert not hot_journal_of(path).exists()


@pytest.mark.parametrize("after", [0.0, 0.003, 0.007, 0.011, 0.02, 0.035])
def test_nothing_that_was_acknowledged_is_lost_when_the_writer_is_killed(path: Path, after: float) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with Journal.open(path, write=True) as journal:
                while True:
                    seq = journal.append([note("a"), note("b" * 9000)], origin=ORIGIN, blobs=[os.urandom(9000)])[-1].seq
                    os.write(writer, struct.pack(">I", seq))
        finally:
            os._exit(1)
    os.close(writer)
    first = os.read(reader, 4)
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    told = first
    while chunk := os.read(reader, 4096):
        told += chunk
    os.close(reader)
    acknowledged = struct.unpack(">I", told[-4:])[0]
    for write in (False, True):
        with Journal.open(path, write=write) as journal:
            seen = [event.seq for event in journal.events()]
            assert seen == list(range(1, len(seen) + 1))
            assert acknowledged <= len(seen) <= acknowledged + 2
            assert (len(seen) - EVENTS) % 2 == 0
            assert all(journal.blob(name) for name in journal.blobs())


@pytest.mark.parametrize("live", [False, True])
def test_reading_a_journal_that_somebody_set_to_wal_leaves_nothing_beside_it(path: Path, live: bool) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    if live:
        connection.execute("CREATE TABLE theirs (x)")  # only in the -wal
    else:
        connection.close()
    before = contents(path.parent)
    with Journal.open(path, write=False) as journal:
        assert len(list(journal.events())) == EVENTS
        assert journal.schema_faults() == (("table theirs is not ours",) if live else ())
    assert {name: content for name, (content, _) in contents(path.parent).items()} == {
        name: content for name, (content, _) in before.items()
    }
    connection.close()
