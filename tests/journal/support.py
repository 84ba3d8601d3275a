"""What the tests of the journal share: the two databases, ways around their guards, and events to append."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Protocol

from journal.events import Draft, Json, Kind, Origin
from journal.schema import SQLITE_GUARDS

ORIGIN = Origin(boot="5e2a2b6c-8c8a-4a53-9d0f-4f0a5f3f6c11", uid=0, sudo_uid=1000, version="0.1.0")
SETUP = "0123456789ab"


def digest(content: bytes) -> str:
    """The sha256 in hex."""
    return sha256(content).hexdigest()


def intent(before: dict[str, Json] | None = None) -> Draft:
    """An intent, naming these before-images."""
    action: Json = {"type": "run_command", "argv": ["true"], "why": "because"}
    return Draft(Kind.INTENT, SETUP, {"n": 1, "action": action, "before": before or {}}, "stubbed", 1)


def note(text: Json) -> Draft:
    """Any event that carries this."""
    return Draft(Kind.GUEST, SETUP, {"what": "said", "detail": text})


class Backend(Protocol):
    """A place for a new journal, and somebody there who may do anything."""

    where: str

    def as_root(self, *statements: str) -> None:
        """Run these without the guards that keep the journal append-only."""
        ...

    def as_user(self, statement: str) -> None:
        """Run this as anybody with access; raises what the database raises."""
        ...


@dataclass
class Sqlite:
    """A SQLite file."""

    where: str

    def as_root(self, *statements: str) -> None:
        """The triggers are dropped before and made again after."""
        connection = sqlite3.connect(self.where, isolation_level=None)
        for name in SQLITE_GUARDS:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in (*statements, *SQLITE_GUARDS.values()):
            connection.execute(statement)
        connection.close()

    def as_user(self, statement: str) -> None:
        """One statement, committed."""
        connection = sqlite3.connect(self.where, isolation_level=None)
        try:
            connection.execute(statement)
        finally:
            connection.close()


@dataclass
class Postgres:
    """A schema of its own in the PostgreSQL server of this test run."""

    where: str
    dsn: str
    schema: str

    def as_root(self, *statements: str) -> None:
        """session_replication_role=replica keeps triggers from firing."""
        self._execute("SET session_replication_role = replica", *statements)

    def as_user(self, statement: str) -> None:
        """One statement, committed."""
        self._execute(statement)

    def _execute(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(self.dsn, options=f"-csearch_path={self.schema}") as connection:
            for statement in statements:
                connection.execute(statement.encode())


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server that listens on loopback."""

    port: int
    password: str

    def schema(self) -> Postgres:
        """A new, empty schema."""
        import psycopg

        name = f"journal_{secrets.token_hex(6)}"
        address = f"postgres:{self.password}@127.0.0.1:{self.port}/postgres"
        with psycopg.connect(f"postgresql://{address}") as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        url = f"postgresql+psycopg://{address}?options=-csearch_path%3D{name}"
        return Postgres(url, f"postgresql://{address}", name)


def why_no_server() -> str:
    """The reason why no PostgreSQL can be started here, empty if one can."""
    try:
        import psycopg  # noqa: F401  # only whether it is there
    except ImportError:
        return "psycopg is not installed"
    if not _programs():
        return "no /usr/lib/postgresql/*/bin/postgres (Debian: apt install postgresql)"
    if os.geteuid() == 0 and not _user():
        return "PostgreSQL does not run as root, and there is no user `postgres` to run it as"
    return ""


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


def _user() -> str | None:
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return None


@contextmanager
def server() -> Iterator[Server]:
    """Debian's PostgreSQL in a directory of its own, on a free port, gone at the end."""
    programs = _programs()
    assert programs is not None
    directory = Path(tempfile.mkdtemp(prefix="vfiostate-postgresql-"))
    user = _user() if os.geteuid() == 0 else None
    password = secrets.token_hex(16)
    try:
        (directory / "password").write_text(password)
        if user:
            for path in (directory, directory / "password"):
                shutil.chown(path, user)
        data = str(directory / "data")
        _run([f"{programs}/initdb", "-D", data, "-U", "postgres", "--no-sync", "--no-locale", "-E", "UTF8",
              "--auth=scram-sha-256", f"--pwfile={directory}/password"], user, directory)  # fmt: skip
        port = _free_port()
        argv = [f"{programs}/postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=directory, user=user)
        try:
            _wait(port, process, directory / "log")
            yield Server(port, password)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(120)
    finally:
        shutil.rmtree(directory)


def _run(argv: Sequence[str], user: str | None, directory: Path) -> None:
    subprocess.run(argv, check=True, capture_output=True, cwd=directory, user=user, timeout=120)


def _free_port() -> int:
    """Below those that the kernel gives to whoever connects (ip_local_port_range, ip(7)): nobody gets it meanwhile."""
    for port in Random().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1200):
        if process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended: {log.read_text()}")
        if b"ready to accept connections" in log.read_bytes():
            return
        time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL on port {port} did not start: {log.read_text()}")
