"""The database under the journal: finding it, making it, holding one connection to it.

SQLite, in one file: `journal_mode=DELETE`, `synchronous=EXTRA`, `isolation_level=None` and an explicit BEGIN, the only
combination that is transactional on Python 3.11 to 3.13, tables included.

Opening for reading never writes, not even to recover. After a power cut in the middle of a commit, a hot rollback
journal lies beside the file, and what is in the file is not yet true. A reader then copies both into a private
directory, lets SQLite recover the copy and reads that: this works on a rescue system's read-only mount as well. The
next writer recovers the file itself.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from sqlalchemy import ClauseElement, Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from journal.chain import VERIFY_HINT
from journal.errors import (
    JournalDamagedError,
    JournalEmptyError,
    JournalLockedError,
    JournalMissingError,
    JournalUnreadableError,
    NotAJournalError,
    NotRootError,
    UsageError,
    VfiostateError,
)
from journal.faults import NOT_OURS_HINT, mapped, original
from journal.schema import APPLICATION_ID

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that is writing."""

_WAL = 2
"""The read and write version of a file in WAL mode (https://www.sqlite.org/fileformat.html, 1.3.3)."""
_Mode = Literal["ro", "rw"]
_PRAGMAS = ("trusted_schema = OFF", "cell_size_check = ON")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a journal is: a SQLAlchemy URL, and the path if it is a SQLite file. `shown` carries no password."""

    url: URL
    path: Path | None
    shown: str


def locate(where: str | Path) -> Place:
    """Understand a plain path or a SQLAlchemy URL. Raises UsageError for what is neither."""
    if isinstance(where, Path) or "://" not in where:
        path = Path(where).absolute()
        return Place(URL.create("sqlite", database=str(path)), path, str(path))
    try:
        url = make_url(where)
    except ArgumentError as error:
        raise UsageError(
            "The journal's address is not a SQLAlchemy URL.",
            hint="Give a path, or something like postgresql+psycopg://user@host/database.",
        ) from error
    if url.get_backend_name() != "sqlite":
        return Place(url, None, url.render_as_string(hide_password=True))
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise UsageError("A journal in SQLite is a file.", hint="Give its path.", evidence=(str(url),))
    path = Path(url.database).absolute()
    return Place(url, path, str(path))


class Database:
    """One held connection. `reading` and `writing` are its transactions."""

    def __init__(self, place: Place, *, write: bool, new: bool = False) -> None:
        """Connect; a `new` file may be empty. Raises the JournalError that says why it cannot be."""
        self.place = place
        self.writable = write
        self._begin = "BEGIN"
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        header = b"" if place.path is None or new else inspect_file(place.path, write=write)
        try:
            with mapped(place.shown):
                self._engine, self.connection = self._connect(header)
        except NotAJournalError as error:
            if header[68:72] != APPLICATION_ID.to_bytes(4, "big"):
                raise
            # The file still says that it is ours, so it is SQLite's own mark at its beginning that is damaged.
            raise JournalDamagedError(
                "The beginning of the journal file is damaged.", hint=VERIFY_HINT, evidence=error.evidence
            ) from error
        self._driver_error: type[Exception] = self._engine.dialect.loaded_dbapi.Error

    def _connect(self, header: bytes) -> tuple[Engine, Connection]:
        if self.place.path is None:
            engine = _server_engine(self.place, self.writable)
            return engine, engine.connect()
        if self.writable:
            return self._open_sqlite(self.place.path, "rw")
        # Somebody set it to WAL: reading that would leave a -wal and a -shm beside it.
        wal = _WAL in header[18:20]
        for _ in range(3):
            try:
                if not wal:
                    return self._open_sqlite(self.place.path, "ro")
            except (SQLAlchemyError, sqlite3.Error) as error:
                if not _is_hot(error):
                    raise
            self._copy = _copy_with(self.place.path, () if wal else (hot_journal_of,), (wal_of,) if wal else ())
            if self._copy is not None:
                return self._open_sqlite(Path(self._copy.name, self.place.path.name), "rw")
        raise JournalLockedError(
            "The journal changes while it is being read.",
            hint="Try again when the other vfiostate has ended.",
            evidence=(self.place.shown,),
        )

    def _open_sqlite(self, path: Path, mode: _Mode) -> tuple[Engine, Connection]:
        """A connection that has read the file once, so that damage and hot journals show here."""

        def connect() -> sqlite3.Connection:
            uri = f"file:{quote(str(path))}?mode={mode}"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT)
            pragmas = (*_PRAGMAS, "synchronous = EXTRA") if self.writable else (*_PRAGMAS, "query_only = ON")
            try:
                for pragma in pragmas:
                    connection.execute(f"PRAGMA {pragma}")
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                if self.writable:
                    # Writes nothing in a file that is in this mode already; takes back a WAL that somebody set.
                    connection.execute("PRAGMA journal_mode = DELETE")
            except BaseException:
                connection.close()
                raise
            return connection

        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, paramstyle="named")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            cursor = connection.connection.cursor()
            cursor.execute(self._begin)
            cursor.close()

        return engine, engine.connect()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that sees one state of the journal. Raises JournalError."""
        self._begin = "BEGIN"
        with mapped(self.place.shown, self._driver_error), self.connection.begin():
            yield self.connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that alone may append; durable when the block is left. Raises JournalError."""
        self._begin = "BEGIN IMMEDIATE"
        with mapped(self.place.shown, self._driver_error), self.connection.begin():
            yield self.connection

    def sql(self, statement: ClauseElement) -> str:
        """The text of a statement for `cursor`, with parameters by name.

        SQLAlchemy's own execution costs 60 to 100 us a statement; an append has two, and has to stay near sqlite3.
        """
        return str(statement.compile(dialect=self._engine.dialect))

    def cursor(self) -> DBAPICursor:
        """A cursor of the driver, inside the transaction that is open."""
        return self.connection.connection.cursor()

    def close(self) -> None:
        """Let go of the connection, and of the private copy where there was one."""
        self.connection.close()
        self._engine.dispose()
        if self._copy is not None:
            self._copy.cleanup()


def _server_engine(place: Place, write: bool) -> Engine:
    """An engine for any database but SQLite. On PostgreSQL, a commit that returned is on the server's disk."""
    try:
        engine = create_engine(place.url, poolclass=NullPool)
    except (NoSuchModuleError, ImportError) as error:
        # psycopg without a libpq is there, and cannot be imported.
        raise _no_driver(place, error) from error
    if engine.dialect.name == "postgresql":
        settings = {
            "synchronous_commit": "on",
            "lock_timeout": f"{int(BUSY_TIMEOUT * 1000)}ms",
            "default_transaction_read_only": "off" if write else "on",
        }

        @event.listens_for(engine, "connect")
        def set_up(connection: DBAPIConnection, _record: object) -> None:
            with closing(connection.cursor()) as cursor:
                for name, value in settings.items():
                    cursor.execute(f"SET SESSION {name} = '{value}'")
            connection.commit()

    return engine


