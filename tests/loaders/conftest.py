"""What the tests of boot loaders have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.badinput.support import copy, run
from tests.field.support import LAB, Description, made
from tests.support.places import at

__all__ = ["at"]


def up_to_stubbed(base: Path, change: Callable[[Description], None]) -> dict[str, Path]:
    """The lab's machine, changed, without a trial boot: `new`, `modules_loaded` and `stubbed`."""
    machine = made(base, "debian12-lab", *LAB, change=change)
    found = {"new": copy(machine, base / "new")}
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    found["modules_loaded"] = copy(machine, base / "modules_loaded")
    run(machine, "advance", "--no-trial").is_(0)
    return {**found, "stubbed": machine}
