"""The databases that the contract is held against."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journal.support import Backend, Server, Sqlite, server, why_no_server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """One server for the whole run; skips where none can be started."""
    if reason := why_no_server():
        pytest.skip(reason)
    with server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """A place where there is no journal yet."""
    if request.param == "sqlite":
        return Sqlite(str(tmp_path / "state" / "journal.db"))
    running: Server = request.getfixturevalue("postgresql")
    return running.schema()
