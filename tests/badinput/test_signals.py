"""Ctrl-C and SIGTERM at any moment, and a second run at the same time."""

from __future__ import annotations

import fcntl
import functools
import os
import signal
import time
from pathlib import Path
from random import Random
from typing import Any, TextIO

import pytest

from journal.events import Kind
from tests.badinput.support import (
    Answer,
    At,
    copy,
    elsewhere,
    events,
    last,
    lock_of_ours,
    manifest,
    run,
    start,
    state,
    state_of,
)
from tests.kill.crash import EFFECTS

STEPS = {
    "new": "checked",
    "checked": "modules_loaded",
    "modules_loaded": "stubbed",
    "booted": "rebooted",
    "rebooted": "bound",
}
NUMBERS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def _signal_at(point: int, number: signal.Signals) -> None:
    """From now on: send ourselves a signal just before the effect or commit with this number."""
    from engine.hosts.simulated import SimulatedHost
    from journal.store import Journal

    passed = 0

    def around(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal passed
            if passed == point:
                os.kill(os.getpid(), number)
            passed += 1
            return function(*args, **kwargs)

        setattr(owner, name, wrapped)

    for name in EFFECTS:
        around(SimulatedHost, name)
    around(Journal, "append")


def _whole_or_not_at_all(machine: Path, answer: Answer, ended: int, before: Any, there: str) -> None:
    """A step that was interrupted is taken back and recorded; one that was through is taken."""
    assert answer.code in (0, ended), answer.text
    if answer.code == 0:
        assert state(machine) == STEPS[there]
        return
    answer.with_hint()
    assert manifest(machine) == before
    assert state(machine) == state_of(there)
    found = last(machine, Kind.STEP_FAILED, Kind.STEP_REFUSED)
    assert "interrupted" in str(found.data)


@pytest.mark.parametrize("there", STEPS)
def test_a_signal_at_any_action_takes_the_step_back_and_the_next_run_goes_on(
    at: At, tmp_path: Path, there: str
) -> None:
    source = at(there)
    before = manifest(source)
    interrupted = 0
    for point in range(60):
        number = list(NUMBERS)[point % len(NUMBERS)]
        machine = copy(source, tmp_path / f"{there}-{point}")
        answer = run(machine, "advance", prepare=lambda at=point, it=number: _signal_at(at, it))  # type: ignore[misc]  # defaults bind the loop's values
        _whole_or_not_at_all(machine, answer, NUMBERS[number], before, there)
        if answer.code == 0:
            break
        interrupted += 1
        if point % 3 == 0:
            run(machine, "advance").is_(0)
            run(machine, "journal", "verify").is_(0)
            assert state(machine) == STEPS[there]
    assert interrupted >= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_a_random_moment_leaves_nothing_half_done(at: At, tmp_path: Path, number: signal.Signals) -> None:
    source = at("modules_loaded")
    before = manifest(source)
    dice = Random(number)
    for attempt in range(4):
        machine = copy(source, tmp_path / str(attempt))
        running = start("--simulate", str(machine), "advance")
        time.sleep(dice.uniform(0.0, 0.35))
        running.send(number)
        answer = running.end()
        # Before the program listens, and once it has done all, a signal ends it as it ends any.
        assert answer.code in (0, NUMBERS[number], -number), answer.text
        taken = state(machine) == "stubbed"
        assert taken if answer.code == 0 else answer.code == -number or not taken
        assert taken or manifest(machine) == before, answer
        run(machine, "advance").is_(3 if taken else 0)
        assert state(machine) == "stubbed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_way_back_that_has_begun_is_finished_before_a_signal_is_obeyed(at: At, number: signal.Signals) -> None:
    source = at("stubbed")
    untouched = manifest(at("new"))
    for point in (0, 1, 3, 6):
        machine = copy(source, source.with_name(f"back-{point}"))
        before = manifest(machine)
        answer = run(machine, "rollback", prepare=lambda at=point: _signal_at(at, number))  # type: ignore[misc]  # defaults bind the loop's values
        assert answer.code in (0, NUMBERS[number]), answer.text
        assert manifest(machine) in (before, untouched)
        run(machine, "rollback").is_(0)
        assert manifest(machine) == untouched


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("argv", [("status",), ("plan",), ("journal", "show"), ("devices",)])
def test_what_only_reads_ends_at_once(at: At, argv: tuple[str, ...], number: signal.Signals) -> None:
    machine = at("stubbed")
    reader, writer = os.pipe()

    def slow() -> None:
        from engine.hosts.simulated import SimulatedHost
        from journal.store import Journal

        def sleeping(*args: Any, **kwargs: Any) -> Any:
            os.write(writer, b"!")
            time.sleep(30)

        Journal.open = sleeping  # type: ignore[method-assign]  # it shall hang
        SimulatedHost.list = sleeping  # type: ignore[method-assign]  # it shall hang

    running = start("--simulate", str(machine), *argv, prepare=slow)
    os.close(writer)
    with open(reader, "rb") as hangs:
        assert hangs.read(1) == b"!"
    running.send(number)
    answer = running.end()
    assert answer.code == NUMBERS[number]
    assert answer.took < 25


def test_a_second_advance_is_told_who_is_at_work(at: At) -> None:
    machine = at("modules_loaded")
    before = manifest(machine)
    ready, go = os.pipe(), os.pipe()

    def waits() -> None:
        from engine.hosts.simulated import SimulatedHost

        write_file = SimulatedHost.write_file

        def waiting(self: SimulatedHost, *args: Any) -> None:
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            SimulatedHost.write_file = write_file  # type: ignore[method-assign]  # it shall hang
            write_file(self, *args)

        SimulatedHost.write_file = waiting  # type: ignore[method-assign,assignment]

    first = start("--simulate", str(machine), "advance", prepare=waits)
    os.read(ready[0], 1)
    count = len(events(machine))
    for argv in (("advance",), ("rollback",), ("guest", "stop")):
        second = run(machine, *argv).is_(75, f"process {first.pid}", "vfiostate").with_hint()
        assert second.took < 10
    run(machine, "status").is_(0)
    run(machine, "journal", "show").is_(0)
    assert len(events(machine)) == count
    assert manifest(machine) == before
    os.write(go[1], b"x")
    assert first.end().code == 0
    assert state(machine) == "stubbed"


def test_a_lock_that_somebody_else_holds_is_respected_and_free_when_its_holder_dies(loaded: Path) -> None:
    place = loaded / "run/lock/vfiostate.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        run(loaded, "advance").is_(75, "Another process").with_hint()
    run(loaded, "advance").is_(0)


def test_what_a_killed_run_left_to_tidy_up_is_waited_for(loaded: Path) -> None:
    def with_a_child(stream: TextIO) -> None:
        lock_of_ours(stream)
        run_itself = os.getpid()
        if os.fork() == 0:
            while os.getppid() == run_itself:
                time.sleep(0.01)
            time.sleep(0.5)
            os._exit(0)

    with elsewhere(loaded / "run/lock/vfiostate.lock", with_a_child) as killed:
        run(loaded, "advance").is_(75, f"process {killed}").with_hint()
    run(loaded, "advance").is_(0)
