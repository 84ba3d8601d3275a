"""Making a journal, and seeing that what is opened is one, in a layout that this version knows."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, text

from journal.chain import VERIFY_HINT
from journal.database import Database, Place, locate
from journal.errors import (
    JournalDamagedError,
    JournalExistsError,
    JournalMissingError,
    JournalNewerError,
    JournalUnreadableError,
    NotAJournalError,
)
from journal.faults import NOT_OURS_HINT
from journal.files import cannot_write, sync_names
from journal.schema import MIGRATIONS, Migration, identify, is_empty, migrate


def check_layout(
    database: Database, migrations: Sequence[Migration] = MIGRATIONS, *, newest: int | None = None
) -> None:
    """See that the database is a journal in today's layout; bring an older one up when it is open for writing.

    Raises NotAJournalError, JournalMissingError (an empty database on a server), JournalNewerError,
    JournalUnreadableError (an older one, open for reading).
    """
    newest = len(migrations) if newest is None else newest
    shown = database.place.shown
    with database.reading() as connection:
        ours, version = identify(connection)
        if not ours and database.place.path is None and is_empty(connection):
            raise JournalMissingError(
                "There is no journal yet.", hint="`vfiostate advance` makes one.", evidence=(shown,)
            )
    if not ours:
        raise NotAJournalError("The database is not a journal of vfiostate.", hint=NOT_OURS_HINT, evidence=(shown,))
    if version > newest:
        raise JournalNewerError(
            "The journal was written by a newer vfiostate.",
            hint="Use the version that wrote it, or a newer one.",
            evidence=(shown, f"its layout is {version}, this version knows {newest}"),
        )
    if version < 1:
        raise JournalDamagedError("The journal does not say which layout it has.", hint=VERIFY_HINT, evidence=(shown,))
    if version < newest and not database.writable:
        raise JournalUnreadableError(
            "The journal has an older layout, and reading must not change it.",
            hint="The next `vfiostate advance` or `vfiostate rollback` brings it up to date.",
            evidence=(shown, f"its layout is {version}, this version reads {newest}"),
        )
    if version < newest:
        with database.writing() as connection:
            alone(connection)
            migrate(connection, identify(connection)[1], migrations)


def alone(connection: Connection) -> None:
    """Keep other writers out until the end of the transaction. SQLite's BEGIN IMMEDIATE has done that already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE meta IN SHARE ROW EXCLUSIVE MODE"))


def make(place: Place) -> None:
    """Make an empty journal. Raises JournalExistsError where there is one, or the JournalError that says why not."""
    if place.path is None:
        _make_in_server(place)
    else:
        _make_file(place.path)


def _make_in_server(place: Place) -> None:
    database = Database(place, write=True)
    try:
        with database.writing() as connection:
            if identify(connection)[0]:
                raise _exists(place)
            if not is_empty(connection):
                raise NotAJournalError(
                    "The database holds tables that are not a journal's.", hint=NOT_OURS_HINT, evidence=(place.shown,)
                )
            migrate(connection, 0)
    finally:
        database.close()


def _make_file(path: Path) -> None:
    """Make the file under another name; whole, it gets its own. A crash leaves an orphan, never half a journal."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            _build(draft)
            os.link(draft, path)  # unlike a rename, never over a journal that is there already
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
        sync_names(path)
    except FileExistsError as error:
        raise _exists(locate(path)) from error
    except OSError as error:
        raise cannot_write("The journal cannot be made.", path, error) from error


def _build(draft: Path) -> None:
    database = Database(locate(draft), write=True, new=True)
    try:
        with database.writing() as connection:
            migrate(connection, 0)
    finally:
        database.close()


def _exists(place: Place) -> JournalExistsError:
    return JournalExistsError(
        "There is a journal already.",
        hint="Open it; `vfiostate journal show` tells what it holds.",
        evidence=(place.shown,),
    )
