"""Killed, or given an error, by strace at the system calls by which the program changes something: a small sample.

`scripts/crash kills` and `scripts/crash faults` take every point.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from journal.errors import Exit
from steps.base import State
from tests.kill.traced import faulting, killing, machines, tracer
from tests.kill.traced.kills import WAYS, Way
from tests.kill.traced.program import crash, run
from tests.kill.traced.sameness import fingerprint

POINTS = int(os.environ.get("VFIOSTATE_TRACED_POINTS", "8"))
WHY_NOT = tracer.missing()

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


def test_a_forked_run_changes_what_a_fresh_process_changes(tmp_path: Path) -> None:
    stages = machines.make("article", tmp_path / "stages")
    way = Way(False, State.STUBBED)
    forked = tracer.changes(way.machine(stages, tmp_path / "forked"), way.command).calls
    fresh = tracer.fresh(
        way.machine(stages, tmp_path / "fresh"),
        [sys.executable, "-m", "engine", "--simulate", str(tmp_path / "fresh"), "advance"],
    )
    assert Counter((call.name, call.where) for call in fresh if "journal" not in call.where) == Counter(
        (call.name, call.where) for call in forked if "journal" not in call.where
    )
    # How many pages of the journal a commit touches depends on the setup's random id.
    assert abs(len(fresh) - len(forked)) <= 0.1 * len(forked)


def test_killed_at_any_changing_call_the_next_run_gets_there_and_back() -> None:
    ways = Random(POINTS).sample(WAYS, 4)
    found = killing.run(["debian12-lab"], stride=1, pairs=2, seed=1, jobs=1, ways=ways, most=POINTS)
    assert sum(result.reached for _, result in found.results) >= POINTS // 2
    assert not found.failures, killing.told_failures(found.failures)


def test_a_fault_at_any_changing_call_is_answered_and_the_next_run_gets_there_and_back() -> None:
    ways = Random(POINTS).sample(WAYS, 4)
    found = faulting.run(["debian12-lab"], stride=1, seed=1, jobs=1, ways=ways, most=POINTS)
    assert not faulting.told_failures(found.answers), faulting.told_failures(found.answers)


def test_a_commit_that_is_there_and_may_not_be_durable_ends_the_run_as_it_is(tmp_path: Path) -> None:
    """The last sync of the last commit fails: the journal tells the new state, and nothing of it is taken back."""
    stages = machines.make("debian12-lab", tmp_path / "stages")
    way = Way(False, State.STUBBED)
    calls = tracer.changes(way.machine(stages, tmp_path / "count"), way.command).calls
    last = [call for call in calls if (call.name, call.where) == ("fdatasync", "var/lib/vfiostate")][-1]
    machine = way.machine(stages, tmp_path / "m")
    assert tracer.fail(machine, last, "EIO", way.command).ended.code == Exit.DAMAGED
    assert machines.told(machine)[-1] == State.STUBBED.value
    machines.arrived(stages, machine, State.STUBBED)


def test_a_tracer_that_cannot_trace_says_why(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path)}
    code = "from tests.kill.traced import tracer; print(tracer.missing())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "strace is not installed\n"


def test_a_machines_copy_is_the_machine(tmp_path: Path) -> None:
    """What "as before" compares sees the mode and the content of a file, and a device's driver and override."""
    stages = machines.make("debian12-lab", tmp_path / "stages")
    copied = crash.copy(stages.at[State.STUBBED], tmp_path / "copy")
    assert machines.host(copied) == machines.host(stages.at[State.STUBBED])
    for spoil in ("etc/default/grub", "sys/bus/pci/devices/0000:02:00.0/driver_override"):
        (copied / spoil).write_text("other\n")
        with pytest.raises(machines.NotAsPromised):
            machines.as_before(copied, machines.host(stages.at[State.STUBBED]))


def test_machines_are_the_same_only_where_the_program_does_the_same_with_them(tmp_path: Path) -> None:
    """A copy is the same, and so is a second run to the same point; a file, an attribute or an event makes another."""
    stages = machines.make("debian12-lab", tmp_path / "stages")
    before = stages.at[State.MODULES_LOADED]
    first, second, other = (crash.copy(before, tmp_path / name) for name in ("first", "second", "other"))
    assert fingerprint(first) == fingerprint(second) == fingerprint(other)
    for machine in (first, second):
        machines.expect(run(machine, "advance"), 0, doing="advance")
    assert fingerprint(first) == fingerprint(second) != fingerprint(other)
    for spoil in ("etc/default/grub", "sys/bus/pci/devices/0000:02:00.0/driver_override"):
        place = second / spoil
        was = place.read_text()
        place.write_text("other\n")
        assert fingerprint(first) != fingerprint(second)
        place.write_text(was)
    assert fingerprint(first) == fingerprint(second)
    machines.expect(run(second, "rollback", "--to", "modules_loaded"), 0, 3, doing="rollback")
    machines.expect(run(second, "advance"), 0, 3, doing="advance")
    assert fingerprint(first) != fingerprint(second)
