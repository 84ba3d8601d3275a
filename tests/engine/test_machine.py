"""The machine allows what the table allows and nothing else, and the fold of its events is the machine's state."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.machine import Lifecycle
from engine.setup import fold
from engine.states import FORWARD, LEGAL, MOVES, Move, forward_from
from journal.errors import RefusedError
from journal.events import Event, Json, Kind
from steps.base import State

TRIGGERS = sorted({move.trigger for move in MOVES})


def _created() -> Event:
    data: dict[str, Json] = {"config": {}, "config_sha256": "", "host": "", "state": "new"}
    return Event(1, "", "boot", "0", Kind.SETUP_CREATED, "s", None, 0, data, "", "")


def _made(seq: int, move: Move) -> Event:
    kind = Kind.HOST_REBOOTED if move.trigger == "host_rebooted" else Kind.TRANSITION
    data: dict[str, Json] = {"from": move.source.value, "to": move.target.value, "trigger": move.trigger}
    return Event(seq, "", "boot", "0", kind, "s", None, 0, data, "", "")


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("state", list(State))
def test_every_trigger_in_every_state_does_what_the_table_says(state: State, trigger: str) -> None:
    made: list[Move] = []
    machine = Lifecycle(state, made.append)
    allowed = [move for move in MOVES if move.source is state and move.trigger == trigger]
    if allowed:
        machine.fire(trigger)
        assert made == allowed and machine.state is allowed[0].target
    else:
        with pytest.raises(RefusedError):
            machine.fire(trigger)
        assert made == [] and machine.state is state


@settings(deadline=None)
@given(st.lists(st.sampled_from(TRIGGERS), max_size=30))
def test_the_fold_of_the_events_is_the_state_of_the_machine(triggers: list[str]) -> None:
    events = [_created()]
    machine = Lifecycle(State.NEW, lambda move: events.append(_made(len(events) + 1, move)))
    for trigger in triggers:
        try:
            machine.fire(trigger)
        except RefusedError:
            continue
    assert fold(events)[-1].state is machine.state


def test_a_move_that_cannot_be_recorded_is_not_made() -> None:
    def full(move: Move) -> None:
        raise OSError("no space")

    machine = Lifecycle(State.NEW, full)
    with pytest.raises(OSError, match="no space"):
        machine.fire("check")
    assert machine.state is State.NEW


def test_the_way_there_leads_through_every_state_in_order() -> None:
    assert [move.source for move in FORWARD] == list(State)[:-1]
    assert [move.target for move in FORWARD] == list(State)[1:]
    assert forward_from(State.RUNNING) is None


def test_no_state_leads_to_itself_but_new() -> None:
    assert {source for source, target in LEGAL if source == target} == {"new"}
