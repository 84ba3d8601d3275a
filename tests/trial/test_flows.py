"""A trial boot through the command line: it comes up, it hangs, it is asked for again, it cannot be made, it is taken
back; and the user's own choices for the next boot."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.hosts.simulated.loaders.grub import SIGNATURE
from journal.errors import RebootNeededError
from journal.events import Kind
from journal.waiting import WAITING
from tests.badinput.support import GRUB, At, copy, events, last, manifest, roll_back, run, state, unchanged, unreadable
from tests.field.support import (
    CFG,
    GRUBENV,
    KERNEL,
    LAB,
    NATIVE,
    STUBBED,
    Description,
    advanced,
    command,
    drivers,
    has_token,
    made,
    reboot,
    refused,
    words,
)
from tests.project.test_rooms import TOP

SCRIPT = "etc/grub.d/42_vfiostate"
CHOSEN = "next_entry=vfiostate-trial"


def block(*lines: str) -> bytes:
    """GRUB's environment block with these variables."""
    text = SIGNATURE + "".join(f"{line}\n" for line in lines)
    return (text + "#" * (1024 - len(text))).encode()


def fails(machine: Path) -> None:
    """The next boot hangs; after the power cycle the one after it comes up."""
    run(machine, "machine", "reboot", "--fails").is_(0)


def default_words(machine: Path) -> list[str]:
    """The command line of the first entry of grub.cfg."""
    line = next(line for line in (machine / CFG).read_text().splitlines() if line.split()[:1] == ["linux"])
    return line.split()[2:]


def test_a_good_trial_becomes_the_default_and_leaves_nothing_behind(at: At, places: dict[str, Path]) -> None:
    machine = at("stubbed")
    grub = (machine / GRUB).read_bytes()
    assert grub == (places["new"] / GRUB).read_bytes()
    assert not has_token(default_words(machine))
    assert CHOSEN in (machine / GRUBENV).read_text()
    assert (machine / SCRIPT).stat().st_mode & 0o777 == 0o755
    reboot(machine)
    assert has_token(words(machine)) and words(machine)[-1] == "panic=30"
    assert drivers(machine) == STUBBED
    assert not has_token(default_words(machine))
    advanced(machine)
    assert not (machine / SCRIPT).exists()
    assert "vfiostate-trial" not in (machine / CFG).read_text()
    assert (machine / GRUBENV).read_bytes() == block("next_entry=")
    assert has_token(default_words(machine)) and "panic=30" not in default_words(machine)
    for _ in range(2):
        reboot(machine)
        assert has_token(words(machine)) and "panic=30" not in words(machine)
        assert drivers(machine) == STUBBED


def test_the_next_boot_but_one_has_the_old_command_line(at: At) -> None:
    machine = at("booted")
    reboot(machine)
    assert not has_token(words(machine))
    refused(machine, "trial-failed")


def test_a_boot_that_hangs_leaves_the_default_and_says_so(at: At, places: dict[str, Path]) -> None:
    machine = at("stubbed")
    before = (machine / CFG).read_bytes()
    fails(machine)
    assert not has_token(words(machine))
    assert drivers(machine) == NATIVE
    assert (machine / CFG).read_bytes() == before
    assert (machine / GRUB).read_bytes() == (places["new"] / GRUB).read_bytes()
    for _ in range(2):
        refused(
            machine, "trial-failed", "which is still the default", "advance --again", "rollback --to modules_loaded"
        )
        assert state(machine) == "stubbed"
    reboot(machine)
    assert not has_token(words(machine))


def test_a_trial_that_came_up_and_was_refused_is_not_called_one_that_never_came_up(at: At) -> None:
    machine = at("booted")
    good = (machine / GRUB).read_bytes()
    (machine / GRUB).write_bytes(good + b'GRUB_CMDLINE_LINUX_DEFAULT="quiet other"\n')
    refused(machine, "line-changed-since-trial")
    (machine / GRUB).write_bytes(good)
    for _ in range(2):
        reboot(machine)
        refused(machine, "trial-refused", "came up", "journal explain", "next: vfiostate advance --again")
    run(machine, "journal", "explain").is_(0, "the trial boot was refused. `vfiostate advance --again`")
    run(machine, "advance", "--again").is_(3)
    fails(machine)
    refused(machine, "trial-failed")
    run(machine, "advance", "--again").is_(3)
    reboot(machine)
    advanced(machine)