def _no_driver(place: Place, error: Exception) -> UsageError:
    evidence = (place.shown, str(error))
    if place.url.get_backend_name() != "postgresql":
        return UsageError(
            f"No journal can lie in {place.url.get_backend_name()}: expected SQLite or PostgreSQL.",
            hint="Give the path of a SQLite file, or a URL that begins with postgresql+psycopg://.",
            evidence=evidence,
        )
    # root's pip, which the user would find, is another environment's.
    return UsageError(
        "The driver for PostgreSQL is not installed, or not whole.",
        hint="Begin the URL with postgresql+psycopg://, and install psycopg for this Python:"
        f" `{sys.executable} -m pip install 'psycopg[binary]'`.",
        evidence=evidence,
    )


def inspect_file(path: Path, *, write: bool) -> bytes:
    """Say what is wrong with a file before SQLite sees it: missing, not a file, empty, not to be read or written.

    Returns its first 100 bytes, which are SQLite's header.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
            raise NotAJournalError(
                "There is no journal file there.", hint=NOT_OURS_HINT, evidence=(f"{path} is {what}",)
            )
        # Closing this descriptor drops the POSIX locks that this process has on the file: open no journal a second
        # time inside a transaction (https://www.sqlite.org/howtocorrupt.html, 2.2).
        with path.open("rb") as file:
            header = file.read(100)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise JournalMissingError(
            "There is no journal yet.", hint="`vfiostate advance` makes one.", evidence=(str(path),)
        ) from error
    except OSError as error:
        denied = isinstance(error, PermissionError)
        raise _not_allowed("read", path, error.strerror or str(error), denied=denied) from error
    if not header and not hot_journal_of(path).exists():
        raise JournalEmptyError(
            "The file is not a journal of vfiostate: it is empty.", hint=NOT_OURS_HINT, evidence=(str(path),)
        )
    # Without this, SQLite would open it for reading only and fail at the first append.
    if write and not all(os.access(place, os.W_OK, effective_ids=True) for place in (path, path.parent)):
        raise _not_allowed("written", path, "no permission, or a read-only file system", denied=True)
    return header


def _not_allowed(what: str, path: Path, why: str, *, denied: bool = False) -> VfiostateError:
    if denied and os.geteuid() != 0:
        return NotRootError(f"The journal cannot be {what}.", hint="Run it with sudo.", evidence=(f"{path}: {why}",))
    return JournalUnreadableError(
        f"The journal cannot be {what}.",
        hint="See whether its file system is in order.",
        evidence=(f"{path}: {why}",),
    )


def hot_journal_of(path: Path) -> Path:
    """The rollback journal that SQLite keeps beside a file during a transaction."""
    return path.with_name(f"{path.name}-journal")


def _is_hot(error: Exception) -> bool:
    return getattr(original(error), "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK


def wal_of(path: Path) -> Path:
    """The write-ahead log, where somebody set the file to that mode."""
    return path.with_name(f"{path.name}-wal")


_Beside = Callable[[Path], Path]


def _copy_with(
    path: Path, needed: Sequence[_Beside], optional: Sequence[_Beside]
) -> tempfile.TemporaryDirectory[str] | None:
    """A private copy of a file and of what lies beside it; None if a writer came in between."""
    files = [path, *(beside(path) for beside in needed)]
    files += [place for place in (beside(path) for beside in optional) if place.exists()]
    directory = tempfile.TemporaryDirectory(prefix="vfiostate-journal-")
    try:
        before = [_identity(file) for file in files]
        for file in files:
            shutil.copyfile(file, Path(directory.name, file.name))
        if [_identity(file) for file in files] == before:
            return directory
    except FileNotFoundError:
        pass
    except OSError as error:
        directory.cleanup()
        raise _not_allowed("read", path, f"it has to be recovered in a copy first: {error}") from error
    directory.cleanup()
    return None


def _identity(path: Path) -> tuple[int, int, int]:
    info = path.stat()
    return info.st_ino, info.st_size, info.st_mtime_ns
