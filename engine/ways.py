"""Which module of steps/ declares the step to a state. Each such module has one `STEP`."""

from __future__ import annotations

import importlib
from typing import Any, cast

from steps.base import State, Step

MODULES = {
    State.CHECKED: "steps.check",
    State.MODULES_LOADED: "steps.modules",
    State.STUBBED: "steps.stub",
    State.REBOOTED: "steps.reboot",
    State.BOUND: "steps.bind",
    State.RUNNING: "steps.run",
}


def step_to(target: State) -> Step[Any]:
    """The step that leads to a state. Only its module is imported: start-up time counts."""
    return cast(Step[Any], importlib.import_module(MODULES[target]).STEP)
