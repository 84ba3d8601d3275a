"""One machine in each state, made once; a test spoils its own copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.base import State
from tests.badinput.support import At, copy, run

DEVICES = ("--device=01:00.0", "--device=01:00.1", "--device=02:00.0", "--accel=tcg", "--cpu=qemu64")


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The lab's machine in each state; `new` is configured and otherwise untouched, `booted` is `stubbed` in its trial
    boot."""
    base = tmp_path_factory.mktemp("badinput")
    machine = base / "m"
    run(machine, "machine", "create", "--from", "debian12-lab").is_(0)
    run(machine, "init", *DEVICES).is_(0)
    found = {State.NEW.value: copy(machine, base / "new")}
    for state in list(State)[1:]:
        if state is State.REBOOTED:
            run(machine, "machine", "reboot").is_(0)
            found["booted"] = copy(machine, base / "booted")
        run(machine, "advance").is_(0)
        found[state.value] = copy(machine, base / state.value)
    run(machine, "guest", "stop").is_(0)
    return found


@pytest.fixture
def at(stages: dict[str, Path], tmp_path: Path) -> At:
    """A copy of the machine in a state."""

    def made(state: str) -> Path:
        return copy(stages[state], tmp_path / state)

    return made


@pytest.fixture
def new(at: At) -> Path:
    """A machine that is configured and untouched."""
    return at("new")


@pytest.fixture
def loaded(at: At) -> Path:
    """A machine on which the next step is `stubbed`: edits, then update-initramfs and update-grub."""
    return at("modules_loaded")