def test_a_way_back_in_the_trial_boot_is_no_reboot_since(at: At) -> None:
    machine = at("booted")
    run(machine, "status").is_(0, "boot   rebooted since this state was reached")
    run(machine, "rollback", "--to", "modules_loaded").is_(0)
    run(machine, "status").is_(0, "boot   not rebooted since this state was reached")
    boot = (machine / "proc/sys/kernel/random/boot_id").read_text().strip()
    told = json.loads(run(machine, "status", "--json").out)
    assert (told["boot"], told["rebooted"]) == (boot, False)
    reboot(machine)
    run(machine, "status").is_(0, "boot   rebooted since this state was reached")
    run(machine, "rollback").is_(0)


def test_to_wait_for_the_reboot_is_no_failure(at: At) -> None:
    machine = at("stubbed")
    run(machine, "advance", "--until", "running").is_(3, "reboot: The host has not been rebooted", "next: reboot, then")
    assert "last failure" not in run(machine, "status").is_(0, "not rebooted since this state was reached").out
    said = run(machine, "journal", "explain").is_(0, "`rebooted` was put off: The host has not been rebooted").out
    assert "What failed:\n  Nothing." in said
    assert "What stopped it" not in said


def test_who_goes_on_before_the_boot_that_ends_a_way_back_is_told_that_the_command_was_put_off(at: At) -> None:
    machine = at("rebooted")
    run(machine, "rollback").is_(3)
    run(machine, "advance").is_(3, "The rollback is finished by the next boot")
    run(machine, "journal", "explain").is_(0, "The command was put off: The rollback is finished by the next boot")


def test_after_a_trial_was_staged_again_the_next_thing_is_the_reboot(at: At) -> None:
    machine = at("failed")
    refused(machine, "trial-failed", "next: vfiostate advance --again")
    run(machine, "status").is_(
        0, "last failure  The trial boot failed", "-> Try it once more", "next          vfiostate advance --again"
    )
    run(machine, "advance", "--again").is_(3, "reboot: The trial boot is made once more.")
    said = run(machine, "status").is_(0, "next   reboot, then vfiostate advance").out
    assert "last failure" not in said
    reboot(machine)
    run(machine, "status").is_(0, "next   vfiostate advance (looks whether the reboot took)")


def test_the_refusals_that_only_wait_are_those_with_the_exit_code_for_it() -> None:
    found: set[str] = set()
    for name in ("trial", "reboot_checks"):
        for call in (
            node for node in ast.walk(ast.parse((TOP / f"steps/{name}.py").read_text())) if isinstance(node, ast.Call)
        ):
            waiting = ast.unparse(call.func) == "_reboot" or any(
                ast.unparse(key) == "Exit.REBOOT" for key in (word.value for word in call.keywords)
            )
            if waiting and isinstance(call.args[0], ast.Constant):
                found.add(str(call.args[0].value))
    elsewhere = [path.name for path in (TOP / "steps").rglob("*.py") if "exit=Exit.REBOOT" in path.read_text()]
    assert sorted(elsewhere) == ["reboot_checks.py", "trial.py"]
    assert found | {RebootNeededError.code} == WAITING


def test_a_rollback_that_waits_for_the_reboot_is_told_the_same_by_every_command(at: At) -> None:
    machine = at("booted")
    run(machine, "rollback").is_(3)
    run(machine, "status").is_(0, "not rebooted since", "next   reboot, then vfiostate rollback")
    for argv in (("plan",), ("advance",)):
        run(machine, *argv).is_(3, "The rollback is finished by the next boot").with_hint()
    assert "last failure" not in run(machine, "status").text
    run(machine, "journal", "show").is_(0, "  put off  ", "The rollback is finished by the next boot")
    reboot(machine)
    run(machine, "status").is_(0, "boot   rebooted since", "next   vfiostate rollback (finishes the rollback)\n")
    run(machine, "rollback").is_(0, "the rollback is finished")


