"""The table of the state machine: every move a setup may make. Data only, so that reading a journal needs no more."""

from __future__ import annotations

from dataclasses import dataclass

from steps.base import State


@dataclass(frozen=True, slots=True)
class Move:
    """One allowed move: the trigger's name and the states it joins."""

    trigger: str
    source: State
    target: State


FORWARD = (
    Move("check", State.NEW, State.CHECKED),
    Move("load_modules", State.CHECKED, State.MODULES_LOADED),
    Move("stub", State.MODULES_LOADED, State.STUBBED),
    Move("reboot", State.STUBBED, State.REBOOTED),
    Move("bind", State.REBOOTED, State.BOUND),
    Move("run", State.BOUND, State.RUNNING),
)
# What a reboot and the end of a guest undo without being asked: runtime state is gone.
LOST = (
    Move("host_rebooted", State.BOUND, State.REBOOTED),
    Move("host_rebooted", State.RUNNING, State.REBOOTED),
    Move("guest_stopped", State.RUNNING, State.BOUND),
)
BACK = tuple(
    Move(f"roll_back_to_{target.value}", source, target)
    for target in State
    for source in State
    if target.rank < source.rank or source is target is State.NEW
)
MOVES = FORWARD + LOST + BACK
LEGAL = frozenset((move.source.value, move.target.value) for move in MOVES)


def forward_from(state: State, *, guest: bool = True) -> Move | None:
    """The move one `advance` makes from here, None at the end of the way (see `forward`)."""
    return next((move for move in forward(guest=guest) if move.source is state), None)


def forward(*, guest: bool) -> tuple[Move, ...]:
    """The way there; without a `guest` to start it ends at `bound`."""
    return FORWARD if guest else tuple(move for move in FORWARD if move.target is not State.RUNNING)
