"""What a database error means to the user: every one becomes a JournalError with a hint."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from journal.chain import VERIFY_HINT
from journal.errors import (
    JournalDamagedError,
    JournalError,
    JournalFullError,
    JournalLockedError,
    JournalUnreadableError,
    NotAJournalError,
)

_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_UNREADABLE = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR}
)


@contextmanager
def mapped(shown: str, driver_error: type[Exception] = sqlite3.Error) -> Iterator[None]:
    """Turn what the database raises in the block into a JournalError; `shown` says where the journal is."""
    try:
        yield
    except UnicodeDecodeError as error:
        # Python's sqlite3 cannot even say what SQLite complains of when damaged names are in the complaint.
        raise _damaged((shown, f"names in it are not text: {error}")) from error
    except (SQLAlchemyError, driver_error) as error:
        if isinstance(original(error), sqlite3.ProgrammingError | sqlite3.InterfaceError):
            raise  # a fault in our own statements, no news about the journal
        raise explain(error, shown) from error


def original(error: Exception) -> BaseException:
    """The driver's own exception behind one of SQLAlchemy's."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def explain(error: Exception, shown: str) -> JournalError:
    """The JournalError that a database error amounts to."""
    cause = original(error)
    evidence = (shown, str(cause).strip() or type(cause).__name__)
    if isinstance(cause, sqlite3.Error):
        return _explain_sqlite(cause, evidence)
    return _explain_server(getattr(cause, "sqlstate", None), evidence)


def _explain_sqlite(cause: sqlite3.Error, evidence: tuple[str, ...]) -> JournalError:
    """By SQLite's primary result code (https://www.sqlite.org/rescode.html); Python's own complaints have none."""
    code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in _LOCKED:
        return _locked(evidence)
    if code == sqlite3.SQLITE_FULL:
        return _full(evidence)
    if code in _UNREADABLE:
        return _unreadable(evidence)
    if code == sqlite3.SQLITE_NOTADB:
        return NotAJournalError("The file is not a journal of vfiostate.", hint=NOT_OURS_HINT, evidence=evidence)
    if code == sqlite3.SQLITE_CONSTRAINT:
        return _rejected(evidence)
    return _damaged(evidence)


def _explain_server(state: str | None, evidence: tuple[str, ...]) -> JournalError:
    """By SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html); without one the server was lost."""
    if state in ("55P03", "40001", "40P01", "57014"):
        return _locked(evidence)
    if state in ("53100", "53400"):
        return _full(evidence)
    if state is not None and state.startswith("23"):
        return _rejected(evidence)
    if state is not None and state.startswith(("XX", "42P01", "42703")):
        return _damaged(evidence)
    return _unreadable(evidence)


NOT_OURS_HINT = "Look at what lies there; move it away, or name another place for the journal."


def _damaged(evidence: tuple[str, ...]) -> JournalError:
    return JournalDamagedError("The journal's database is damaged.", hint=VERIFY_HINT, evidence=evidence)


def _locked(evidence: tuple[str, ...]) -> JournalError:
    return JournalLockedError(
        "Another process is using the journal and did not finish in time.",
        hint="Try again when it has ended.",
        evidence=evidence,
    )


def _full(evidence: tuple[str, ...]) -> JournalError:
    return JournalFullError(
        "There is no room left for the journal; nothing was appended.",
        hint="Make room on the file system that holds it, then run the command again.",
        evidence=evidence,
    )


def _unreadable(evidence: tuple[str, ...]) -> JournalError:
    return JournalUnreadableError(
        "The journal cannot be opened, read or written.",
        hint="Run as root; see whether the file system is mounted and writable, or the database server reachable.",
        evidence=evidence,
    )


def _rejected(evidence: tuple[str, ...]) -> JournalError:
    return JournalError(
        "The database refused to append: the journal only grows, one event after the other.",
        hint="Another process may have appended at the same time; run the command again.",
        evidence=evidence,
    )
