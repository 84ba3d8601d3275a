"""What every database under the journal must keep to."""

from __future__ import annotations

import functools
import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from journal import database as database_module
from journal.audit import Announced, Subject, audit
from journal.chain import GENESIS, START, Head
from journal.database import Database, locate
from journal.errors import (
    Exit,
    JournalDamagedError,
    JournalError,
    JournalExistsError,
    JournalLockedError,
    JournalMissingError,
    JournalNewerError,
    JournalUnreadableError,
    NotAJournalError,
)
from journal.events import Draft, Event, Json, Kind
from journal.layout import check_layout
from journal.schema import MIGRATIONS, identify
from journal.store import BATCH, Journal
from journal.timeline import exported
from tests.journal.support import ORIGIN, SETUP, Backend, Sqlite, digest, intent, note


def filled(backend: Backend, count: int) -> tuple[Event, ...]:
    """A journal with so many events, closed again."""
    with Journal.create(backend.where) as journal:
        return journal.append([note(number) for number in range(count)], origin=ORIGIN)


def test_what_was_appended_is_read_back_as_it_was_returned(backend: Backend) -> None:
    drafts = [Draft(Kind.SETUP_CREATED, SETUP, {"state": "new"}), Draft(Kind.STEP_STARTED, SETUP, {}, "checked", 3)]
    with Journal.create(backend.where) as journal:
        returned = journal.append(drafts, origin=ORIGIN)
        assert tuple(journal.events()) == returned
    with Journal.open(backend.where, write=False) as journal:
        first, second = journal.events()
        assert (first, second) == returned
    assert (first.seq, first.kind, first.who, first.boot) == (1, Kind.SETUP_CREATED, "0/1000", ORIGIN.boot)
    assert (second.step, second.attempt, second.setup, first.step) == ("checked", 3, SETUP, None)


def test_a_new_journal_is_empty_and_its_head_is_before_the_first_event(backend: Backend) -> None:
    with Journal.create(backend.where) as journal:
        assert journal.head() == START == Head(0, GENESIS)
        assert list(journal.events()) == []
        assert journal.append([], origin=ORIGIN) == ()


def test_anyone_can_check_the_chain_of_an_export_with_sha256_alone(backend: Backend) -> None:
    filled(backend, 5)
    with Journal.open(backend.where, write=False) as journal:
        rows = [json.loads(json.dumps(row)) for row in exported(journal.records())]
        head = journal.head()
    before = "0" * 64
    for row in rows:
        prev, mark = row.pop("prev"), row.pop("hash")
        body = json.dumps(row, sort_keys=True, separators=(",", ":"))
        assert (prev, mark) == (before, sha256(f"{prev}\n{body}".encode()).hexdigest())
        before = mark
    assert head == Head(5, before)


@pytest.mark.parametrize("data", ["\udc80x\udcff", "a\0b", "привет ☃ 𝄞", 2**80, -0.5, [[], {}, None, True], '"\\\n'])
def test_any_json_survives(backend: Backend, data: Json) -> None:
    with Journal.create(backend.where) as journal:
        journal.append([note(data)], origin=ORIGIN)
        assert [event.data["detail"] for event in journal.events()] == [data]


def test_an_append_happens_whole_or_not_at_all(backend: Backend) -> None:
    with Journal.create(backend.where) as journal:
        journal.append([note("kept")], origin=ORIGIN)
        with pytest.raises(ValueError, match="JSON"):
            journal.append([note("lost"), note(float("nan"))], origin=ORIGIN, blobs=[b"lost"])
        assert [event.data["detail"] for event in journal.events()] == ["kept"]
        assert journal.blobs() == ()
        assert journal.append([note("next")], origin=ORIGIN)[0].seq == 2


def test_reading_begins_after_any_event(backend: Backend) -> None:
    events = filled(backend, 7)
    with Journal.open(backend.where, write=False) as journal:
        for after in range(8):
            assert tuple(journal.events(after)) == events[after:]
        with pytest.raises(JournalDamagedError):
            list(journal.events(9))


def test_more_events_than_one_batch_are_read_in_order(backend: Backend) -> None:
    events = filled(backend, 2 * BATCH + 1)
    with Journal.open(backend.where, write=True) as journal:
        assert tuple(journal.events()) == events
        journal.append([note("one more")], origin=ORIGIN)
        assert journal.head().seq == 2 * BATCH + 2


def test_events_appended_while_reading_are_read_too(backend: Backend) -> None:
    with Journal.create(backend.where) as journal:
        journal.append([note(number) for number in range(BATCH)], origin=ORIGIN)
        reading = journal.events()
        first = next(reading)
        journal.append([note("late")], origin=ORIGIN)
        assert [first.seq, *(event.seq for event in reading)] == list(range(1, BATCH + 2))


