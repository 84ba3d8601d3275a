"""What became of a setup behind our back: `plan`, `status` and `advance` say the same of what comes next."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine.explain.outlook import forward
from engine.setup import Setup
from steps.base import State
from tests.badinput.support import At, run, state, unchanged


def planned(machine: Path, *options: str) -> list[str]:
    """The steps that `plan` shows."""
    return [step["step"] for step in json.loads(run(machine, "plan", "--json", *options).is_(0).out)["steps"]]


@pytest.mark.parametrize(("lost", "steps"), [("bound", ["bound"]), ("running", ["bound", "running"])])
def test_the_plan_after_a_reboot_is_the_way_back_to_what_it_took(at: At, lost: str, steps: list[str]) -> None:
    machine = at(lost)
    run(machine, "machine", "reboot").is_(0)
    with unchanged(machine):
        assert planned(machine) == steps
        assert planned(machine, "--all") == ["bound", "running"]
        run(machine, "plan", "--detailed-exitcode").is_(2, "next: vfiostate advance\n")
        run(machine, "status").is_(0, f"vfiostate advance (comes back to {lost} after the reboot)")
    run(machine, "advance").is_(0)
    assert state(machine) == lost
    run(machine, "guest", "stop").is_(0)


def test_the_plan_starts_a_guest_that_has_ended(at: At) -> None:
    machine = at("running")
    with unchanged(machine):
        assert planned(machine) == planned(machine, "--all") == ["running"]
        run(machine, "plan", "--detailed-exitcode").is_(2)
    run(machine, "advance").is_(0, "was started anew")
    assert planned(machine) == []
    run(machine, "guest", "stop").is_(0)


def test_without_a_guest_the_way_ends_at_bound_for_plan_and_advance_as_for_status(at: At) -> None:
    machine = at("rebooted")
    file = machine / "etc/vfiostate.toml"
    file.write_text(re.sub(r"(?ms)^\[guest\]\n.*(?=^\[allow\])", "", file.read_text()))
    assert planned(machine, "--all") == ["bound"]
    run(machine, "advance").is_(0)
    end = "the configuration has no [guest]"
    with unchanged(machine):
        run(machine, "plan", "--detailed-exitcode").is_(0, "nothing is left to do")
        run(machine, "advance").is_(0, f"nothing comes after `bound`: {end}", f"next: nothing: {end}")
        assert "last failure" not in run(machine, "status").is_(0, f"nothing: {end}").out
        run(machine, "advance", "--until", "running").is_(5, "no guest to run").with_hint()
    assert state(machine) == "bound"


GUEST = {"guest": {"name": "g"}}


@pytest.mark.parametrize(
    ("reached", "config", "said"),
    [
        (State.REBOOTED, GUEST, ["binds the devices"]),
        (State.BOUND, GUEST, ["starts the guest", "booted anew since, it takes the steps up to `bound` again instead"]),
        (State.BOUND, {}, ["nothing left to do: the configuration has no [guest]", "up to `bound` again instead"]),
        (State.RUNNING, GUEST, ["starts it anew where it has ended", "the steps up to `running` again instead"]),
    ],
)
def test_the_outlook_says_the_same_of_what_no_event_tells(
    reached: State, config: dict[str, object], said: list[str]
) -> None:
    found = " ".join(line.text for line in forward(Setup("", config, "", "", "", reached)))
    assert all(words in found for words in said)
    assert ("anew since" in found) is (reached is not State.REBOOTED)
