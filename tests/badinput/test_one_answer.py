"""What became of a setup behind our back: `plan`, `status` and `advance` say the same of what comes next."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine.explain.outlook import forward
from engine.setup import Setup
from journal.events import Kind
from steps.base import State
from tests.badinput.support import At, events, run, state, unchanged


def planned(machine: Path, *options: str) -> list[str]:
    """The steps that `plan` shows."""
    return [step["step"] for step in json.loads(run(machine, "plan", "--json", *options).is_(0).out)["steps"]]


def without_guest(machine: Path) -> None:
    """Take [guest] out of the configuration."""
    file = machine / "etc/vfiostate.toml"
    file.write_text(re.sub(r"(?ms)^\[guest\]\n.*(?=^\[allow\])", "", file.read_text()))


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
    without_guest(machine)
    assert planned(machine, "--all") == ["bound"]
    run(machine, "advance").is_(0)
    end = "the configuration has no [guest]"
    with unchanged(machine):
        run(machine, "plan", "--detailed-exitcode").is_(0, "nothing is left to do")
        run(machine, "advance").is_(0, f"nothing comes after `bound`: {end}", f"next: nothing: {end}")
        assert "last failure" not in run(machine, "status").is_(0, f"nothing: {end}").out
        run(machine, "advance", "--until", "running").is_(5, "no guest to run").with_hint()
    assert state(machine) == "bound"


def test_back_at_stubbed_in_the_trial_boot_nothing_waits_for_another(at: At) -> None:
    machine = at("rebooted")
    run(machine, "rollback", "--to", "stubbed").is_(0)
    run(machine, "status").is_(0, "next   vfiostate advance (looks whether the reboot took)")
    run(machine, "advance").is_(0)
    assert state(machine) == "rebooted"


def test_the_way_back_needs_a_reboot_as_long_as_the_running_kernel_has_our_command_line(at: At) -> None:
    machine, words = at("booted"), "back: vfiostate rollback (a reboot finishes it)"
    run(machine, "rollback", "--to", "new").is_(3)
    run(machine, "advance").is_(3, words)
    machine = at("rebooted")
    run(machine, "rollback", "--to", "checked").is_(0)
    run(machine, "advance").is_(0, "state: modules_loaded", words)
    assert "(no reboot is needed)" in run(at("checked"), "advance").is_(0).out


BESIDE = {
    "a state ahead": (("rollback", "--to", "running"), 64, 0),
    "another card's ROM": (("rom", "00:02.0", "-o", "/nonexistent/rom"), 5, 0),
    "no guest to install": (("guest", "start", "--install"), 64, 1),
    "no guest to stop": (("guest", "stop"), 64, 1),
}


@pytest.mark.parametrize(("command", "code", "recorded"), BESIDE.values(), ids=BESIDE)
def test_a_mistake_or_a_command_beside_the_way_is_no_failure_of_the_setup(
    at: At, command: tuple[str, ...], code: int, recorded: int
) -> None:
    machine = at("rebooted")
    without_guest(machine)
    run(machine, "advance").is_(0)
    before, said = len(events(machine)), run(machine, "status").is_(0).out
    run(machine, *command).is_(code).with_hint()
    assert run(machine, "status").out == said
    told = [event for event in events(machine)[before:] if event.kind is Kind.STEP_REFUSED]
    assert len(told) == recorded and all(event.data["findings"] for event in told)


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
