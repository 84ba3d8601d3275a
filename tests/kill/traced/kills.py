"""Killed at one call, or at a call and again in the run that goes on: the next run gets there, and back to before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from engine.setup import fold
from steps.base import State
from tests.kill.traced import tracer
from tests.kill.traced.machines import (
    NotAsPromised,
    Stages,
    arrived,
    as_before,
    events,
    expect,
    finish,
    host,
    scratch,
    take_back,
    told,
    verified,
    without_guest,
)
from tests.kill.traced.program import crash, run
from tests.kill.traced.sameness import Walked
from tests.kill.traced.tracer import Call

SIGKILL = -9


@dataclass(frozen=True, slots=True)
class Way:
    """One command on the way there or back: `advance` to a state, or `rollback` from one."""

    back: bool
    state: State

    def __str__(self) -> str:
        return f"rollback from {self.state.value}" if self.back else f"advance to {self.state.value}"

    @property
    def command(self) -> str:
        """What is run, and killed."""
        return "rollback" if self.back else "advance"

    def machine(self, stages: Stages, to: Path) -> Path:
        """A machine of its own on which the command is next."""
        return stages.place(self.state, to) if self.back else crash.copy(stages.before(self.state), to)


WAYS = tuple(Way(False, state) for state in list(State)[1:]) + tuple(Way(True, state) for state in list(State)[1:])


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one point: the states told after the kill and at the end, and in what it failed, if it did.

    `walked` says whether the way on was walked with this machine, or with one before it that was the same.
    """

    way: Way
    calls: tuple[Call, ...]
    reached: bool
    at_the_kill: tuple[str, ...] = ()
    at_the_end: tuple[str, ...] = ()
    failure: str = ""
    walked: bool = False


def count(stages: Stages, way: Way, place: Path) -> list[Call]:
    """Every call of a command at which it can be cut short, in order."""
    with scratch(place) as base:
        traced = tracer.changes(way.machine(stages, base / "m"), way.command)
        expect(traced.ended, 0, 3, doing=f"{way}, only counted")
        return tracer.points(traced.calls)


def read(stages: Stages, way: Way, place: Path) -> list[Call]:
    """Every call of a command by which it reads something, or asks the kernel for something."""
    with scratch(place) as base:
        traced = tracer.reads(way.machine(stages, base / "m"), way.command)
        expect(traced.ended, 0, 3, doing=f"{way}, only read along")
        return list(traced.calls)


def killed(stages: Stages, way: Way, call: Call, place: Path, walked: Walked, second: Random | None = None) -> Result:
    """Kill a command at a call, run again until it is where it was to go, and all the way back; the way straight back
    from the crash is tried too, on a copy. Where one that is the same was `walked`, only the journal is looked at.

    With `second` the run that goes on is killed as well, at a call of its own that the dice choose.
    """
    calls: tuple[Call, ...] = (call,)
    told_then: tuple[str, ...] = ()
    try:
        with scratch(place) as base:
            machine = way.machine(stages, base / "m")
            began = told(machine)
            first = tracer.kill(machine, call, way.command)
            if first.ended.code != SIGKILL:
                expect(first.ended, 0, 3, doing="a run that never came to its point")
                return Result(way, calls, False)
            calls = first.calls or calls
            if second is not None:
                again = _again(machine, way, second, base / "trial")
                if again is None:
                    return Result(way, calls, False)
                calls = (*calls, *again)
            told_then = told(machine)
            verified(machine)
            told_last, now = lived(stages, way, machine, began, walked, straight=base / "back")
    except NotAsPromised as failure:
        return Result(way, calls, True, told_then, (), str(failure), True)
    return Result(way, calls, True, told_then, told_last, "", now)


def _again(machine: Path, way: Way, dice: Random, trial: Path) -> tuple[Call, ...] | None:
    """Kill the run that goes on, at one of the calls that it makes on a copy; None where it makes none: killed when its
    step was taken, it is where it was to go."""
    goes_on = ("rollback",) if way.back else ("advance", "--until", way.state.value)
    seen = tracer.changes(without_guest(crash.copy(machine, trial)), *goes_on)
    expect(seen.ended, 0, 3, doing="the run that goes on, only counted")
    found = tracer.points(seen.calls)
    if not found:
        return None
    at = dice.choice(found)
    traced = tracer.kill(machine, at, *goes_on)
    if traced.ended.code != SIGKILL:
        expect(traced.ended, 0, 3, doing="a second run that never came to its point")
        return None
    return traced.calls or (at,)


def lived(
    stages: Stages, way: Way, machine: Path, began: Sequence[str], walked: Walked, straight: Path | None = None
) -> tuple[tuple[str, ...], bool]:
    """Go on with a machine on which a command was cut short, to where it was to go and back to the beginning; with
    `straight` also from here straight back, on a copy in that place.

    Returns the states that the journal tells in the end, and whether that was walked now. Raises NotAsPromised for any
    but the one sequence there is.
    """
    there = (*(began or ("new",)), *(() if way.back else (way.state.value,)))
    whole = (*there, "new", "as before")
    cut = told(machine)
    if whole[: len(cut)] != cut or len(cut) < len(began):
        raise NotAsPromised(f"when it was cut short the journal tells {cut}; expected the beginning of {whole}")
    now = walked.once(machine, f"{stages.name}, {way}", partial(_on_and_back, stages, way, machine, there, straight))
    return whole, now


def _on_and_back(stages: Stages, way: Way, machine: Path, there: Sequence[str], straight: Path | None) -> None:
    whole = (*there, "new", "as before")
    if straight is not None and not way.back and way.state is not State.RUNNING:
        straight_back(stages, machine, straight)
    if not way.back:
        finish(machine, way.state)
        if told(machine) != there:
            raise NotAsPromised(f"run again, the journal tells {told(machine)}; expected {there}")
        if way.state is not State.CHECKED:
            arrived(stages, machine, way.state)
    take_back(machine)
    verified(machine)
    if told(machine) != whole:
        raise NotAsPromised(f"at the end the journal tells {told(machine)}; expected {whole}")
    as_before(machine, host(stages.at[State.NEW]))


def straight_back(stages: Stages, machine: Path, copy: Path) -> None:
    """Whoever has had enough after the crash goes back at once, on a copy of the machine."""
    crash.copy(machine, copy)
    setups = fold(events(copy))
    if not setups:
        # Killed before there was a setup: there is nothing to take back, and it says so.
        expect(run(copy, "rollback"), 0, 1, doing="rollback of nothing")
        return
    take_back(copy)
    verified(copy)
    if told(copy)[-2:] != ("new", "as before"):
        raise NotAsPromised(f"straight back, the journal tells {told(copy)}")
    as_before(copy, host(stages.at[State.NEW]))
