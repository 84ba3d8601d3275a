"""The state machine of a setup: a flat transitions.Machine over the table in engine.states.

The journal's event is appended in `before_state_change`: when the append fails, the state does not change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transitions import EventData, Machine, MachineError

from engine.states import MOVES, Move
from journal.errors import RefusedError
from steps.base import State


class Lifecycle:
    """The present state of one setup. `fire` is the only thing that changes it."""

    state: State

    def __init__(self, state: State, record: Callable[[Move], None]) -> None:
        """Start at `state`; `record` makes a move durable and raises when it cannot."""
        self._record = record
        self._machine = Machine(
            model=self,
            states=State,
            initial=state,
            transitions=[{"trigger": move.trigger, "source": move.source, "dest": move.target} for move in MOVES],
            before_state_change="_append",
            auto_transitions=False,
            send_event=True,
            queued=False,
            model_override=True,
        )

    def trigger(self, name: str, *args: Any, **kwargs: Any) -> bool:
        """Replaced by the machine when the model is added to it."""
        raise NotImplementedError(name)

    def fire(self, trigger: str) -> None:
        """Make the move of that name. Raises RefusedError where the table has none from the present state."""
        try:
            self.trigger(trigger)
        except MachineError as error:
            raise RefusedError(
                f"`{trigger}` is not possible in the state `{self.state.value}`.",
                hint="`vfiostate graph` draws what is.",
            ) from error

    def _append(self, event: EventData) -> None:
        transition = event.transition
        assert transition is not None and transition.dest is not None
        self._record(Move(event.event.name, State[transition.source], State[transition.dest]))
