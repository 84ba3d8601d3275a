"""What others do while a way back is under way, or was cut short, or after it: theirs stays, and no way is barred."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.hosts.simulated import SimulatedHost
from engine.progress import Plain
from journal.events import Kind
from tests.badinput.support import JOURNAL, At, events, last, manifest, roll_back, run, state
from tests.field.support import reboot

MODULES = "/etc/modules"
SCRIPT = "var/lib/vfiostate/restore.sh"
THEIRS = b"theirs\n"


def add(machine: Path, path: str = MODULES) -> None:
    """Somebody adds a line to a file."""
    with (machine / path.lstrip("/")).open("ab") as stream:
        stream.write(THEIRS)


def loaded(machine: Path) -> set[str]:
    """The modules that are loaded."""
    return {line.split()[0] for line in (machine / "proc/modules").read_text().splitlines()}


def dies_at(path: str, *, after: bool = False) -> Callable[[], None]:
    """The run is killed just before it writes a file, or just after."""

    def prepare() -> None:
        write = SimulatedHost.write_file

        def dying(host: SimulatedHost, to: str, *words: object) -> None:
            if to == path and not after:
                os._exit(9)
            write(host, to, *words)  # type: ignore[arg-type]  # as it was called
            if to == path:
                os._exit(9)

        SimulatedHost.write_file = dying  # type: ignore[method-assign, assignment]  # in a child of the test

    return prepare


def at_first_action(do: Callable[[], object]) -> Callable[[], None]:
    """Something is done while the first action of the run is under way."""

    def prepare() -> None:
        action, done = Plain.action, list[str]()

        def watched(self: Plain, text: str) -> None:
            action(self, text)
            if not done:
                done.append(text)
                do()

        Plain.action = watched  # type: ignore[method-assign]  # in a child of the test

    return prepare


def test_what_is_added_while_a_rollback_is_under_way_is_not_written_over(at: At) -> None:
    machine = at("stubbed")
    answer = run(machine, "rollback", prepare=at_first_action(lambda: add(machine))).is_(4, MODULES).with_hint()
    assert "as before: /etc/modules" not in answer.text
    assert last(machine, Kind.DRIFT_FOUND).data["path"] == MODULES
    run(machine, "advance").is_(5, "`vfiostate rollback`")
    run(machine, "rollback").is_(0, "only what is ours")
    assert (machine / "etc/modules").read_bytes().endswith(THEIRS)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("after", [False, True])
def test_killed_as_it_takes_ours_out_of_an_edited_file_it_goes_on(when: str, after: bool, at: At) -> None:
    machine = at("modules_loaded")
    was = (at("new") / "etc/modules").read_bytes()
    if when == "before":
        add(machine)
    run(machine, "rollback", prepare=dies_at(MODULES, after=after)).is_(9)
    if when == "after":
        add(machine)
    run(machine, "rollback").is_(0)
    assert (machine / "etc/modules").read_bytes() == was + THEIRS


def test_a_conflict_after_a_rollback_that_was_cut_short_does_not_make_it_finished(at: At) -> None:
    machine = at("rebooted")
    run(machine, "rollback", prepare=dies_at("/etc/default/grub", after=True)).is_(9)
    modules = machine / "etc/modules"
    ours = modules.read_bytes()
    modules.write_bytes(ours.replace(b"vfio\n", b"vfio # mine\n"))
    run(machine, "rollback").is_(4, MODULES)
    run(machine, "advance").is_(5, "was begun and not finished")
    modules.write_bytes(ours)
    roll_back(machine)


def test_restore_sh_goes_with_what_is_taken_back(at: At) -> None:
    machine = at("stubbed")
    run(machine, "rollback", "--to", "modules_loaded").is_(0)
    script = (machine / SCRIPT).read_bytes()
    assert b"begin /etc/modules\n" in script and b"begin /etc/default/grub\n" not in script
    run(machine, "rollback", "--to", "checked").is_(0)
    assert not (machine / SCRIPT).exists()


def test_a_restore_sh_that_cannot_be_written_keeps_nobody_from_going_back(at: At) -> None:
    machine = at("stubbed")

    def full() -> None:
        write = SimulatedHost.write_file

        def failing(host: SimulatedHost, to: str, *words: object) -> None:
            if to == f"/{SCRIPT}":
                raise OSError(errno.ENOSPC, "No space left on device", to)
            write(host, to, *words)  # type: ignore[arg-type]  # as it was called

        SimulatedHost.write_file = failing  # type: ignore[method-assign, assignment]  # in a child of the test

    run(machine, "rollback", "--to", "modules_loaded", prepare=full).is_(0)
    assert state(machine) == "modules_loaded"
    run(machine, "audit").is_(4, "it also puts back")
    run(machine, "advance").is_(0)
    roll_back(machine)


def test_a_restore_sh_that_outlived_what_it_puts_back_is_named_and_taken_away(at: At) -> None:
    machine = at("modules_loaded")
    script = (machine / SCRIPT).read_bytes()
    run(machine, "rollback", "--to", "checked").is_(0)
    run(machine, "audit").is_(0)
    (machine / SCRIPT).write_bytes(script)
    run(machine, "audit").is_(4, "it is there, and puts back /etc/modules")
    run(machine, "advance").is_(0)
    more = (machine / SCRIPT).read_bytes() + b"\nbegin /etc/fstab\ngone /etc/fstab\n"
    (machine / SCRIPT).write_bytes(more)
    run(machine, "audit").is_(4, "it also puts back /etc/fstab")
    run(machine, "advance").is_(0)
    run(machine, "audit").is_(0)
    assert b"begin /etc/fstab" not in (machine / SCRIPT).read_bytes()


def test_a_step_cut_short_whose_verification_fails_is_taken_back_as_any_other(at: At) -> None:
    machine = at("checked")
    before = (machine / "etc/modules").read_bytes()
    run(machine, "advance", prepare=dies_at(MODULES, after=True)).is_(9)
    host = SimulatedHost(machine)
    assert host.run(("modprobe", "-r", "vfio-pci"), timeout=5.0).ok
    run(machine, "advance").is_(1).with_hint()
    assert last(machine, Kind.STEP_FAILED).step == "modules_loaded"
    assert (machine / "etc/modules").read_bytes() == before
    run(machine, "advance").is_(0)
    assert state(machine) == "modules_loaded"


def test_ctrl_c_while_a_step_that_was_cut_short_is_taken_back_waits_for_its_end(at: At) -> None:
    machine = at("checked")
    before = loaded(machine)
    run(machine, "advance", prepare=dies_at(MODULES)).is_(9)
    assert loaded(machine) != before
    interrupt = at_first_action(lambda: os.kill(os.getpid(), signal.SIGINT))
    run(machine, "advance", prepare=interrupt).is_(130)
    assert loaded(machine) == before
    kept = [one for one in events(machine) if one.kind is Kind.OUTCOME and one.data.get("result") == "kept"]
    assert kept == []
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    roll_back(machine)


@pytest.mark.parametrize("how", ["gone", "new"])
def test_a_journal_that_was_lost_is_not_taken_for_a_host_where_nothing_was_done(
    how: str, at: At, tmp_path: Path
) -> None:
    machine = at("stubbed")
    kept = (machine / JOURNAL).read_bytes()
    script = (machine / SCRIPT).read_bytes()
    (machine / JOURNAL).unlink()
    if how == "new":
        (machine / SCRIPT).unlink()
        run(machine, "advance", "--until", "checked").is_(0)
        (machine / SCRIPT).write_bytes(script)
    before = manifest(machine)
    for argv in (["status"], ["plan"], ["advance"], ["rollback"], ["audit"], ["audit", "--quiet"], ["guest", "start"]):
        run(machine, *argv).is_(6, "restore.sh", "what it changed still stands").with_hint()
    run(machine, "doctor").is_(5, "what it changed still stands")
    page = str(tmp_path / "page.html")
    for argv in (["verify"], ["verify", "--json"], ["show"], ["explain"], ["report", "--force", "-o", page]):
        run(machine, "journal", *argv).is_(6, "restore.sh", "what it changed still stands").with_hint()
    if how == "gone":
        for argv in ([], ["--before-images", str(tmp_path / "saved")]):
            run(machine, "journal", "export", *argv).is_(6, "what it changed still stands").with_hint()
        assert not (tmp_path / "saved").exists()
    assert manifest(machine) == before
    (machine / JOURNAL).write_bytes(kept)
    roll_back(machine)


def test_a_lost_journal_is_answered_with_the_restore_sh_as_it_lies_for_the_user(at: At, tmp_path: Path) -> None:
    machine = tmp_path / "a machine"
    at("modules_loaded").rename(machine)
    (machine / JOURNAL).unlink()
    command = re.search(r"`(sh [^`]+)`", run(machine, "status").is_(6).text)
    assert command is not None
    subprocess.run(shlex.split(command[1]), check=True, stdout=subprocess.PIPE)
    assert b"vfio" not in (machine / MODULES.lstrip("/")).read_bytes()


def test_a_damaged_journal_is_answered_with_the_restore_sh_as_it_lies_for_the_user(at: At) -> None:
    machine = at("modules_loaded")
    os.truncate(machine / JOURNAL, (machine / JOURNAL).stat().st_size // 2)
    assert f"sh {machine / SCRIPT}, then reboot" in run(machine, "journal", "verify").is_(6).text


def test_a_rollback_that_was_cut_short_is_all_that_is_told_of_what_it_left(at: At) -> None:
    machine = at("stubbed")
    run(machine, "rollback", prepare=dies_at(MODULES)).is_(9)
    assert "a rollback to new" in run(machine, "status").is_(0).out
    differences = run(machine, "audit").is_(4, "cut short").out.splitlines()
    assert len([line for line in differences if "promised" in line]) == 1


def test_what_audit_advises_makes_it_anew(at: At) -> None:
    machine = at("modules_loaded")
    (machine / "etc/modules").write_bytes(b"")
    answer = run(machine, "audit").is_(4, "module-not-listed", "`vfiostate rollback --to checked`")
    assert "run `vfiostate advance` again" not in answer.text
    run(machine, "rollback", "--to", "checked").is_(0)
    run(machine, "advance").is_(0)
    run(machine, "audit").is_(0)
    assert b"vfio" in (machine / "etc/modules").read_bytes()


def test_a_boot_loader_that_was_removed_with_all_its_files_bars_no_way_back(at: At) -> None:
    """As who moves from GRUB to another one and purges its packages: nothing is left that could be made anew."""
    machine = at("bound")
    for pattern in ("usr/sbin/*grub*", "usr/bin/*grub*", "etc/default/grub", "etc/grub.d", "boot/grub"):
        for path in machine.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    told = run(machine, "rollback").is_(3).out
    assert "differs:   /boot/grub/grub.cfg: is gone" in told
    assert state(machine) == "new"
    assert b"vfiostate" not in (machine / "etc/modules").read_bytes()
    (machine / "proc/cmdline").write_text("root=/dev/sda1 ro\n")  # as the other boot loader starts the kernel
    run(machine, "rollback").is_(0)
    assert not (machine / "etc/grub.d").exists()
