"""The documents, made once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.documents.__main__ import write


@pytest.fixture(scope="session")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory `share` of a prefix that they were written to."""
    prefix = tmp_path_factory.mktemp("prefix")
    write(prefix)
    return prefix / "share"
