"""The power goes while a trial is staged or made the default: it comes up, and a run or a reboot more gets there.

The everyday run takes every nth point, beginning at another one each day; VFIOSTATE_KILL_STRIDE=1 takes every one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from random import Random

import pytest

from journal.events import Kind
from tests.badinput.support import events
from tests.field.support import CFG, has_token, words
from tests.kill.crash import KILLED, Run, copy, manifest, run

STRIDE = int(os.environ.get("VFIOSTATE_KILL_STRIDE", "24"))
FIRST = date.today().toordinal() % STRIDE
SCRIPT = "etc/grub.d/42_vfiostate"


def ok(result: Run, *codes: int) -> Run:
    """The result, when it ended with one of these codes (0) and showed no traceback."""
    assert "Traceback" not in result.output and "internal error" not in result.output, result.output
    assert result.code in (codes or (0,)), (result.code, result.output)
    return result


def cuts(source: Path, scratch: Path, *argv: str) -> Iterator[Path]:
    """Copies of a machine, each after a power cut at one point of a command, and booted again."""
    counting = copy(source, scratch / "counting")
    count = len(ok(run(counting, *argv)).points)
    shutil.rmtree(counting)
    assert count > 20
    for number in range(FIRST % min(STRIDE, count), count, STRIDE):
        machine = copy(source, scratch / str(number))
        # Half of the cuts lose some of what was not synced.
        assert run(machine, *argv, kill_at=number, lose=Random(number) if number % 2 else None).code == KILLED
        ok(run(machine, "machine", "reboot"))
        yield machine
        ok(run(machine, "journal", "verify"))
        back(machine)
        assert manifest(machine) == manifest(scratch / "new"), number
        shutil.rmtree(machine)


def back(machine: Path) -> None:
    """All the way back."""
    for _ in range(3):
        if ok(run(machine, "rollback"), 0, 3).code == 0:
            return
        ok(run(machine, "machine", "reboot"))
    raise AssertionError("the rollback does not finish")


def reach_rebooted(machine: Path) -> int:
    """`advance` and reboot as it says, with no other word; how many reboots that took."""
    for reboots in range(4):
        result = ok(run(machine, "advance", "--until", "rebooted"), 0, 3)
        if result.code == 0:
            return reboots
        ok(run(machine, "machine", "reboot"))
    raise AssertionError("it does not get there")


def settled(machine: Path) -> None:
    """The new command line is the default, and nothing of the trial is left."""
    default = next(line for line in (machine / CFG).read_text().splitlines() if line.split()[:1] == ["linux"])
    assert has_token(default.split())
    assert not (machine / SCRIPT).exists()
    assert "vfiostate-trial" not in (machine / CFG).read_text()
    ok(run(machine, "machine", "reboot"))
    assert has_token(words(machine))


@pytest.mark.slow
def test_cut_off_while_it_becomes_the_default_one_reboot_more_gets_there(
    places: dict[str, Path], tmp_path: Path
) -> None:
    copy(places["new"], tmp_path / "new")
    for machine in cuts(places["booted"], tmp_path, "advance"):
        result = run(machine, "advance")
        if result.code == 5:
            # Nothing was written down of the trial boot: for all that is known it never came so far.
            begun = [event.step for event in events(machine) if event.kind is Kind.STEP_STARTED]
            assert "rebooted" not in begun and "trial boot failed" in result.output, result.output
            ok(run(machine, "advance", "--again"), 3)
            ok(run(machine, "machine", "reboot"))
            assert reach_rebooted(machine) == 0
        elif result.code == 3:
            ok(run(machine, "machine", "reboot"))
            assert reach_rebooted(machine) == 0
        else:
            ok(result)
        settled(machine)


@pytest.mark.slow
def test_cut_off_while_a_trial_is_staged_it_is_staged_anew(places: dict[str, Path], tmp_path: Path) -> None:
    copy(places["new"], tmp_path / "new")
    for machine in cuts(places["modules_loaded"], tmp_path, "advance"):
        assert reach_rebooted(machine) <= 1
        settled(machine)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["stubbed", "booted", "failed", "again", "rebooted"])
def test_cut_off_on_the_way_back_it_gets_back(place: str, places: dict[str, Path], tmp_path: Path) -> None:
    source = places[place]
    copy(places["new"], tmp_path / "new")
    counting = copy(source, tmp_path / "counting")
    count = len(ok(run(counting, "rollback"), 0, 3).points)
    for number in range(FIRST % min(STRIDE, count), count, STRIDE):
        machine = copy(source, tmp_path / str(number))
        assert run(machine, "rollback", kill_at=number, lose=Random(number) if number % 2 else None).code == KILLED
        ok(run(machine, "machine", "reboot"))
        back(machine)
        ok(run(machine, "journal", "verify"))
        assert manifest(machine) == manifest(tmp_path / "new"), number
        ok(run(machine, "machine", "reboot"))
        assert not has_token(words(machine))
        shutil.rmtree(machine)
