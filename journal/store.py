"""The store: append events in one durable transaction, read them back with the chain checked.

Nothing is appended to a journal whose chain has not been checked from its first event on: what this process has not yet
read, `append` reads first, in its own transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType

from sqlalchemy import Connection, Integer, LargeBinary, Select, bindparam, cast, func, insert, literal_column, select

from journal.before import Where, named
from journal.chain import START, VERIFY_HINT, Head, Record, Row, checked, decoded, seal
from journal.database import Database, locate
from journal.errors import FAULT_HINT, JournalDamagedError, JournalError, JournalUncertainError
from journal.events import Draft, Event, Kind, Origin
from journal.files import cannot_write, sync_names
from journal.layout import alone, check_layout, make
from journal.schema import BLOBS, EVENTS, schema_faults

BATCH = 500
"""Events read at a time; between two batches no lock is held."""


def utc_now() -> datetime:
    """The wall clock. It may jump back; the order of events is that of their numbers."""
    return datetime.now(UTC)


class Journal:
    """A journal that is open. Made by `create` or `open`; a context manager that closes it."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock
        self._select = database.sql(_select(database.connection.dialect.name))
        self._insert = database.sql(insert(EVENTS))
        self._known = START
        """The last event up to which this process has checked the chain."""

    @classmethod
    def create(cls, where: str | Path, *, clock: Callable[[], datetime] = utc_now) -> Journal:
        """Make a new journal (a SQLite file with mode 0600 in a directory with mode 0700) and open it for writing.

        Raises JournalExistsError where there is one, and whatever else of JournalError says why it cannot be made.
        """
        make(locate(where))
        return cls.open(where, write=True, clock=clock)

    @classmethod
    def open(cls, where: str | Path, *, write: bool, clock: Callable[[], datetime] = utc_now) -> Journal:
        """Open a journal. For reading nothing at all is written; for writing an older layout is migrated.

        Raises JournalMissingError, NotAJournalError, JournalNewerError, JournalUnreadableError, JournalDamagedError.
        """
        database = Database(locate(where), write=write)
        try:
            check_layout(database)
            journal = cls(database, clock)
            journal.head()
        except BaseException:
            database.close()
            raise
        return journal

    def append(self, drafts: Sequence[Draft], *, origin: Origin, blobs: Iterable[bytes] = ()) -> tuple[Event, ...]:
        """Append events, and the before-images they name, in one transaction; durable when it returns.

        Raises JournalDamagedError when what is there is damaged, JournalFullError, JournalLockedError, JournalError;
        nothing has been appended then. Raises JournalUncertainError where it may have been all the same.
        """
        if not self._database.writable:
            raise JournalError("The journal is open for reading only.", hint="Open it for writing.")
        records: list[Record] = []
        try:
            return self._append(records, drafts, origin, blobs)
        except JournalError as error:
            if records and self._may_hold(records[-1]):
                raise JournalUncertainError(
                    "The journal could not make durable what was appended to it.",
                    hint="See whether its file system is in order, then run the command again.",
                    evidence=error.evidence,
                ) from error
            raise

    def _append(
        self, records: list[Record], drafts: Sequence[Draft], origin: Origin, blobs: Iterable[bytes]
    ) -> tuple[Event, ...]:
        with self._database.writing() as connection:
            alone(connection)
            head = self._catch_up()
            for draft in drafts:
                records.append(seal(head, draft, origin, self._clock()))
                head = Head(records[-1].seq, records[-1].hash)
            _keep(connection, drafts, blobs)
            cursor = self._database.cursor()
            cursor.executemany(self._insert, [record._asdict() for record in records])
            cursor.close()
            if records and records[0].seq == 1 and self.path is not None:
                # Whoever made the file may have been killed before its name was durable.
                self._sync_names(self.path)
            # A crash up to here leaves a hot journal: the next opening rolls back, nothing was acknowledged.
        self._known = head
        return tuple(decoded(records))

    def _may_hold(self, record: Record) -> bool:
        """Whether a commit that failed is there after all: SQLite reports so where it was through but for the sync of
        the directory (SQLITE_IOERR_DIR_FSYNC), a server where the connection was lost in the middle."""
        try:
            return self.head().seq >= record.seq
        except JournalError:
            return True

    def events(self, after: int = 0) -> Iterator[Event]:
        """The events after number `after`, in order, each held against the chain.

        Raises JournalDamagedError at the first that does not fit: the ones before it have been yielded.
        """
        for records in self._batches(after):
            yield from decoded(records)

    def records(self, after: int = 0) -> Iterator[Record]:
        """As `events`, but as they are stored: the text that was hashed."""
        for records in self._batches(after):
            yield from records

    def blob(self, digest: str) -> bytes:
        """The before-image with this sha256. Raises JournalDamagedError when it is missing or not what it was."""
        with self._database.reading() as connection:
            content = connection.execute(select(BLOBS.c.content).where(BLOBS.c.sha256 == digest)).scalar()
        if content is None:
            raise JournalDamagedError(
                "A before-image is missing from the journal.", hint=VERIFY_HINT, evidence=(digest,)
            )
        found = sha256(content).hexdigest() if isinstance(content, bytes) else "not bytes"
        if found != digest:
            raise JournalDamagedError(
                "A before-image in the journal is damaged.",
                hint=VERIFY_HINT,
                evidence=(f"expected sha256 {digest}", f"found {found}"),
            )
        return bytes(content)

    def head(self) -> Head:
        """The number and hash of the last event, as they stand there."""
        query = select(EVENTS.c.seq, EVENTS.c.hash).order_by(EVENTS.c.seq.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return START if row is None else Head(row.seq, row.hash)

    def blobs(self) -> tuple[str, ...]:
        """The sha256 that each before-image is kept under."""
        with self._database.reading() as connection:
            return tuple(str(digest) for digest in connection.execute(select(BLOBS.c.sha256)).scalars())

    def faults(self) -> tuple[str, ...]:
        """What the database itself finds wrong with its file; nothing where a server looks after that."""
        if self.path is None:
            return ()
        with self._database.reading() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check(20)").scalars().all()
        return tuple(line for line in map(str, found) if line != "ok")

    def refuse_faults(self) -> None:
        """Raise JournalDamagedError when the database finds a fault in itself, is not as we made it, or holds a row
        beside the chain."""
        if found := (*self.faults(), *self.schema_faults(), *self.gaps()):
            raise JournalDamagedError(
                "The journal's database is damaged.", hint=VERIFY_HINT, evidence=(self.shown, *found)
            )

    def schema_faults(self) -> tuple[str, ...]:
        """The tables and triggers that somebody took away, changed or added."""
        with self._database.reading() as connection:
            return schema_faults(connection)

    def gaps(self) -> tuple[str, ...]:
        """Where numbers are missing, one line for each gap up to 20."""
        before = EVENTS.c.seq.label("seq"), func.lag(EVENTS.c.seq, 1, 0).over(order_by=EVENTS.c.seq).label("before")
        numbers = select(*before).subquery()
        query = select(numbers).where(numbers.c.seq != numbers.c.before + 1).order_by(numbers.c.seq).limit(20)
        with self._database.reading() as connection:
            return tuple(f"after event {row.before} comes event {row.seq}" for row in connection.execute(query))

    @property
    def path(self) -> Path | None:
        """The file, None where the journal is in a database server."""
        return self._database.place.path

    @property
    def shown(self) -> str:
        """How to name this journal to the user; carries no password."""
        return self._database.place.shown

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @staticmethod
    def _sync_names(path: Path) -> None:
        try:
            sync_names(path)
        except OSError as error:
            raise cannot_write("The journal cannot be written.", path, error) from error

    def _batches(self, after: int) -> Iterator[list[Record]]:
        tip = self._head_at(after)
        from_start = after <= self._known.seq
        while True:
            with self._database.reading():
                rows = self._fetch(tip.seq)
            records, damage = checked(rows, tip)
            tip = _tip(records, tip)
            if from_start and tip.seq > self._known.seq:
                self._known = tip
            yield records
            if damage is not None:
                raise damage
            if len(rows) < BATCH:
                return

    def _fetch(self, after: int) -> Sequence[Row]:
        """The next batch of rows after a number."""
        cursor = self._database.cursor()
        cursor.execute(self._select, {"after": after, "limit": BATCH})
        rows = cursor.fetchall()
        cursor.close()
        if self._database.connection.dialect.name == "sqlite":
            return rows
        return [(seq, _bytes(prev), _bytes(mark), _bytes(body)) for seq, prev, mark, body in rows]

    def _catch_up(self) -> Head:
        """Check what this process has not read yet, inside its transaction; the true head."""
        while rows := self._fetch(self._known.seq):
            records, damage = checked(rows, self._known)
            if damage is not None:
                raise damage
            self._known = _tip(records, self._known)
        return self._known

    def _head_at(self, seq: int) -> Head:
        if seq == 0:
            return START
        if seq == self._known.seq:
            return self._known
        with self._database.reading() as connection:
            found = connection.execute(select(EVENTS.c.hash).where(EVENTS.c.seq == seq)).scalar()
        if not isinstance(found, str):
            raise JournalDamagedError(f"Event {seq} is missing from the journal.", hint=VERIFY_HINT, seq=seq)
        return Head(seq, found)


def _tip(records: Sequence[Record], before: Head) -> Head:
    return Head(records[-1].seq, records[-1].hash) if records else before


def _select(dialect: str) -> Select[tuple[object, object, object, object]]:
    """Columns as bytes, so that text which is no longer UTF-8 is a damaged event and not a failing query."""
    prev, mark, body = EVENTS.c.prev, EVENTS.c.hash, EVENTS.c.body
    if dialect == "sqlite":
        columns = select(EVENTS.c.seq, cast(prev, LargeBinary), cast(mark, LargeBinary), cast(body, LargeBinary))
    else:
        columns = select(EVENTS.c.seq, prev, mark, body)
    # SQLAlchemy's SQLite dialect gives every LIMIT an OFFSET, as a parameter of its own unless one is written.
    batch = columns.limit(bindparam("limit", type_=Integer)).offset(literal_column("0"))
    return batch.where(EVENTS.c.seq > bindparam("after")).order_by(EVENTS.c.seq)


def _bytes(value: object) -> object:
    return value.encode() if isinstance(value, str) else value


def _keep(connection: Connection, drafts: Sequence[Draft], blobs: Iterable[bytes]) -> None:
    """Insert the before-images that are not there yet. Raises JournalError if an intent names one that is nowhere."""
    given = {sha256(blob).hexdigest(): blob for blob in blobs}
    wanted = {digest for draft in drafts if draft.kind is Kind.INTENT for digest in named(draft.data, Where.BLOB)}
    asked = given.keys() | wanted
    if not asked:
        return
    there = set(connection.execute(select(BLOBS.c.sha256).where(BLOBS.c.sha256.in_(asked))).scalars())
    if lost := wanted - given.keys() - there:
        raise JournalError(
            "An intent names a before-image that was not kept; nothing was appended.",
            hint=FAULT_HINT,
            evidence=tuple(sorted(lost)),
        )
    new = [{"sha256": digest, "content": blob} for digest, blob in given.items() if digest not in there]
    if new:
        connection.execute(insert(BLOBS), new)