def test_a_clock_that_jumps_back_changes_the_time_and_not_the_order(backend: Backend) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    times = iter([now, now - timedelta(days=400), now])
    with Journal.create(backend.where, clock=lambda: next(times)) as journal:
        journal.append([note(1), note(2), note(3)], origin=ORIGIN)
        events = list(journal.events())
    assert [event.seq for event in events] == [1, 2, 3]
    assert [event.at[:10] for event in events] == ["2026-01-01", "2024-11-27", "2026-01-01"]


def test_before_images_are_kept_once_and_come_back_byte_for_byte(backend: Backend) -> None:
    contents = [b"", b"\0\xff" * 1000, bytes(range(256)) * 4096]
    with Journal.create(backend.where) as journal:
        journal.append([note(1)], origin=ORIGIN, blobs=contents)
        journal.append([note(2)], origin=ORIGIN, blobs=contents[:2])
        assert [journal.blob(digest(content)) for content in contents] == contents
        assert sorted(journal.blobs()) == sorted(map(digest, contents))


def test_an_intent_is_refused_when_the_before_image_it_names_is_not_kept(backend: Backend) -> None:
    named = intent({"/etc/modules": {"sha256": digest(b"old"), "where": "blob"}, "/etc/new": {"sha256": None}})
    with Journal.create(backend.where) as journal:
        with pytest.raises(JournalError, match="before-image"):
            journal.append([named], origin=ORIGIN)
        assert journal.head() == START
        journal.append([named], origin=ORIGIN, blobs=[b"old"])
        journal.append([named], origin=ORIGIN)


def test_a_before_image_that_is_missing_or_damaged_is_not_handed_out(backend: Backend) -> None:
    with Journal.create(backend.where) as journal:
        journal.append([note(1)], origin=ORIGIN, blobs=[b"old"])
    with pytest.raises(JournalDamagedError), Journal.open(backend.where, write=False) as journal:
        journal.blob(digest(b"other"))
    value = "X'00'" if isinstance(backend, Sqlite) else "'\\x00'::bytea"
    backend.as_root(f"UPDATE blobs SET content = {value}")
    with pytest.raises(JournalDamagedError, match="before-image"), Journal.open(backend.where, write=False) as journal:
        journal.blob(digest(b"old"))


HASH = "'" + "a" * 64 + "'"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET body = '{}' WHERE seq = 1",
        "UPDATE events SET seq = 9 WHERE seq = 3",
        "DELETE FROM events WHERE seq = 3",
        "DELETE FROM events",
        f"INSERT INTO events (seq, prev, hash, body) VALUES (3, {HASH}, {HASH}, '{{}}')",
        f"INSERT INTO events (seq, prev, hash, body) VALUES (5, {HASH}, {HASH}, '{{}}')",
        f"INSERT INTO events (seq, prev, hash, body) VALUES (4, {HASH}, {HASH}, '{{}}')",
        "UPDATE blobs SET sha256 = 'x'",
        "DELETE FROM blobs",
    ],
)
def test_the_database_itself_refuses_all_but_the_next_event(backend: Backend, statement: str) -> None:
    with Journal.create(backend.where) as journal:
        journal.append([note(number) for number in range(3)], origin=ORIGIN, blobs=[b"old"])
    with pytest.raises(Exception, match=r"append-only|follows the last one"):
        backend.as_user(statement)
    with Journal.open(backend.where, write=False) as journal:
        assert len(list(journal.events())) == 3
        assert journal.blob(digest(b"old")) == b"old"


def test_whatever_empties_or_replaces_is_refused_too(backend: Backend) -> None:
    with Journal.create(backend.where) as journal:
        journal.append([note(1)], origin=ORIGIN, blobs=[b"old"])
    statements = (
        [f"INSERT OR REPLACE INTO events VALUES (1, {HASH}, {HASH}, '{{}}')",
         f"INSERT OR REPLACE INTO blobs VALUES ('{digest(b'old')}', X'00')"]
        if isinstance(backend, Sqlite)
        else ["TRUNCATE events", "TRUNCATE blobs"]
    )  # fmt: skip
    for statement in statements:
        with pytest.raises(Exception, match=r"append-only|follows the last one"):
            backend.as_user(statement)


def test_a_journal_open_for_reading_does_not_append(backend: Backend) -> None:
    filled(backend, 1)
    with Journal.open(backend.where, write=False) as journal, pytest.raises(JournalError, match="reading"):
        journal.append([note(2)], origin=ORIGIN)


def test_a_journal_is_never_made_over_another(backend: Backend) -> None:
    events = filled(backend, 2)
    with pytest.raises(JournalExistsError) as caught:
        Journal.create(backend.where)
    assert caught.value.exit == Exit.FAILED
    with Journal.open(backend.where, write=False) as journal:
        assert tuple(journal.events()) == events


