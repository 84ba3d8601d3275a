"""A machine in which the reboot comes next, made once for each file of tests and copied for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kill.crash import copy, run
from tests.resume.support import make, ok


@pytest.fixture(autouse=True, scope="module")
def _plain() -> Iterator[None]:
    """No file of a test may be writable by others: a configuration that is, is refused."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A machine `untouched` and configured, `stubbed`, and `asked` to go on after the reboot."""
    base = tmp_path_factory.mktemp("resume")
    machine = make(base / "m")
    found = {"untouched": copy(machine, base / "untouched")}
    ok(run(machine, "advance", "--until", "stubbed"))
    found["stubbed"] = copy(machine, base / "stubbed")
    ok(run(machine, "advance", "--resume"), 3)
    found["asked"] = machine
    return found


def _copied(stages: dict[str, Path], name: str, tmp_path: Path) -> Iterator[Path]:
    machine = copy(stages[name], tmp_path / f"machine-{name}")
    yield machine
    run(machine, "guest", "stop")


@pytest.fixture
def untouched(stages: dict[str, Path], tmp_path: Path) -> Iterator[Path]:
    """A machine that is only configured."""
    yield from _copied(stages, "untouched", tmp_path)


@pytest.fixture
def stubbed(stages: dict[str, Path], tmp_path: Path) -> Iterator[Path]:
    """A machine in `stubbed`, not asked to go on by itself."""
    yield from _copied(stages, "stubbed", tmp_path)


@pytest.fixture
def asked(stages: dict[str, Path], tmp_path: Path) -> Iterator[Path]:
    """A machine in `stubbed` that was asked to go on by itself."""
    yield from _copied(stages, "asked", tmp_path)
