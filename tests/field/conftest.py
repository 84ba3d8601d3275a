"""The lab's machine in each state, made once, and machines as they are shipped; a test spoils its own copy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from steps.base import State
from tests.badinput.support import At, copy
from tests.field.support import made, up_to_bound


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[State, Path]:
    """The lab's machine in each state up to `bound`; `new` is configured and otherwise untouched."""
    return up_to_bound(tmp_path_factory.mktemp("field"))


@pytest.fixture
def at(stages: dict[State, Path], tmp_path: Path) -> At:
    """A copy of the lab's machine in a state."""

    def copied(state: str) -> Path:
        return copy(stages[State(state)], tmp_path / state)

    return copied


@pytest.fixture
def on(tmp_path: Path) -> Callable[..., Path]:
    """A machine as it is shipped, configured with these arguments of `init`."""

    def new(name: str, *init: str) -> Path:
        return made(tmp_path, name, *init)

    return new