def test_where_there_is_no_journal_it_is_said_so(backend: Backend) -> None:
    for write in (False, True):
        with pytest.raises(JournalMissingError) as caught:
            Journal.open(backend.where, write=write)
        assert caught.value.hint


def test_a_server_that_cannot_be_reached_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers there
        where = f"postgresql+psycopg://me:secret@127.0.0.1:{taken.getsockname()[1]}/journal"
        for use in (Journal.create, functools.partial(Journal.open, write=False)):
            with pytest.raises(JournalUnreadableError) as caught:
                use(where)
            assert "secret" not in str(caught.value.evidence)
            assert "127.0.0.1" in caught.value.evidence[0]


def test_a_database_with_other_tables_is_not_a_journal_and_stays_as_it_is(backend: Backend) -> None:
    if isinstance(backend, Sqlite):
        filled(backend, 0)
        backend.as_user("PRAGMA application_id = 1")
    else:
        backend.as_user("CREATE TABLE theirs (x int)")
        with pytest.raises(NotAJournalError):
            Journal.create(backend.where)
    for write in (False, True):
        with pytest.raises(NotAJournalError):
            Journal.open(backend.where, write=write)


def test_a_journal_of_a_newer_version_is_refused(backend: Backend) -> None:
    filled(backend, 1)
    sqlite = isinstance(backend, Sqlite)
    backend.as_root("PRAGMA user_version = 99" if sqlite else "UPDATE meta SET value = '99' WHERE name = 'version'")
    for write in (False, True):
        with pytest.raises(JournalNewerError) as caught:
            Journal.open(backend.where, write=write)
        assert "99" in caught.value.evidence[-1]


def to_2(connection: Connection) -> None:
    """A layout after today's."""
    connection.exec_driver_sql("CREATE TABLE later (x INTEGER)")


def broken(connection: Connection) -> None:
    """A migration that fails after it has changed something."""
    to_2(connection)
    connection.exec_driver_sql("SELECT no_such_column FROM events")


def layout(backend: Backend, *, write: bool, migrations: tuple[Callable[[Connection], None], ...]) -> int:
    """Open with these migrations; the layout afterwards."""
    database = Database(locate(backend.where), write=write)
    try:
        check_layout(database, migrations)
        with database.reading() as connection:
            return identify(connection)[1]
    finally:
        database.close()


def test_an_older_journal_is_migrated_when_opened_for_writing_and_keeps_its_events(backend: Backend) -> None:
    events = filled(backend, 3)
    today = tuple(MIGRATIONS)
    with pytest.raises(JournalUnreadableError, match="older"):
        layout(backend, write=False, migrations=(*today, to_2))
    assert layout(backend, write=True, migrations=(*today, to_2)) == 2
    assert layout(backend, write=False, migrations=(*today, to_2)) == 2
    backend.as_user("SELECT x FROM later")
    with pytest.raises(JournalNewerError):
        Journal.open(backend.where, write=True)
    database = Database(locate(backend.where), write=False)
    assert tuple(Journal(database).events()) == events
    database.close()


def test_a_migration_that_fails_leaves_the_journal_as_it_was(backend: Backend) -> None:
    events = filled(backend, 3)
    with pytest.raises(JournalError):
        layout(backend, write=True, migrations=(*MIGRATIONS, broken))
    with pytest.raises(Exception, match="later"):
        backend.as_user("SELECT x FROM later")
    with Journal.open(backend.where, write=True) as journal:
        assert tuple(journal.events()) == events


def test_two_writers_in_turn_make_one_chain(backend: Backend) -> None:
    with Journal.create(backend.where) as one, Journal.open(backend.where, write=True) as other:
        for number in range(6):
            (one if number % 2 else other).append([note(number)], origin=ORIGIN)
        assert [event.data["detail"] for event in one.events()] == list(range(6))


