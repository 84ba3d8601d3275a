"""Killed at any point of being installed, of its run, of being removed: the next one gets there, nothing stays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from random import Random

import pytest

from tests.kill.crash import KILLED, copy, manifest, run
from tests.resume.support import boot, installed, ok, status

# The everyday run takes every nth point, beginning at another one each day; VFIOSTATE_KILL_STRIDE=1 takes every one.
STRIDE = int(os.environ.get("VFIOSTATE_KILL_STRIDE", "24"))
FIRST = date.today().toordinal() % STRIDE


def every_point(
    source: Path, scratch: Path, after: Callable[[Path], None], *argv: str, codes: tuple[int, ...] = (0,)
) -> int:
    """Kill a command at the points of this run, each on a copy, and see what becomes of it. How many there are."""
    trial = copy(source, scratch / "trial")
    counted = ok(run(trial, *argv), *codes)
    run(trial, "guest", "stop")
    shutil.rmtree(trial)
    count = len(counted.points)
    for number in range(FIRST % min(STRIDE, count), count, STRIDE):
        machine = copy(source, scratch / str(number))
        # Half of them as power cuts, which lose some of what was not synced.
        dice = Random(number) if number % 2 else None
        assert run(machine, *argv, kill_at=number, lose=dice).code == KILLED
        after(machine)
        ok(run(machine, "journal", "verify"))
        run(machine, "guest", "stop")
        shutil.rmtree(machine)
    return count


def back(machine: Path, stages: dict[str, Path]) -> None:
    """The way back leaves nothing."""
    for _ in range(3):
        if ok(run(machine, "rollback"), 0, 3).code == 0:
            break
        ok(run(machine, "machine", "reboot"))
    assert manifest(machine) == manifest(stages["untouched"])


@pytest.mark.slow
def test_cut_short_while_it_is_installed_it_is_asked_for_again_or_goes_with_the_rest(
    stages: dict[str, Path], tmp_path: Path
) -> None:
    def after(machine: Path) -> None:
        again = copy(machine, machine.with_name("again"))
        ok(run(again, "advance", "--resume"), 3)
        assert installed(again) == (True, True)
        ok(run(again, "machine", "reboot"))
        assert status(again)["state"] == "running"
        assert installed(again) == (False, False)
        run(again, "guest", "stop")
        shutil.rmtree(again)
        back(machine, stages)

    assert every_point(stages["stubbed"], tmp_path, after, "advance", "--resume", codes=(3,)) > 10


@pytest.mark.slow
def test_cut_short_in_its_run_the_next_boot_goes_on(stages: dict[str, Path], tmp_path: Path) -> None:
    source = copy(stages["asked"], tmp_path / "source")
    boot(source)

    def after(machine: Path) -> None:
        for _ in range(4):
            ok(run(machine, "machine", "reboot"))
            if status(machine)["state"] == "running":
                break
            if (status(machine)["resume"] or {}).get("parked"):
                # The boot that was cut short was the trial: the host is back on the old command line, as it must be.
                assert status(machine)["state"] == "stubbed"
                ok(run(machine, "advance", "--again", "--resume"), 3)
        # Cut off between the link and the file of the unit, no boot runs it any more; the next `advance` ends it.
        ok(run(machine, "advance", "--until", "running"))
        assert installed(machine) == (False, False)
        assert status(machine)["resume"] is None
        back(machine, stages)

    assert every_point(source, tmp_path, after, "resume") > 50


@pytest.mark.slow
def test_cut_short_while_it_is_withdrawn_the_next_try_finishes(stages: dict[str, Path], tmp_path: Path) -> None:
    def after(machine: Path) -> None:
        ok(run(machine, "resume", "--off"))
        assert installed(machine) == (False, False)
        back(machine, stages)

    assert every_point(stages["asked"], tmp_path, after, "resume", "--off") > 5