def test_it_is_tried_again_as_often_as_it_is_asked_for(at: At) -> None:
    machine = at("failed")
    for _ in range(2):
        run(machine, "advance", "--again").is_(3, "The trial boot is made once more")
        assert CHOSEN in (machine / GRUBENV).read_text()
        run(machine, "advance", "--again").is_(3, "not been rebooted since the trial was staged again")
        run(machine, "advance").is_(3, "not been rebooted since the trial was staged again")
        fails(machine)
        refused(machine, "trial-failed")
    run(machine, "advance", "--again").is_(3)
    reboot(machine)
    advanced(machine)
    assert has_token(default_words(machine))
    assert drivers(machine) == STUBBED
    run(machine, "journal", "verify").is_(0)


def test_again_with_reboot_reboots_into_the_trial(at: At) -> None:
    machine = at("failed")
    run(machine, "advance", "--again", "--reboot").is_(3)
    assert has_token(words(machine))
    advanced(machine)


@pytest.mark.parametrize("place", ["stubbed", "booted", "failed", "again", "rebooted"])
def test_the_way_back_from_every_point_is_byte_for_byte(at: At, places: dict[str, Path], place: str) -> None:
    machine = at(place)
    roll_back(machine)
    assert manifest(machine) == manifest(places["new"])
    reboot(machine)
    assert not has_token(words(machine))
    assert drivers(machine) == NATIVE


@pytest.mark.parametrize("place", ["stubbed", "booted", "failed", "again", "rebooted"])
def test_the_way_back_without_us_is_byte_for_byte_too(at: At, places: dict[str, Path], place: str) -> None:
    machine = at(place)
    script = machine / "var/lib/vfiostate/restore.sh"
    subprocess.run(["/bin/sh", str(script)], check=True, capture_output=True, env={"PATH": "/usr/bin:/bin"})
    assert manifest(machine) == manifest(places["new"])


@pytest.mark.parametrize("place", ["stubbed", "booted", "failed", "again", "rebooted"])
def test_one_state_back_and_on_again_leads_to_a_new_trial(at: At, places: dict[str, Path], place: str) -> None:
    machine = at(place)
    if run(machine, "rollback", "--to", "modules_loaded").code == 3:
        reboot(machine)
        run(machine, "rollback", "--to", "modules_loaded").is_(0)
    assert manifest(machine) == manifest(places["modules_loaded"])
    advanced(machine)
    reboot(machine)
    advanced(machine)
    assert has_token(default_words(machine)) and not (machine / SCRIPT).exists()


@pytest.mark.parametrize("lines", [None, (), ("next_entry=",), ("saved_entry=0", "a=b"), ("next_entry=", "x=")])
@pytest.mark.parametrize("tries", [0, 2])
def test_the_environment_block_is_what_it_was(at: At, lines: tuple[str, ...] | None, tries: int) -> None:
    machine = at("modules_loaded")
    place = machine / GRUBENV
    place.unlink() if lines is None else place.write_bytes(block(*lines))
    before = manifest(machine)
    advanced(machine)
    for number in range(tries):
        fails(machine)
        run(machine, "advance", "--again").is_(3)
        assert CHOSEN in place.read_text(), number
    roll_back_to_modules(machine)
    assert manifest(machine) == before


def roll_back_to_modules(machine: Path) -> None:
    """Back to before the trial was staged."""
    run(machine, "rollback", "--to", "modules_loaded").is_(0)


def test_a_choice_that_the_user_made_after_ours_stays(at: At) -> None:
    for place in ("stubbed", "booted", "failed"):
        machine = at(place)
        command(machine, "grub-reboot", "1>1")
        roll_back(machine) if place != "booted" else run(machine, "rollback").is_(3)
        assert (machine / GRUBENV).read_bytes() == block("next_entry=1>1"), place


def test_other_variables_that_the_user_set_after_ours_stay(at: At) -> None:
    machine = at("stubbed")
    command(machine, "grub-editenv", "/boot/grub/grubenv", "set", "theme=dark")
    roll_back(machine)
    assert (machine / GRUBENV).read_bytes() == block("theme=dark")


def test_an_error_of_reading_does_not_count_as_nothing_of_ours(places: dict[str, Path], tmp_path: Path) -> None:
    for number in range(1, 40):
        machine = copy(places["booted"], tmp_path / str(number))
        came = tmp_path / f"{number}.came"
        answer = run(machine, "rollback", prepare=unreadable(f"/{GRUBENV}", only=number, came=came))
        if not came.exists():
            break
        roll_back(machine)
        assert manifest(machine) == manifest(places["new"]), (number, answer.text)
        shutil.rmtree(machine)
    assert number > 2


