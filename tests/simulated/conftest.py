"""Machines to try things on: each shipped one is made once, every test gets a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.hosts.simulated import description
from engine.hosts.simulated.host import SimulatedHost

Fresh = Callable[..., SimulatedHost]


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a shipped machine, made on first use. Not to be changed."""
    made: dict[str, Path] = {}

    def original(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("machines") / name
            SimulatedHost.create(made[name], description.find(name))
        return made[name]

    return original


@pytest.fixture
def fresh(originals: Callable[[str], Path], tmp_path: Path) -> Fresh:
    """A machine of one's own, by the name of a shipped one."""
    count = iter(range(1000))

    def copy(name: str = "debian12-lab") -> SimulatedHost:
        directory = tmp_path / f"{name}-{next(count)}"
        shutil.copytree(originals(name), directory, symlinks=True)
        return SimulatedHost(directory)

    return copy
