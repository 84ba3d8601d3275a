"""`audit` as a check that runs every five minutes: read-only, quiet, never in the way, honest about the journal."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from journal.events import Kind
from tests.badinput.support import (
    GRUB,
    JOURNAL,
    At,
    broken_command,
    elsewhere,
    events,
    last,
    lock_of_ours,
    run,
    state,
    unchanged,
)
from tests.drift.drifts import edited, started
from tests.drift.test_drifts import audited
from tests.field.support import LAB, Description, attribute, made, modules, reboot

LOCK = "run/lock/vfiostate.lock"


def test_where_nothing_was_set_up_nothing_is_promised(at: At) -> None:
    machine = at("new")
    run(machine, "audit").is_(0, "nothing is promised")
    assert not (machine / JOURNAL).exists()


def test_after_the_way_back_nothing_is_promised_any_more(at: At) -> None:
    machine = at("modules_loaded")
    run(machine, "rollback").is_(0)
    run(machine, "audit").is_(0, "taken back: nothing is promised")


def test_what_is_recorded_is_recorded_once_and_its_end_too(at: At) -> None:
    machine = at("rebooted")
    content = (machine / GRUB).read_bytes()
    edited(machine)
    before = len(events(machine))
    for _ in range(3):
        run(machine, "audit", "--record").is_(4)
    assert len(events(machine)) == before + 1
    event = last(machine, Kind.DRIFT_FOUND)
    assert event.data["path"] == "/etc/default/grub" and "+# mine" in str(event.data["diff"])
    assert "drift /etc/default/grub" in run(machine, "journal", "show").out
    (machine / GRUB).write_bytes(content)
    for _ in range(2):
        run(machine, "audit", "--record").is_(0)
    assert len(events(machine)) == before + 2
    assert "no difference any more" in run(machine, "journal", "show").out
    run(machine, "journal", "verify").is_(0)


def test_what_a_run_is_in_the_middle_of_is_no_drift(at: At) -> None:
    machine = at("rebooted")
    with elsewhere(machine / LOCK, lock_of_ours) as holder:
        run(machine, "audit", "--wait", "0.3").is_(75, f"process {holder}, is at work", "--wait").with_hint()
    run(machine, "audit", "--wait", "0").is_(0)


@pytest.mark.parametrize("seconds", ["-1", "soon", "1e9"])
def test_a_wait_that_is_none_is_wrong_usage(at: At, seconds: str) -> None:
    run(at("new"), "audit", "--wait", seconds).is_(64, "expected seconds")


def test_a_journal_that_was_edited_is_damage_and_no_drift(at: At) -> None:
    machine = at("rebooted")
    with sqlite3.connect(machine / JOURNAL) as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        for name in names:
            database.execute(f"DROP TRIGGER {name}")
    found = run(machine, "audit").is_(6, "damaged", "journal, guards")
    assert "journal verify" in found.out
    assert audited(machine)["ok"] is False


def test_a_system_log_that_gives_no_answer_hides_no_drift(at: At) -> None:
    machine = at("rebooted")
    edited(machine)
    broken_command(machine, "journalctl", hangs=True)
    run(machine, "audit").is_(4, "1 difference")


def test_a_before_image_that_is_lost_is_damage(at: At) -> None:
    machine = at("rebooted")
    with sqlite3.connect(machine / JOURNAL) as database:
        for (name,) in list(database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")):
            database.execute(f"DROP TRIGGER {name}")
        database.execute("DELETE FROM blobs WHERE rowid = (SELECT max(rowid) FROM blobs)")
    run(machine, "audit").is_(6, "journal, blobs", "is missing")


def test_restore_sh_is_written_anew_by_the_next_advance(at: At) -> None:
    machine = at("bound")
    script = machine / "var/lib/vfiostate/restore.sh"
    whole = script.read_bytes()
    script.write_bytes(whole.replace(b"finish /etc/modules ", b"finish /etc/modules-not "))
    run(machine, "audit").is_(4, "does not put back /etc/modules")
    run(machine, "advance").is_(0)
    run(machine, "guest", "stop").is_(0)
    run(machine, "audit").is_(0)
    assert b"finish /etc/modules " in script.read_bytes()


def test_a_boot_that_is_not_mounted_is_one_difference_and_nothing_is_to_be_made_in_its_place(at: At) -> None:
    machine = at("bound")
    (machine / "boot").rename(machine / "partition")
    (machine / "boot").mkdir()
    told = run(machine, "audit").is_(4, "/boot: it is empty: its file system is not mounted", "1 difference").out
    assert "update-grub" not in told and "update-initramfs" not in told
    run(machine, "status").is_(4, "/boot: it is empty")
    (machine / "boot").rmdir()
    (machine / "partition").rename(machine / "boot")
    run(machine, "audit").is_(0)


def test_two_drifts_are_two_lines(at: At) -> None:
    machine = at("rebooted")
    edited(machine)
    (machine / "etc/modules").chmod(0o600)
    answer = run(machine, "audit").is_(4, "2 differences")
    assert len([line for line in answer.out.splitlines() if line.startswith("drift")]) == 2


def test_the_devices_are_not_taken_from_a_guest_that_is_not_ours(tmp_path: Path) -> None:
    def built_in(description: Description) -> None:
        for name in ("usbcore", "xhci_hcd", "xhci_pci"):
            modules(description)[name]["builtin"] = True

    machine = made(tmp_path, "debian12-lab", *LAB, change=built_in)
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    run(machine, "advance", "--until", "bound").is_(0)
    started(machine)
    with unchanged(machine):
        run(machine, "rollback").is_(4, "was not started by vfiostate", "hang until it ends").with_hint()
    assert state(machine) == "bound"
    run(machine, "guest", "stop").is_(0)
    run(machine, "rollback").is_(3)


def test_a_driver_that_another_tool_chose_is_not_overwritten(tmp_path: Path) -> None:
    def built_in(description: Description) -> None:
        for name in ("usbcore", "xhci_hcd", "xhci_pci"):
            modules(description)[name]["builtin"] = True

    machine = made(tmp_path, "debian12-lab", *LAB, change=built_in)
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    run(machine, "advance").is_(0)
    override = "/sys/bus/pci/devices/0000:02:00.0/driver_override"
    attribute(machine, override, "xhci_hcd")
    with unchanged(machine):
        run(machine, "advance").is_(4, "driver_override of 0000:02:00.0 was set to xhci_hcd").with_hint()
    assert (machine / override[1:]).read_text().strip() == "xhci_hcd"
    attribute(machine, override, "\n")
    run(machine, "advance").is_(0)