def test_without_a_trial_the_command_line_is_the_default_at_once(at: At, places: dict[str, Path]) -> None:
    machine = at("modules_loaded")
    run(machine, "plan", "--no-trial").is_(0, "GRUB_CMDLINE_LINUX_DEFAULT", "no trial boot")
    run(machine, "advance", "--no-trial").is_(0, "no trial boot")
    assert has_token(default_words(machine))
    assert not (machine / SCRIPT).exists()
    assert (machine / GRUBENV).read_bytes() == (places["new"] / GRUBENV).read_bytes()
    reboot(machine)
    with unchanged(machine):
        advanced(machine)
    roll_back(machine)
    assert manifest(machine) == manifest(places["new"])


def test_what_is_asked_of_a_trial_where_it_means_nothing_is_refused_as_a_mistype(at: At) -> None:
    for place, options, said in (
        ("new", ("--again",), "in `new` none is staged"),
        ("modules_loaded", ("--again",), "in `modules_loaded` none is staged"),
        ("rebooted", ("--again",), "in `rebooted` none is staged"),
        ("stubbed", ("--no-trial",), "a trial boot is staged already"),
        ("failed", ("--no-trial", "--again"), "exclude each other"),
    ):
        machine = at(place)
        with unchanged(machine):
            run(machine, "advance", *options).is_(64, said).with_hint()
        assert state(machine) == ("stubbed" if place == "failed" else place)


def test_without_a_trial_the_whole_way_may_be_asked_for_so(at: At) -> None:
    machine = at("new")
    for name in ("checked", "modules_loaded", "stubbed"):
        run(machine, "advance", "--no-trial").is_(0, f"state: {name}")
    run(machine, "advance", "--again").is_(64, "in `stubbed` none is staged")
    run(machine, "advance", "--no-trial").is_(3)
    reboot(machine)
    run(machine, "advance", "--no-trial").is_(0, "state: rebooted")
    run(machine, "advance", "--no-trial").is_(0, "state: bound")
    booted = at("booted")
    run(booted, "advance", "--no-trial").is_(0, "state: rebooted")


def _on_btrfs(description: Description) -> None:
    description["mounts"] = [{"source": "/dev/sda1", "target": "/", "type": "btrfs"}]


def _on_lvm(description: Description) -> None:
    description["disks"] = [
        *description.get("disks", []),
        {"name": "dm-9", "function": None, "sectors": 8, "slaves": []},
    ]
    description["mounts"] = [
        *description.get("mounts", []),
        {"source": "/dev/mapper/vg-boot", "target": "/boot", "type": "ext4"},
    ]


def _on_raid(description: Description) -> None:
    description["mounts"] = [
        *description.get("mounts", []),
        {"source": "/dev/md0", "target": "/boot", "type": "ext4"},
    ]


@pytest.mark.parametrize(
    ("change", "said"), [(_on_btrfs, "is on btrfs"), (_on_lvm, "lies on lvm"), (_on_raid, "mdraid1x")]
)
def test_where_no_trial_can_be_made_the_choice_is_the_users(
    change: Callable[[Description], None], said: str, tmp_path: Path
) -> None:
    machine = made(tmp_path, "debian12-lab", *LAB, change=change)
    before = manifest(machine)
    run(machine, "doctor").is_(0, "without a trial boot", said, "--no-trial", "next: vfiostate plan")
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    run(machine, "plan").is_(5, "No trial boot can be made", said, "--no-trial")
    refused(machine, "trial-impossible", said, "`vfiostate advance --no-trial`", "restore.sh")
    run(machine, "plan", "--no-trial").is_(0)
    run(machine, "advance", "--no-trial").is_(0)
    reboot(machine)
    advanced(machine)
    assert drivers(machine) == STUBBED
    roll_back(machine)
    assert manifest(machine) == before


def test_an_entry_that_cannot_be_looked_for_is_not_called_gone(at: At) -> None:
    machine = at("failed")
    place = machine / "etc/default/grub"
    good = place.read_bytes()
    place.write_bytes(good + b'GRUB_CMDLINE_LINUX="open\n')
    for options in ((), ("--again",)):
        run(machine, "advance", *options).is_(5, "/etc/default/grub is a shell script that sh does not get through")
    place.write_bytes(good)
    refused(machine, "trial-failed")