def test_a_writer_is_told_when_another_one_holds_the_journal(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT", 0.1)
    filled(backend, 1)
    holder = Database(locate(backend.where), write=True)
    try:
        with Journal.open(backend.where, write=True) as journal, holder.writing() as connection:
            if not isinstance(backend, Sqlite):
                connection.exec_driver_sql("LOCK TABLE meta IN SHARE ROW EXCLUSIVE MODE")
            with pytest.raises(JournalLockedError) as caught:
                journal.append([note(2)], origin=ORIGIN)
            assert caught.value.exit == Exit.LOCKED
            assert [event.seq for event in journal.events()] == [1]
    finally:
        holder.close()


DAMAGES = {
    "an edited event": ["UPDATE events SET body = replace(body, 'said', 'sung') WHERE seq = 4"],
    "an edited hash": ["UPDATE events SET hash = prev WHERE seq = 4"],
    "a deleted event": ["DELETE FROM events WHERE seq = 4"],
    "swapped events": [
        "UPDATE events SET seq = 1004 WHERE seq = 4",
        "UPDATE events SET seq = 4 WHERE seq = 5",
        "UPDATE events SET seq = 5 WHERE seq = 1004",
    ],
    "a doubled event": [
        "UPDATE events SET prev = (SELECT prev FROM events WHERE seq = 3), hash = (SELECT hash FROM events WHERE seq"
        " = 3), body = (SELECT body FROM events WHERE seq = 3) WHERE seq = 4"
    ],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_what_is_before_it_is_still_read_and_nothing_is_appended(backend: Backend, damage: str) -> None:
    events = filled(backend, 8)
    backend.as_root(*DAMAGES[damage])
    with Journal.open(backend.where, write=True) as journal:
        read = []
        with pytest.raises(JournalDamagedError) as caught:
            for event in journal.events():
                read.append(event)
        assert tuple(read) == events[:3]
        assert (caught.value.seq, caught.value.good, caught.value.exit) == (4, 3, Exit.DAMAGED)
        assert "Event 4" in caught.value.message
        head = journal.head()
        with pytest.raises(JournalDamagedError):
            journal.append([note("no")], origin=ORIGIN)
        assert journal.head() == head
        report = audit(journal, set())
    assert not report.ok
    assert (report.damaged, report.good) == (4, 3)


def test_a_journal_is_not_appended_to_before_its_chain_was_checked(backend: Backend) -> None:
    filled(backend, 3)
    backend.as_root("UPDATE events SET body = replace(body, 'said', 'sung') WHERE seq = 1")
    with Journal.open(backend.where, write=True) as journal:
        with pytest.raises(JournalDamagedError):
            journal.append([note("no")], origin=ORIGIN)
        assert journal.head().seq == 3


def test_a_cut_tail_shows_against_a_head_that_was_written_down(backend: Backend) -> None:
    events = filled(backend, 5)
    known = Head(5, events[-1].hash)
    with Journal.open(backend.where, write=False) as journal:
        assert audit(journal, set(), known=Announced((START, known))).checks[4].ok
    backend.as_root("DELETE FROM events WHERE seq > 3")
    with Journal.open(backend.where, write=False) as journal:
        report = audit(journal, set(), known=Announced((known,)))
    assert [check.subject for check in report.checks if not check.ok and check.subject is Subject.HEAD]
    assert report.good == 3


def test_removed_guards_are_reported(backend: Backend) -> None:
    filled(backend, 1)
    with Journal.open(backend.where, write=False) as journal:
        assert journal.schema_faults() == ()
    drop = "DROP TRIGGER events_in_order"
    backend.as_user(drop if isinstance(backend, Sqlite) else f"{drop} ON events")
    with Journal.open(backend.where, write=False) as journal:
        assert journal.schema_faults() == ("trigger events_in_order is missing",)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
drafts = st.builds(
    Draft,
    kind=st.sampled_from([kind for kind in Kind if kind is not Kind.INTENT]),
    setup=st.text(alphabet="0123456789abcdef", min_size=12, max_size=12),
    data=st.dictionaries(st.text(), json_values, max_size=3),
    step=st.none() | st.text(max_size=8),
    attempt=st.integers(0, 99),
)
actions = st.lists(
    st.tuples(st.sampled_from(["append", "append", "reopen"]), st.lists(drafts, max_size=3), st.lists(st.binary())),
    max_size=6,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(script=actions)
def test_a_journal_is_a_list_that_survives_being_closed(
    request: pytest.FixtureRequest,
    backend: Backend,
    tmp_path_factory: pytest.TempPathFactory,
    script: list[tuple[str, list[Draft], list[bytes]]],
) -> None:
    if isinstance(backend, Sqlite):
        where = str(tmp_path_factory.mktemp("model") / "journal.db")
    else:
        where = request.getfixturevalue("postgresql").schema().where
    model: list[Draft] = []
    kept: set[bytes] = set()
    journal = Journal.create(where)
    for what, new, blobs in script:
        if what == "reopen":
            journal.close()
            journal = Journal.open(where, write=True)
        else:
            journal.append(new, origin=ORIGIN, blobs=blobs)
            model += new
            kept |= set(blobs)
        assert journal.head().seq == len(model)
    events = list(journal.events())
    assert [(e.kind, e.setup, dict(e.data), e.step, e.attempt) for e in events] == [
        (d.kind, d.setup, dict(d.data), d.step, d.attempt) for d in model
    ]
    assert {journal.blob(name) for name in journal.blobs()} == kept
    journal.close()
