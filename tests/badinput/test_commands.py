"""Commands that are missing, fail, hang or print rubbish: the step is taken back and the journal has what they said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from journal.events import Kind
from tests.badinput.support import (
    At,
    broken_command,
    events,
    faults,
    last,
    remove_command,
    roll_back,
    run,
    state,
    state_of,
    unchanged,
)

RUBBISH = "\xff\x1b[2J\x07\u202e" + "x" * 3000 + "\n"
# The commands that a step runs to change the host, and the state in which that step comes next.
# (`-n`: modprobe is also asked what it would do.)
CHANGING = [
    ("modprobe", "checked"),
    ("update-grub", "modules_loaded"),
    ("update-initramfs", "modules_loaded"),
    ("grub-editenv", "modules_loaded"),
    ("update-grub", "booted"),
]
FAILURES: dict[str, dict[str, Any]] = {
    "fails": {"status": 7, "stderr": "E: the reason\n"},
    "hangs": {"hangs": True},
    "is killed": {"status": -9},
    "prints rubbish and fails": {"status": 1, "stderr": RUBBISH},
}


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize(("name", "stage"), CHANGING)
def test_a_command_that_does_not_succeed_takes_its_step_back(at: At, name: str, stage: str, how: str) -> None:
    machine = at(stage)
    broken_command(machine, name, lacking="-n", **FAILURES[how])
    with unchanged(machine):
        answer = run(machine, "advance").is_(1, name).with_hint()
    assert "\x1b" not in answer.text and "\x07" not in answer.text
    assert state(machine) == state_of(stage)
    failed = last(machine, Kind.STEP_FAILED)
    assert name in str(failed.data["message"])
    if how == "fails":
        assert "E: the reason" in str(failed.data["evidence"]) and "E: the reason" in answer.err
    faults(machine)
    run(machine, "advance").is_(0)
    run(machine, "journal", "show").is_(0)
    run(machine, "journal", "verify").is_(0)


@pytest.mark.parametrize("name", ["update-grub", "update-initramfs"])
def test_a_command_that_says_it_succeeded_and_did_nothing_is_found_out(loaded: Path, name: str) -> None:
    broken_command(loaded, name, status=0, stdout=RUBBISH)
    with unchanged(loaded):
        run(loaded, "advance").is_(1).with_hint()
    assert state(loaded) == "modules_loaded"
    assert last(loaded, Kind.STEP_FAILED).data["code"] == "not-verified"


def test_a_choice_for_the_next_boot_that_was_not_made_is_found_out(loaded: Path) -> None:
    broken_command(loaded, "grub-editenv", status=0, stdout=RUBBISH)
    with unchanged(loaded):
        run(loaded, "advance").is_(1, "The next boot does not take the trial's entry").with_hint()
    assert last(loaded, Kind.STEP_FAILED).data["code"] == "not-verified"


def test_a_default_entry_that_was_not_made_is_found_out(at: At) -> None:
    machine = at("booted")
    broken_command(machine, "update-grub", status=0, stdout=RUBBISH)
    with unchanged(machine):
        run(machine, "advance").is_(1).with_hint()
    assert last(machine, Kind.STEP_FAILED).data["code"] == "not-verified"
    faults(machine)
    run(machine, "advance").is_(0)


@pytest.mark.parametrize("how", ["fails", "hangs", "prints rubbish"])
def test_an_initramfs_that_cannot_be_looked_into_is_not_trusted(loaded: Path, how: str) -> None:
    broken_command(loaded, "lsinitramfs", **{**FAILURES, "prints rubbish": {"stdout": RUBBISH}}[how])
    with unchanged(loaded):
        run(loaded, "advance").is_(1, "initr").with_hint()
    assert state(loaded) == "modules_loaded"


@pytest.mark.parametrize("name", ["update-grub", "update-initramfs", "modprobe", "systemctl"])
def test_a_missing_command_is_told_before_anything_is_changed(new: Path, name: str) -> None:
    remove_command(new, name)
    if name == "update-grub":
        remove_command(new, "grub-mkconfig")
    with unchanged(new):
        answer = run(new, "advance").is_(5).with_hint()
    assert {"update-initramfs": "initramfs generator"}.get(name, name) in answer.text
    assert last(new, Kind.STEP_REFUSED).data["findings"]


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("modprobe", "checked"),
        ("grub-mkconfig", "modules_loaded"),
        ("update-initramfs", "modules_loaded"),
        ("lsinitramfs", "modules_loaded"),
    ],
)
def test_a_command_that_vanished_after_the_check_leaves_nothing_half_done(at: At, name: str, stage: str) -> None:
    machine = at(stage)
    remove_command(machine, name)
    if name == "grub-mkconfig":
        remove_command(machine, "update-grub")
    with unchanged(machine):
        answer = run(machine, "advance").with_hint()
    assert answer.code in (1, 5), answer.text
    assert state(machine) == stage


def test_the_way_back_waits_for_a_command_that_fails_and_then_finishes(at: At) -> None:
    machine = at("rebooted")
    # The user's own edit: what is generated has to be generated anew.
    with (machine / "etc/default/grub").open("a") as stream:
        stream.write("GRUB_BADRAM=0\n")
    run(machine, "machine", "reboot").is_(0)
    broken_command(machine, "update-grub", status=3, stderr="no space for it\n")
    answer = run(machine, "rollback")
    answer.is_(1, "update-grub", "exit status 3", "no space for it").with_hint()
    assert "exit status 3" in [event.data["detail"] for event in events(machine) if event.kind is Kind.OUTCOME]
    faults(machine)
    roll_back(machine)
    assert (machine / "etc/default/grub").read_text().endswith("GRUB_BADRAM=0\n")
    assert b"vfiostate" not in (machine / "boot/grub/grub.cfg").read_bytes()


@pytest.mark.parametrize("how", ["fails", "hangs", "prints rubbish"])
def test_a_qemu_that_is_not_well_is_told_and_the_state_stays(at: At, how: str) -> None:
    machine = at("bound")
    broken_command(machine, "qemu-system-x86_64", **{**FAILURES, "prints rubbish": {"stdout": RUBBISH}}[how])
    with unchanged(machine):
        answer = run(machine, "advance")
    assert answer.code in (1, 5), answer.text
    assert "qemu" in answer.text.lower()
    answer.with_hint()
    assert state(machine) == "bound"
    last(machine, Kind.STEP_REFUSED, Kind.STEP_FAILED)


def test_a_missing_qemu_is_told_and_the_state_stays(at: At) -> None:
    machine = at("bound")
    remove_command(machine, "qemu-system-x86_64")
    with unchanged(machine):
        run(machine, "advance").is_(5, "qemu-system-x86_64").with_hint()
    assert state(machine) == "bound"


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_a_systemctl_that_does_not_succeed_takes_the_binding_back(at: At, how: str) -> None:
    machine = at("rebooted")
    broken_command(machine, "systemctl", matching="enable", **FAILURES[how])
    with unchanged(machine):
        run(machine, "advance").is_(1, "systemctl").with_hint()
    assert state(machine) == "rebooted"
    faults(machine)
    run(machine, "advance").is_(0)
