"""What goes on by itself after the boot: only when asked, as far as asked, never in a loop, gone when it is done."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.hosts.linux import LinuxHost
from engine.resume.unit import installed_program, refuse_foreign_program
from journal.errors import RefusedError
from steps.resume_service import LINK, UNIT
from tests.kill.crash import copy, manifest, run
from tests.resume import support
from tests.resume.support import boot, events, installed, make, ok, started, status, told


def test_nothing_is_installed_unless_asked_for(stubbed: Path) -> None:
    assert installed(stubbed) == (False, False)
    assert told(stubbed) == []
    assert status(stubbed)["resume"] is None
    boot(stubbed)
    assert started(stubbed) is None


def test_a_way_without_a_reboot_installs_nothing(untouched: Path) -> None:
    ok(run(untouched, "advance", "--resume", "--until", "modules_loaded"))
    assert installed(untouched) == (False, False)
    assert told(untouched) == []


def test_asked_for_it_stands_beside_the_reboot_that_comes_next(asked: Path) -> None:
    assert installed(asked) == (True, True)
    assert told(asked) == ["asked"]
    assert status(asked)["resume"] == {"until": "running", "tries": 0, "parked": None}
    assert "goes on after the next boot up to `running`" in run(asked, "status").output


def test_without_until_it_goes_to_the_end_which_without_a_guest_is_bound(tmp_path: Path) -> None:
    machine = make(tmp_path / "machine", "--no-guest")
    ok(run(machine, "advance", "--resume"), 3)
    assert status(machine)["resume"]["until"] == "bound"


def test_after_the_boot_it_goes_on_by_itself_and_removes_itself(asked: Path) -> None:
    said = ok(run(asked, "machine", "reboot")).output
    assert "systemd starts vfiostate-resume.service" in said
    assert status(asked)["state"] == "running"
    assert installed(asked) == (False, False)
    assert told(asked) == ["asked", "begun", "over"]
    ok(run(asked, "journal", "verify"))


def test_one_command_goes_the_whole_way_over_the_reboot(untouched: Path) -> None:
    said = ok(run(untouched, "advance", "--resume", "--reboot")).output
    assert "next: nothing to do by hand; vfiostate status after the boot\n" in said
    assert status(untouched)["state"] == "running"
    assert installed(untouched) == (False, False)


def test_it_stops_at_the_state_asked_for(untouched: Path) -> None:
    ok(run(untouched, "advance", "--resume", "--until", "rebooted"), 3)
    ok(run(untouched, "machine", "reboot"))
    assert status(untouched)["state"] == "rebooted"
    assert installed(untouched) == (False, False)


def test_every_run_is_counted_before_it_does_anything(asked: Path) -> None:
    boot(asked)
    ok(run(asked, "resume"))
    kinds = [(event["kind"], event["data"].get("what")) for event in events(asked)]
    begun = kinds.index(("resume", "begun"))
    assert ("transition", None) in kinds[begun + 1 :]
    assert begun > kinds.index(("resume", "asked"))


def test_the_word_on_the_command_line_keeps_it_from_doing_anything(asked: Path) -> None:
    boot(asked, "vfiostate.resume=off")
    assert started(asked) is None
    ok(run(asked, "resume"))  # called in spite of the unit's condition
    assert told(asked) == ["asked"]
    assert status(asked)["state"] == "stubbed"
    boot(asked)
    assert started(asked) == "/usr/local/bin/vfiostate --config /etc/vfiostate.toml resume"


@pytest.mark.parametrize("word", ["vfiostate.resume=on", "vfiostate.resume=offf", "x.vfiostate.resume=off"])
def test_another_word_does_not(asked: Path, word: str) -> None:
    boot(asked, word)
    assert started(asked) is not None


def test_without_its_journal_systemd_does_not_start_it(asked: Path) -> None:
    (asked / "var/lib/vfiostate/journal.db").rename(asked / "var/lib/vfiostate/away")
    boot(asked)
    assert started(asked) is None


def test_a_refusal_parks_it_at_once_with_the_reason_in_journal_and_system_log(asked: Path) -> None:
    boot(asked)
    support.damage(asked)
    ok(run(asked, "resume"), 5)
    assert told(asked) == ["asked", "begun", "parked"]
    assert "/usr/local/sbin" in status(asked)["resume"]["parked"]
    assert "vfiostate-resume.service is parked and does nothing more" in support.syslog(asked)
    assert "parked: " in run(asked, "status").output
    assert ".." not in run(asked, "journal", "explain").output.replace("...", "")
    assert "/usr/local/sbin" in run(asked, "journal", "show").output


def test_parked_it_does_nothing_more_at_any_boot(asked: Path) -> None:
    boot(asked)
    support.damage(asked)
    ok(run(asked, "resume"), 5)
    support.repair(asked)
    before = len(events(asked))
    for _ in range(3):
        ok(run(asked, "machine", "reboot"))
    assert len(events(asked)) == before
    assert status(asked)["state"] == "rebooted"


def test_a_manual_advance_sets_it_going_again(asked: Path) -> None:
    boot(asked)
    support.damage(asked)
    ok(run(asked, "resume"), 5)
    support.repair(asked)
    ok(run(asked, "advance"))
    assert told(asked)[-1] == "unparked"
    assert status(asked)["resume"] == {"until": "running", "tries": 0, "parked": None}
    ok(run(asked, "machine", "reboot"))
    assert status(asked)["state"] == "running"
    assert installed(asked) == (False, False)


def test_a_manual_advance_to_the_goal_ends_it(asked: Path) -> None:
    boot(asked)
    ok(run(asked, "advance", "--until", "running"))
    assert installed(asked) == (False, False)
    assert told(asked) == ["asked", "over"]


def test_boots_that_bring_nothing_new_are_tried_three_times_and_no_more(asked: Path) -> None:
    """Each run is killed after it was counted and before its first step, as by a host that goes down."""
    boot(asked)
    for number in range(3):
        killed = run(asked, "resume", kill_at=points_until_counted(asked))
        assert killed.code == 137
        assert status(asked)["resume"]["tries"] == number + 1
        boot(asked)
    ok(run(asked, "resume"), 5)
    assert told(asked) == ["asked", "begun", "begun", "begun", "parked"]
    assert "3 boots in a row" in status(asked)["resume"]["parked"]


def points_until_counted(machine: Path) -> int:
    """The point right after the first commit of a run, tried on a copy."""
    trial = copy(machine, machine.with_name("trial"))
    points = run(trial, "resume").points
    run(trial, "guest", "stop")
    shutil.rmtree(trial)
    return points.index("after commit")


def test_a_host_that_falls_back_at_every_boot_is_no_progress(asked: Path) -> None:
    """It goes down when the guest starts: `bound` is reached again and again, and is new only once."""
    boot(asked)
    number = points_until_guest(asked)
    tries = []
    for _ in range(6):
        if run(asked, "resume", kill_at=number).code != 137:
            break
        tries.append(status(asked)["resume"]["tries"])
        boot(asked)
        number = points_until_guest(asked)
    assert tries == [0, 1, 2, 3]
    assert status(asked)["resume"]["parked"] is not None


def points_until_guest(machine: Path) -> int | None:
    """The point right before the guest is started, None where a run does not come to it."""
    trial = copy(machine, machine.with_name("trial"))
    points = run(trial, "resume").points
    run(trial, "guest", "stop")
    shutil.rmtree(trial)
    return points.index("before start") if "before start" in points else None


def test_it_never_reboots_the_host_by_itself(asked: Path) -> None:
    """In the boot in which it was asked for the reboot is still to come: it says so and ends."""
    before = support.boot_id(asked)
    for _ in range(3):
        ok(run(asked, "resume"), 3)
    ok(run(asked, "resume"), 5)
    assert support.boot_id(asked) == before
    assert all(
        event["data"]["action"]["type"] != "request_reboot" for event in events(asked) if event["kind"] == "intent"
    )


@pytest.mark.parametrize("to", ["new", "checked", "stubbed"])
def test_every_rollback_takes_it_out(asked: Path, to: str) -> None:
    run(asked, "rollback", "--to", to)
    assert installed(asked) == (False, False)
    assert status(asked).get("resume") is None


def test_after_a_rollback_every_byte_is_as_before(asked: Path, stages: dict[str, Path]) -> None:
    ok(run(asked, "rollback"), 0, 3)
    assert manifest(asked) == manifest(stages["untouched"])


def test_when_its_goal_is_reached_nothing_of_it_is_left(stubbed: Path, asked: Path, tmp_path: Path) -> None:
    """The same machine, once over the reboot by hand and once by itself, has the same files afterwards."""
    by_hand = copy(stubbed, tmp_path / "by-hand")
    ok(run(by_hand, "machine", "reboot"))
    ok(run(by_hand, "advance", "--until", "bound"))
    ok(run(asked, "machine", "reboot"))
    run(asked, "guest", "stop")
    ours, theirs = manifest(asked), manifest(by_hand)
    assert ours.keys() == theirs.keys()


def test_resume_off_takes_it_out_and_leaves_the_rest(asked: Path, stubbed: Path) -> None:
    ok(run(asked, "resume", "--off"))
    assert installed(asked) == (False, False)
    assert manifest(asked).keys() == manifest(stubbed).keys()
    assert status(asked)["state"] == "stubbed"
    assert told(asked) == ["asked", "over"]
    ok(run(asked, "resume", "--off"))


def test_a_unit_that_somebody_edited_is_kept_and_it_is_parked(asked: Path) -> None:
    with (asked / UNIT.lstrip("/")).open("a") as stream:
        stream.write("# mine\n")
    (asked / UNIT.lstrip("/")).write_text((asked / UNIT.lstrip("/")).read_text().replace("RuntimeMaxSec=1h", ""))
    ok(run(asked, "machine", "reboot"))
    assert status(asked)["state"] == "running"
    assert installed(asked) == (True, True)
    assert status(asked)["resume"]["parked"] is not None


def test_a_unit_that_somebody_disabled_is_told_of(asked: Path) -> None:
    (asked / LINK.lstrip("/")).unlink()
    assert "is not enabled" in run(asked, "status").output
    ok(run(asked, "advance", "--resume"), 3)
    assert installed(asked) == (True, True)


def test_a_file_of_somebody_else_in_its_place_is_left_alone(stubbed: Path) -> None:
    (stubbed / UNIT.lstrip("/")).write_text("[Service]\nExecStart=/bin/true\n")
    said = ok(run(stubbed, "advance", "--resume"), 5).output
    assert UNIT in said
    assert (stubbed / UNIT.lstrip("/")).read_text() == "[Service]\nExecStart=/bin/true\n"
    assert told(stubbed) == []


def test_without_systemd_it_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    machine = tmp_path / "machine"
    ok(run(machine, "machine", "create", "--from", "article"))
    ok(run(machine, "init", "--device=03:00.0", "--device=03:00.1", "--stub=pci-stub"))
    said = ok(run(machine, "advance", "--resume"), 5).output
    assert "needs systemd" in said
    assert status(machine)["state"] == "new"


def test_a_configuration_at_another_place_is_named_in_the_unit(tmp_path: Path) -> None:
    machine = make(tmp_path / "machine")
    (machine / "etc/vfiostate.toml").rename(machine / "etc/card.toml")
    ok(run(machine, "--config", "/etc/card.toml", "advance", "--resume"), 3)
    assert "--config /etc/card.toml resume" in (machine / UNIT.lstrip("/")).read_text()


def test_a_second_asking_counts_anew_and_changes_the_goal(asked: Path) -> None:
    ok(run(asked, "resume"), 3)
    ok(run(asked, "advance", "--resume", "--until", "bound"), 3)
    assert status(asked)["resume"] == {"until": "bound", "tries": 0, "parked": None}


def test_a_trial_boot_that_fails_parks_it_and_is_never_made_again_by_itself(asked: Path) -> None:
    ok(run(asked, "machine", "reboot", "--fails"))
    assert told(asked) == ["asked", "begun", "parked"]
    assert "trial boot" in status(asked)["resume"]["parked"]
    for _ in range(2):
        ok(run(asked, "machine", "reboot"))
    assert status(asked)["state"] == "stubbed"
    assert "next_entry=vfiostate" not in (asked / "boot/grub/grubenv").read_text()
    assert told(asked) == ["asked", "begun", "parked"]


def test_after_a_trial_that_failed_it_can_be_asked_for_again(asked: Path) -> None:
    ok(run(asked, "machine", "reboot", "--fails"))
    ok(run(asked, "advance", "--again", "--resume"), 3)
    assert status(asked)["resume"] == {"until": "running", "tries": 0, "parked": None}
    ok(run(asked, "machine", "reboot"))
    assert status(asked)["state"] == "running"


def test_it_waits_for_a_network_that_comes_late(asked: Path) -> None:
    route = network_away(asked)
    with subprocess.Popen(["sh", "-c", 'sleep 2; mv "$0.away" "$0"', str(route)]) as late:
        ok(run(asked, "resume"))
        assert late.wait() == 0
    assert status(asked)["state"] == "running"


def test_a_network_that_never_comes_parks_it(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.resume.run.ROUTE_WAIT", 0.0)
    network_away(asked)
    ok(run(asked, "resume"), 5)
    assert "default route" in status(asked)["resume"]["parked"]


def network_away(machine: Path) -> Path:
    """Boot, and take the default route away. Where it is kept."""
    boot(machine)
    route = machine / "proc/net/route"
    route.rename(f"{route}.away")
    route.write_text("Iface\tDestination\tGateway\tFlags\n")
    return route


def test_while_somebody_is_at_work_it_leaves_the_host_to_him(asked: Path) -> None:
    boot(asked)
    with (asked / "run/lock/vfiostate.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ok(run(asked, "resume"), 75)
    assert told(asked) == ["asked"]


def test_a_configuration_that_cannot_be_read_parks_it(asked: Path) -> None:
    boot(asked)
    (asked / "etc/vfiostate.toml").write_text("stub = 7\n")
    ok(run(asked, "resume"), 64)
    assert told(asked) == ["asked", "begun", "parked"]


def test_the_unit_calls_the_program_by_its_true_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "opt" / "bin" / "vfiostate"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    link = tmp_path / "vfiostate"
    link.symlink_to(program)
    monkeypatch.setattr("sys.argv", [str(link), "advance", "--resume"])
    assert installed_program() == str(program)


def test_without_an_installed_program_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [str(tmp_path / "engine" / "__main__.py")])
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(RefusedError, match="No installed `vfiostate`"):
        installed_program()


def test_a_program_that_others_may_write_is_not_run_as_root_at_every_boot(tmp_path: Path) -> None:
    program = tmp_path / "vfiostate"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o777)
    with pytest.raises(RefusedError, match="others may write it"):
        refuse_foreign_program(LinuxHost(), str(program))


def test_restore_sh_takes_it_out_without_us(asked: Path) -> None:
    done = subprocess.run(
        ["sh", str(asked / "var/lib/vfiostate/restore.sh"), str(asked)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert installed(asked) == (False, False)


@pytest.mark.parametrize("when", ["asked", "parked", "over"])
def test_an_audit_finds_everything_as_the_journal_says(asked: Path, when: str) -> None:
    if when != "asked":
        ok(run(asked, "machine", "reboot", *(["--fails"] if when == "parked" else [])))
    ok(run(asked, "audit"))
