"""A machine on its way, made once for a module of tests; each test works on copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.badinput.support import At, copy


@pytest.fixture
def at(places: dict[str, Path], tmp_path: Path) -> At:
    """A copy of the machine at one of the places that the module's own fixture `places` names."""
    return lambda place: copy(places[place], tmp_path / place)
