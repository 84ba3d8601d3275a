"""The lab's machine on its way over a trial boot, made once; a test goes on with its own copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.badinput.support import At, copy, run
from tests.field.support import LAB, advanced, made, reboot


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`new`, `modules_loaded`, `stubbed` (the trial is chosen), `booted` (it came up), `failed` (it did not, and that
    was told), `again` (it is chosen once more), `rebooted` (it is the default)."""
    base = tmp_path_factory.mktemp("trial")
    machine = made(base, "debian12-lab", *LAB)
    found = {"new": copy(machine, base / "new")}
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    found["modules_loaded"] = copy(machine, base / "modules_loaded")
    advanced(machine)
    found["stubbed"] = copy(machine, base / "stubbed")
    failed = copy(machine, base / "failed")
    run(failed, "machine", "reboot", "--fails").is_(0)
    run(failed, "advance").is_(5)
    again = copy(failed, base / "again")
    run(again, "advance", "--again").is_(3)
    reboot(machine)
    found["booted"] = copy(machine, base / "booted")
    advanced(machine)
    return {**found, "failed": failed, "again": again, "rebooted": machine}


@pytest.fixture
def at(places: dict[str, Path], tmp_path: Path) -> At:
    """A copy of the machine at one of the places."""

    def copied(place: str) -> Path:
        return copy(places[place], tmp_path / place)

    return copied
