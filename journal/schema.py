"""The tables, the triggers that keep them append-only, and the way from an older layout to today's.

SQLite marks the file with application_id and user_version; every other database has a `meta` table for the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, String, Table, Text, inspect
from sqlalchemy.schema import CreateTable

from journal.chain import GENESIS

APPLICATION_ID = 0x76666A31
"""`vfj1` in ASCII, at byte 68 of a SQLite file (https://www.sqlite.org/fileformat.html#application_id)."""
APPLICATION = "vfiostate journal"

METADATA = MetaData()
EVENTS = Table(
    "events",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("prev", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("body", Text, nullable=False),
)
BLOBS = Table(
    "blobs",
    METADATA,
    Column("sha256", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
META = Table(
    "meta",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

# The insert triggers also stop INSERT OR REPLACE, which removes a row without firing a delete trigger.
SQLITE_GUARDS: Mapping[str, str] = {
    "events_no_update": "CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN"
    " SELECT RAISE(ABORT, 'the journal is append-only'); END",
    "events_no_delete": "CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN"
    " SELECT RAISE(ABORT, 'the journal is append-only'); END",
    "events_in_order": "CREATE TRIGGER events_in_order BEFORE INSERT ON events"
    " WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM events)"
    f" OR NEW.prev IS NOT coalesce((SELECT hash FROM events WHERE seq = NEW.seq - 1), '{GENESIS}') BEGIN"
    " SELECT RAISE(ABORT, 'an event follows the last one'); END",
    "blobs_no_update": "CREATE TRIGGER blobs_no_update BEFORE UPDATE ON blobs BEGIN"
    " SELECT RAISE(ABORT, 'the journal is append-only'); END",
    "blobs_no_delete": "CREATE TRIGGER blobs_no_delete BEFORE DELETE ON blobs BEGIN"
    " SELECT RAISE(ABORT, 'the journal is append-only'); END",
    "blobs_no_replace": "CREATE TRIGGER blobs_no_replace BEFORE INSERT ON blobs"
    " WHEN EXISTS (SELECT 1 FROM blobs WHERE sha256 = NEW.sha256) BEGIN"
    " SELECT RAISE(ABORT, 'the journal is append-only'); END",
}

POSTGRESQL_FUNCTIONS: Sequence[str] = (
    "CREATE FUNCTION journal_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " RAISE EXCEPTION USING MESSAGE = 'the journal is append-only: no ' || TG_OP || ' on ' || TG_TABLE_NAME,"
    " ERRCODE = 'integrity_constraint_violation'; END $$",
    "CREATE FUNCTION journal_in_order() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " IF NEW.seq IS DISTINCT FROM (SELECT coalesce(max(seq), 0) + 1 FROM events)"
    f" OR NEW.prev IS DISTINCT FROM coalesce((SELECT hash FROM events WHERE seq = NEW.seq - 1), '{GENESIS}') THEN"
    " RAISE EXCEPTION USING MESSAGE = 'an event follows the last one',"
    " ERRCODE = 'integrity_constraint_violation'; END IF; RETURN NEW; END $$",
)
POSTGRESQL_GUARDS: Mapping[str, str] = {
    "events_no_change": "CREATE TRIGGER events_no_change BEFORE UPDATE OR DELETE ON events"
    " FOR EACH ROW EXECUTE FUNCTION journal_refuse()",
    "events_no_truncate": "CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON events"
    " FOR EACH STATEMENT EXECUTE FUNCTION journal_refuse()",
    "events_in_order": "CREATE TRIGGER events_in_order BEFORE INSERT ON events"
    " FOR EACH ROW EXECUTE FUNCTION journal_in_order()",
    "blobs_no_change": "CREATE TRIGGER blobs_no_change BEFORE UPDATE OR DELETE ON blobs"
    " FOR EACH ROW EXECUTE FUNCTION journal_refuse()",
    "blobs_no_truncate": "CREATE TRIGGER blobs_no_truncate BEFORE TRUNCATE ON blobs"
    " FOR EACH STATEMENT EXECUTE FUNCTION journal_refuse()",
}

Migration: TypeAlias = Callable[[Connection], None]


def _to_1(connection: Connection) -> None:
    """Nothing at all becomes layout 1."""
    for table in (EVENTS, BLOBS):
        connection.execute(CreateTable(table))
    dialect = connection.dialect.name
    if dialect != "sqlite":
        connection.execute(CreateTable(META))
    if dialect == "postgresql":
        for function in POSTGRESQL_FUNCTIONS:
            connection.exec_driver_sql(function)
    for trigger in _expected_guards(dialect).values():
        connection.exec_driver_sql(trigger)


MIGRATIONS: Sequence[Migration] = (_to_1,)
"""MIGRATIONS[n] brings layout n to layout n + 1; layout 0 is an empty database."""
VERSION = len(MIGRATIONS)


def migrate(connection: Connection, version: int, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Bring a database from layout `version` to the newest, inside the transaction the caller has open."""
    for migration in migrations[version:]:
        migration(connection)
    _mark(connection, len(migrations))
    return len(migrations)


def _mark(connection: Connection, version: int) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version = {version}")
        return
    connection.execute(META.delete())
    rows = [{"name": "application", "value": APPLICATION}, {"name": "version", "value": str(version)}]
    connection.execute(META.insert(), rows)


def identify(connection: Connection) -> tuple[bool, int]:
    """Whether the database says that it is a journal, and the layout it says it has (0: none)."""
    if connection.dialect.name == "sqlite":
        application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        return application == APPLICATION_ID, int(version)
    if not inspect(connection).has_table(META.name):
        return False, 0
    found = {str(name): str(value) for name, value in connection.execute(META.select())}
    version_text = found.get("version", "")
    return found.get("application") == APPLICATION, int(version_text) if version_text.isdecimal() else 0


def is_empty(connection: Connection) -> bool:
    """Whether nothing has been made in the database yet."""
    return not inspect(connection).get_table_names()


def schema_faults(connection: Connection) -> tuple[str, ...]:
    """What is not as we made it: tables and triggers that are missing or changed, and on SQLite whatever was added."""
    dialect = connection.dialect.name
    if dialect == "sqlite":
        return tuple(_sqlite_faults(connection))
    if dialect == "postgresql":
        query = (
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'"
            " AND tgrelid IN ('events'::regclass, 'blobs'::regclass)"
        )
        names = {str(name) for name in connection.exec_driver_sql(query).scalars()}
        return tuple(f"trigger {name} is missing" for name in _expected_guards(dialect) if name not in names)
    return ()


def _sqlite_faults(connection: Connection) -> Iterator[str]:
    tables = {str(table.name): str(CreateTable(table).compile(connection)) for table in (EVENTS, BLOBS)}
    expected = {("table", name): sql for name, sql in tables.items()}
    expected |= {("trigger", name): sql for name, sql in SQLITE_GUARDS.items()}
    rows = connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master").all()
    # SQLite's own: the index of a primary key, and what ANALYZE counts.
    found = {(str(kind), str(name)): sql for kind, name, sql in rows if not str(name).startswith(_OF_SQLITE)}
    for (kind, name), sql in expected.items():
        if (kind, name) not in found:
            yield f"{kind} {name} is missing"
        elif _words(found[kind, name]) != _words(sql):
            yield f"{kind} {name} was changed: {' '.join(_words(found[kind, name]))}"
    yield from (f"{kind} {name} is not ours" for kind, name in found.keys() - expected.keys())


_OF_SQLITE = ("sqlite_autoindex_", "sqlite_stat")


def _words(sql: object) -> list[str]:
    """SQL without regard to white space, which versions of SQLAlchemy lay out differently."""
    return sql.split() if isinstance(sql, str) else [repr(sql)]


def _expected_guards(dialect: str) -> Mapping[str, str]:
    return {"sqlite": SQLITE_GUARDS, "postgresql": POSTGRESQL_GUARDS}.get(dialect, {})