@pytest.mark.parametrize("broken", ["settings", "entries"])
def test_what_cannot_be_read_is_mended_first_and_no_reason_to_do_without_a_trial(broken: str, at: At) -> None:
    machine = at("modules_loaded")
    place = machine / {"settings": "etc/default/grub", "entries": CFG}[broken]
    good = place.read_bytes()
    if broken == "settings":
        place.write_bytes(good + b'GRUB_CMDLINE_LINUX="open\n')
    else:
        place.unlink()
    for each in ("plan", "doctor", "advance"):
        ended = run(machine, each).is_(5)
        assert "trial" not in ended.text
    place.write_bytes(good)
    run(machine, "doctor").is_(0, "grub, with a trial boot")
    run(machine, "plan").is_(0, "trial boot")


def test_somebody_elses_choice_for_the_next_boot_is_not_replaced(at: At) -> None:
    machine = at("modules_loaded")
    command(machine, "grub-reboot", "1>1")
    run(machine, "doctor").is_(5, "'1>1' is to be booted next")
    refused(machine, "trial-impossible", "'1>1' is to be booted next")
    reboot(machine)
    advanced(machine)


def test_what_cannot_be_read_may_be_somebodys_choice_for_the_next_boot(at: At) -> None:
    machine = at("modules_loaded")
    command(machine, "grub-reboot", "1>1")
    with unchanged(machine):
        answer = run(machine, "advance", prepare=unreadable(f"/{GRUBENV}"))
        answer.is_(1, f"(EIO): /{GRUBENV}").with_hint()
    assert f"(EIO): /{GRUBENV}" in str(last(machine, Kind.STEP_FAILED, Kind.STEP_REFUSED).data)


def test_the_recovery_entry_taken_in_the_place_of_the_trial_is_named(at: At) -> None:
    machine = at("stubbed")
    reboot(machine, "recovery")
    refused(machine, "recovery-entry-booted", "advance --again")
    # The choice held for that boot alone: what comes after is no failed trial either, however often it is asked.
    for _ in range(2):
        reboot(machine)
        refused(machine, "trial-not-made", "next: vfiostate advance --again", "rollback --to modules_loaded")
        run(machine, "status").is_(0, "vfiostate advance --again (one more trial boot)")
    run(machine, "journal", "explain").is_(0, "the trial boot was not made. `vfiostate advance --again`")
    run(machine, "advance", "--again").is_(3)
    reboot(machine)
    advanced(machine)


def test_an_older_kernel_taken_in_the_place_of_the_trial_is_named(at: At) -> None:
    machine = at("modules_loaded")
    run(machine, "machine", "install-kernel", "5.10.0-1-amd64").is_(0)
    advanced(machine)
    reboot(machine, "previous")
    refused(machine, "other-kernel-booted", "5.10.0-1-amd64", f"planned for {KERNEL}", "and not the trial", "--again")
    reboot(machine)
    refused(machine, "trial-not-made")
    run(machine, "advance", "--again").is_(3)
    fails(machine)
    refused(machine, "trial-failed")


def test_the_kernel_of_the_trial_may_be_gone_before_the_reboot(at: At) -> None:
    """Purged: GRUB stops at an entry whose kernel is gone, and takes the default at the next power cycle."""
    machine = at("stubbed")
    run(machine, "machine", "install-kernel", "6.1.0-99-amd64").is_(0)
    (machine / f"boot/vmlinuz-{KERNEL}").unlink()
    command(machine, "update-grub")
    run(machine, "machine", "reboot").is_(1, "does not find the kernel")
    reboot(machine)
    assert not has_token(words(machine))
    refused(machine, "trial-failed")
    run(machine, "rollback", "--to", "modules_loaded").is_(0)
    advanced(machine)
    reboot(machine)
    advanced(machine)
    assert has_token(words(machine)) and words(machine)[0].endswith("6.1.0-99-amd64")


def test_the_journal_tells_the_whole_story(at: At) -> None:
    machine = at("failed")
    found = last(machine, Kind.STEP_REFUSED).data["findings"]
    assert isinstance(found, list) and isinstance(found[0], dict)
    assert found[0]["code"] == "trial-failed"
    begun = [event.step for event in events(machine) if event.kind is Kind.STEP_STARTED]
    assert begun == ["checked", "modules_loaded", "stubbed"]
    run(machine, "journal", "show").is_(0, "trial boot failed")
