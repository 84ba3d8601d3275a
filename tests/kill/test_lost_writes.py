"""Power cuts that lose what was not synced, in every step and on the way back: the next run gets there all the same.

The everyday run takes a few points of each; VFIOSTATE_CUT_STRIDE=1 takes every one (some hours).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import pytest

from steps.base import State
from tests.kill.crash import KILLED, Run, copy, manifest, run
from tests.support.watched import Watched

STRIDE = int(os.environ.get("VFIOSTATE_CUT_STRIDE", "60"))
FIRST = int(os.environ.get("VFIOSTATE_CUT_FIRST", str(date.today().toordinal() * 7))) % STRIDE
DEVICES = ("--device=01:00.0", "--device=01:00.1", "--device=02:00.0", "--accel=tcg")


def ok(result: Run, *codes: int) -> Run:
    """The result, when it ended with one of these codes and showed no traceback."""
    assert "Traceback" not in result.output and "internal error" not in result.output, result.output
    assert result.code in (codes or (0,)), (result.code, result.output)
    return result


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[State, Path]:
    """The lab's machine in each state up to `bound`."""
    base = tmp_path_factory.mktemp("stages")
    machine = base / "m"
    ok(run(machine, "machine", "create", "--from", "debian12-lab"))
    ok(run(machine, "init", *DEVICES))
    found = {State.NEW: copy(machine, base / "new")}
    for state in (State.CHECKED, State.MODULES_LOADED, State.STUBBED, State.REBOOTED, State.BOUND):
        if state is State.REBOOTED:
            ok(run(machine, "machine", "reboot"))
        ok(run(machine, "advance"))
        found[state] = copy(machine, base / state.value)
    return found


def until_done(machine: Path, *argv: str) -> None:
    """Run it again, rebooting where that is asked for, as a user would."""
    for _ in range(12):
        if ok(run(machine, *argv), 0, 3).code == 0:
            return
        ok(run(machine, "machine", "reboot"))
    raise AssertionError(f"{argv} does not come to its end")


def cut_everywhere(source: Path, scratch: Path, argv: tuple[str, ...], after: Callable[[Path, str], None]) -> None:
    """Cut the power at every nth point of a command, let the machine come up, and see what then holds."""
    trial = copy(source, scratch / "count")
    count = len(ok(run(trial, *argv), 0, 3).points)
    shutil.rmtree(trial)
    for number in range(FIRST % min(STRIDE, count), count, STRIDE):
        machine = copy(source, scratch / "m")
        known = acknowledged(machine)
        cut = run(machine, *argv, kill_at=number, lose=Random(number))
        where = f"{argv}, point {number} of {count}: {cut.points[-1] if cut.points else ''}"
        assert cut.code == KILLED, (where, cut.output)
        assert acknowledged(machine) >= known, where
        ok(run(machine, "machine", "reboot"))
        if (machine / "var/lib/vfiostate/journal.db").exists():
            ok(run(machine, "journal", "verify"))
        after(machine, where)
        shutil.rmtree(machine)


def acknowledged(machine: Path) -> int:
    """How much the journal holds."""
    return run(machine, "journal", "export").output.count("\n") if (machine / "var/lib/vfiostate").exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("target", [State.CHECKED, State.MODULES_LOADED, State.STUBBED, State.REBOOTED, State.BOUND])
def test_after_a_cut_on_the_way_there_the_next_run_gets_there_and_back(
    stages: dict[State, Path], target: State, tmp_path: Path
) -> None:
    def after(machine: Path, where: str) -> None:
        until_done(machine, "advance", "--until", target.value)
        until_done(machine, "rollback")
        assert manifest(machine) == manifest(stages[State.NEW]), where

    cut_everywhere(stages[list(State)[target.rank - 1]], tmp_path, ("advance",), after)


@pytest.mark.slow
@pytest.mark.parametrize("state", [State.MODULES_LOADED, State.STUBBED, State.BOUND])
def test_after_a_cut_on_the_way_back_the_next_run_gets_back(
    stages: dict[State, Path], state: State, tmp_path: Path
) -> None:
    def after(machine: Path, where: str) -> None:
        until_done(machine, "rollback")
        assert manifest(machine) == manifest(stages[State.NEW]), where

    cut_everywhere(stages[state], tmp_path, ("rollback",), after)


# --- what was acknowledged


class Everything(Random):
    """The worst power cut: nothing that was not synced is left."""

    def random(self) -> float:
        """Always lost."""
        return 0.0

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        """Always the oldest, which is what is durable."""
        return 0

    def choice(self, seq: Any) -> Any:
        """The last one: all is at stake."""
        return seq[-1]


def lost_at_the_end(source: Path, scratch: Path, *argv: str) -> set[str]:
    """Which of the host's files are not what a command made them, when the power goes right after it ended."""
    whole, cut = copy(source, scratch / "whole"), copy(source, scratch / "cut")
    count = len(ok(run(whole, *argv), 0, 3).points)
    assert run(cut, *argv, kill_at=count - 1, lose=Everything()).code == KILLED
    made, left = timeless(whole), timeless(cut)
    for place in (whole, cut):
        shutil.rmtree(place)
    return {path for path in made.keys() | left.keys() if made.get(path) != left.get(path)}


def timeless(machine: Path) -> dict[str, object]:
    """The host's files without the time at which an initramfs was made, which is part of it."""
    time = b'"made": '.hex() + r"(3\d)+"
    return {path: (mode, re.sub(time, "", content)) for path, (mode, content) in manifest(machine).items()}


STEPS = [State.MODULES_LOADED, State.STUBBED, State.REBOOTED, State.BOUND]


@pytest.mark.slow
@pytest.mark.parametrize("target", STEPS)
def test_what_a_step_that_ended_did_survives_the_worst_cut(
    stages: dict[State, Path], target: State, tmp_path: Path
) -> None:
    assert lost_at_the_end(stages[list(State)[target.rank - 1]], tmp_path, "advance") == set()


@pytest.mark.slow
@pytest.mark.parametrize("state", STEPS)
def test_what_a_way_back_that_ended_did_survives_the_worst_cut(
    stages: dict[State, Path], state: State, tmp_path: Path
) -> None:
    assert lost_at_the_end(stages[state], tmp_path, "rollback") == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "command"), [(State.CHECKED, "advance"), (State.MODULES_LOADED, "advance"), (State.BOUND, "rollback")]
)
def test_the_harness_catches_a_program_whose_fsyncs_are_taken_out(
    stages: dict[State, Path], state: State, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watched, "_fsync", lambda self, descriptor: None)
    assert lost_at_the_end(stages[state], tmp_path, command)
