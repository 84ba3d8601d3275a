"""The lab's machine in each state, made once; each test drifts in its own copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from steps.base import State
from tests.badinput.support import At, copy, run
from tests.field.support import advanced, up_to_bound


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[State, Path]:
    """The machine in each state up to `bound`."""
    return up_to_bound(tmp_path_factory.mktemp("drift"))


@pytest.fixture
def at(stages: dict[State, Path], tmp_path: Path) -> Iterator[At]:
    """A copy of the machine in a state; `running` is started anew. No guest is left running."""
    copies: list[Path] = []

    def copied(state: str) -> Path:
        running = state == State.RUNNING
        place = tmp_path / f"{state}-{len(copies)}"
        copies.append(copy(stages[State.BOUND if running else State(state)], place))
        if running:
            advanced(place)
        return place

    yield copied
    for place in copies:
        run(place, "guest", "stop")
