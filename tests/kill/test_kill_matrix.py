"""Killed at every commit, effect and file system call of every step, there and back: the next run always gets there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from steps.base import State
from tests.kill.crash import KILLED, Run, copy, manifest, run
from tests.kill.traced.machines import MACHINES

# The everyday run takes every nth point, beginning at another one each day; VFIOSTATE_KILL_STRIDE=1 takes every one.
STRIDE = int(os.environ.get("VFIOSTATE_KILL_STRIDE", "40"))
FIRST = date.today().toordinal() % STRIDE


FAILED = "The trial boot failed"


def ok(result: Run, *codes: int) -> Run:
    """The result, when it ended with one of these codes and showed no traceback."""
    assert "Traceback" not in result.output and "internal error" not in result.output, result.output
    assert result.code in (codes or (0,)), (result.code, result.output)
    return result


@pytest.fixture(scope="module", params=list(MACHINES))
def stages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[State, Path]]:
    """One machine in each state, on the way there; `new` is the untouched one."""
    base = tmp_path_factory.mktemp(f"stages-{request.param}")
    machine = base / "m"
    ok(run(machine, "machine", "create", "--from", request.param))
    ok(run(machine, "init", *MACHINES[request.param]))
    found = {State.NEW: copy(machine, base / "new")}
    for state in list(State)[1:]:
        if state is State.REBOOTED:
            ok(run(machine, "machine", "reboot"))
        ok(run(machine, "advance"))
        found[state] = copy(machine, base / state.value)
        if state is State.RUNNING:
            ok(run(machine, "guest", "stop"))
    yield found
    shutil.rmtree(base)


def finish(machine: Path, target: State) -> None:
    """Run again until the state is reached, as a user would: no more often than there are steps and reboots."""
    for _ in range(12):
        result = ok(run(machine, "advance", "--until", target.value), 0, 3, 5)
        if result.code == 0:
            return
        if result.code == 5:
            # What is left of a trial boot that was cut short before anything was written down of it.
            assert FAILED in result.output, result.output
            ok(run(machine, "advance", "--again"), 3)
        ok(run(machine, "machine", "reboot"))
    raise AssertionError(f"{target} is not reached")


def take_back(machine: Path) -> None:
    """Roll back to the beginning, over the reboot that finishes it."""
    for _ in range(3):
        if ok(run(machine, "rollback"), 0, 3).code == 0:
            return
        ok(run(machine, "machine", "reboot"))
    raise AssertionError("the rollback does not finish")


def points_of(machine: Path, scratch: Path, *argv: str) -> int:
    """How many points a command passes on a machine when nothing kills it."""
    trial = copy(machine, scratch / "count")
    result = run(trial, *argv)
    run(trial, "guest", "stop")
    shutil.rmtree(trial)
    assert result.code in (0, 3), result.output
    return len(result.points)


def chosen(count: int) -> range:
    """The points of this run, at least one."""
    return range(FIRST % min(STRIDE, count), count, STRIDE)


@pytest.mark.slow
@pytest.mark.parametrize("target", list(State)[1:])
def test_killed_anywhere_on_the_way_there_the_next_run_gets_there(
    stages: dict[State, Path], target: State, tmp_path: Path
) -> None:
    source = stages[list(State)[target.rank - 1]]
    if target is State.REBOOTED:
        source = copy(source, tmp_path / "booted")
        ok(run(source, "machine", "reboot"))
    count = points_of(source, tmp_path, "advance")
    assert count >= 2
    for number in chosen(count):
        machine = copy(source, tmp_path / str(number))
        killed = run(machine, "advance", kill_at=number)
        assert killed.code == KILLED, killed
        finish(machine, target)
        ok(run(machine, "journal", "verify"))
        take_back(machine)
        assert manifest(machine) == manifest(stages[State.NEW]), killed.points[-1]
        shutil.rmtree(machine)


@pytest.mark.slow
@pytest.mark.parametrize("state", list(State)[1:])
def test_killed_anywhere_on_the_way_back_the_next_run_gets_back(
    stages: dict[State, Path], state: State, tmp_path: Path
) -> None:
    count = points_of(stages[state], tmp_path, "rollback")
    for number in chosen(count):
        machine = copy(stages[state], tmp_path / str(number))
        killed = run(machine, "rollback", kill_at=number)
        assert killed.code == KILLED, killed
        take_back(machine)
        ok(run(machine, "journal", "verify"))
        assert manifest(machine) == manifest(stages[State.NEW]), killed.points[-1]
        shutil.rmtree(machine)
