"""What was asked to go on by itself after the boot, as the events of a setup tell it. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from steps.base import State

# Boots in a row that may bring no new state before it gives up.
LIMIT = 3


class What(StrEnum):
    """What a `resume` event says."""

    ASKED = "asked"
    BEGUN = "begun"
    PARKED = "parked"
    UNPARKED = "unparked"
    OVER = "over"


@dataclass(slots=True)
class Resume:
    """Going on after the boot up to `until`. `reached` is the furthest state since it was asked for, `tries` the runs
    since that was reached, `parked` why it does nothing more (None: it goes on)."""

    until: State
    reached: State
    tries: int = 0
    parked: str | None = None

    @property
    def exhausted(self) -> bool:
        """Whether no further run may be begun: the last ones brought nothing new."""
        return self.tries >= LIMIT


def told(resume: Resume | None, state: State, data: Mapping[str, Any]) -> Resume | None:
    """What stands after an event of the kind `resume`, in a setup that is in this state; None where nothing does."""
    what = What(data["what"])
    if what is What.ASKED:
        return Resume(State(data["until"]), state)
    if what is What.OVER or resume is None:
        return None
    if what is What.BEGUN:
        resume.tries += 1
    elif what is What.PARKED:
        resume.parked = data["reason"]
    else:
        resume.parked, resume.tries = None, 0
    return resume


def moved(resume: Resume, target: State) -> None:
    """The setup has come to a state. Only one further than ever is progress: a host that falls back at every boot and
    comes as far again as before would otherwise be tried for ever."""
    if target.rank > resume.reached.rank:
        resume.reached, resume.tries = target, 0
