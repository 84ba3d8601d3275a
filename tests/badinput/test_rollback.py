"""The way back when the host is not as it was left: untouched, changed elsewhere, not to be told apart."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from engine.back import stopping
from engine.guests import launch
from engine.hosts.simulated import SimulatedHost
from journal.events import Kind
from steps.base import State
from tests.badinput.support import (
    CONFIG,
    GRUB,
    At,
    copy,
    events,
    last,
    manifest,
    roll_back,
    run,
    state,
    unchanged,
)

CFG = "boot/grub/grub.cfg"
GRUBENV = "boot/grub/grubenv"
CHOSEN = b"next_entry=vfiostate-trial"
CONF = "etc/modprobe.d/00-vfiostate.conf"
UNIT = "etc/systemd/system/vfiostate-bind.service"
SCRIPT = "usr/local/sbin/vfiostate-bind"
NEWER = "6.1.0-99-amd64"
WAYS_BACK = [(there, to) for to, there in itertools.combinations([one.value for one in State], 2)]


def _rebooted_and_back(machine: Path) -> None:
    run(machine, "machine", "reboot").is_(0)
    roll_back(machine)
    run(machine, "journal", "verify").is_(0)


@pytest.mark.parametrize(("there", "to"), WAYS_BACK)
def test_from_every_state_to_every_earlier_one_the_files_are_as_they_were_then(
    stages: dict[str, Path], at: At, there: str, to: str
) -> None:
    machine = at(there)
    answer = run(machine, "rollback", "--to", to)
    assert answer.code in (0, 3), answer.text
    # A reboot is a state of the host and leaves no file behind, but for the choice of the trial, which it has used up.
    after, then = manifest(machine), manifest(stages[State(to)])
    if to == "stubbed":
        assert CHOSEN in (stages[State.STUBBED] / GRUBENV).read_bytes()
        assert CHOSEN not in (machine / GRUBENV).read_bytes()
        del after[GRUBENV], then[GRUBENV]
    assert after == then
    assert "differs" not in answer.out
    run(machine, "machine", "reboot").is_(0)
    if to == "new":
        run(machine, "rollback").is_(0)
    assert state(machine) == to
    if to == "stubbed":
        # The same trial again: it had proved itself.
        run(machine, "advance").is_(3, "the trial is chosen for the next boot once more")
        run(machine, "machine", "reboot").is_(0)
        run(machine, "advance").is_(0)
    run(machine, "journal", "verify").is_(0)


def test_our_command_line_after_the_reboot_is_not_answered_with_another_reboot(at: At) -> None:
    """A boot configuration that came back from a backup."""
    machine = at("rebooted")
    old = (machine / CFG).read_bytes()
    run(machine, "rollback").is_(3)
    run(machine, "rollback").is_(3, "Reboot, then run the command again")
    (machine / CFG).write_bytes(old)
    run(machine, "machine", "reboot").is_(0)
    for command in ("rollback", "advance", "plan"):
        run(machine, command).is_(4, "/boot/grub/grub.cfg: the host was rebooted", "-> Run `update-grub`").with_hint()
    told = run(machine, "status").is_(4, "/boot/grub/grub.cfg: the host was rebooted", "boot          rebooted").out
    assert "reboot, then" not in told.rpartition("next ")[2]
    run(machine, "audit").is_(4, "(command-line-left) -> run `update-grub`, then reboot")
    SimulatedHost(machine).run(("update-grub",), timeout=10.0)
    run(machine, "rollback").is_(4, "/proc/cmdline: the host was rebooted", "-> Reboot without choosing an entry")
    _rebooted_and_back(machine)
    assert state(machine) == "new"


def test_the_state_one_is_in_is_no_way_back_and_no_event(at: At) -> None:
    machine = at("running")
    run(machine, "guest", "stop").is_(0)
    # The guest's start is settled the first time.
    assert "back to" not in run(machine, "rollback", "--to", "bound").is_(0, "already `bound`").text
    before = len(events(machine))
    run(machine, "rollback", "--to", "bound").is_(0, "already `bound`: nothing lies beyond it", "state: bound")
    assert len(events(machine)) == before
    run(machine, "rollback", "--to", "running").is_(64, "lies ahead").with_hint()


@pytest.mark.parametrize("to", ["bound", "running"])
def test_a_state_that_lies_ahead_is_no_way_back(loaded: Path, to: str) -> None:
    with unchanged(loaded):
        run(loaded, "rollback", "--to", to).is_(64, f"`{to}` lies ahead").with_hint()


def test_an_edit_of_the_user_elsewhere_in_the_file_is_kept_and_ours_taken_out(at: At) -> None:
    machine = at("rebooted")
    original = (at("new") / GRUB).read_bytes()
    place = machine / GRUB
    place.write_bytes(place.read_bytes().replace(b"GRUB_TIMEOUT=5", b"GRUB_TIMEOUT=9") + b"GRUB_GFXMODE=640x480\n")
    run(machine, "status").is_(4, "/etc/default/grub")
    answer = run(machine, "rollback").is_(3)
    assert place.read_bytes() == original.replace(b"GRUB_TIMEOUT=5", b"GRUB_TIMEOUT=9") + b"GRUB_GFXMODE=640x480\n"
    assert "/etc/default/grub" in answer.out and "differs" in answer.out
    merged = [event for event in events(machine) if event.kind is Kind.OUTCOME and event.data["result"] == "merged"]
    assert len(merged) == 1
    intent = next(event for event in events(machine) if event.seq == merged[0].data["intent"])
    assert "+GRUB_GFXMODE=640x480" in str(intent.data["diff"])
    assert "merged" in run(machine, "journal", "show").out
    assert b"vfiostate" not in (machine / CFG).read_bytes()


@pytest.mark.parametrize("file", [GRUB, "etc/modules", CONF, SCRIPT, UNIT])
def test_what_cannot_be_told_apart_stops_the_way_back_before_anything_is_changed(at: At, file: str) -> None:
    machine = at("bound")
    place = machine / file
    content = place.read_bytes()
    # What is ours, twice: which of the two did we write?
    place.write_bytes(content + b"# mine\n" + content)
    with unchanged(machine):
        answer = run(machine, "rollback").is_(4, f"/{file}", "by hand").with_hint()
    assert "# mine" in answer.err
    assert f"/{file}" in str(last(machine, Kind.ROLLBACK_STOPPED).data)
    assert state(machine) == "bound"
    place.write_bytes(content)
    _rebooted_and_back(machine)


def test_ours_changed_by_the_user_beyond_telling_is_left_to_the_user(at: At) -> None:
    machine = at("rebooted")
    place = machine / GRUB
    place.write_bytes(place.read_bytes().replace(b"vfio-pci.ids=", b"pci=nomsi vfio-pci.ids="))
    with unchanged(machine):
        run(machine, "rollback").is_(4, "/etc/default/grub").with_hint()
    assert state(machine) == "rebooted"


def test_ours_taken_out_by_the_user_is_not_missed(at: At) -> None:
    machine = at("rebooted")
    original = (at("new") / GRUB).read_bytes()
    (machine / GRUB).write_bytes(original + b"# mine\n")
    run(machine, "rollback").is_(3)
    assert (machine / GRUB).read_bytes() == original + b"# mine\n"
    assert b"vfiostate" not in (machine / CFG).read_bytes()


@pytest.mark.parametrize("file", [GRUB, "etc/modules", CONF, SCRIPT, UNIT, "etc/initramfs-tools/modules"])
def test_a_file_that_the_user_removed_stays_removed(at: At, file: str) -> None:
    machine = at("bound")
    (machine / file).unlink()
    answer = run(machine, "rollback")
    assert answer.code in (0, 3), answer.text
    _rebooted_and_back(machine)
    assert not (machine / file).exists()
    assert b"vfiostate" not in (machine / CFG).read_bytes()


@pytest.mark.parametrize("target", ["/etc/elsewhere", "elsewhere", "/tmp/vfiostate-test-outside", "nowhere"])
def test_a_symlink_in_the_place_of_our_file_is_the_users_decision(at: At, tmp_path: Path, target: str) -> None:
    machine = at("rebooted")
    place = machine / GRUB
    content = place.read_bytes()
    place.unlink()
    if "else" in target:
        ((machine / "etc/elsewhere") if target.startswith("/") else place.with_name("elsewhere")).write_bytes(content)
    place.symlink_to(target)
    answer = run(machine, "rollback")
    assert place.is_symlink() and os.readlink(place) == target
    if "else" in target:
        answer.is_(4, "/etc/default/grub", "symbolic link").with_hint()
        assert state(machine) == "rebooted"
    else:
        # Nothing of ours is behind it, and what lies outside of the machine is not the machine's.
        assert answer.code in (0, 3), answer.text


@pytest.mark.parametrize("file", [GRUB, "etc/modules"])
def test_a_mode_that_the_user_gave_is_kept_and_told(at: At, file: str) -> None:
    machine = at("rebooted")
    original = (at("new") / file).read_bytes()
    (machine / file).chmod(0o600)
    answer = run(machine, "rollback").is_(3)
    assert (machine / file).read_bytes() == original
    assert stat.S_IMODE((machine / file).stat().st_mode) == 0o600
    assert f"differs:   /{file}: mode" in answer.out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_owner_that_the_user_gave_is_kept_and_told(at: At) -> None:
    machine = at("rebooted")
    os.chown(machine / GRUB, 1234, 4321)
    answer = run(machine, "rollback").is_(3)
    found = (machine / GRUB).stat()
    assert (found.st_uid, found.st_gid) == (1234, 4321)
    assert "/etc/default/grub: uid, gid" in answer.out


def test_a_kernel_installed_meanwhile_keeps_nothing_of_ours(at: At) -> None:
    machine = at("stubbed")
    untouched = copy(at("new"), machine.with_name("untouched"))
    for one in (machine, untouched):
        run(one, "machine", "install-kernel", NEWER).is_(0)
    image = f"boot/initrd.img-{NEWER}"
    assert b"00-vfiostate.conf" in (machine / image).read_bytes()
    assert b"vfiostate" in (machine / CFG).read_bytes()
    _rebooted_and_back(machine)
    assert b"vfiostate" not in (machine / image).read_bytes()
    old = "boot/initrd.img-6.1.0-56-amd64"
    assert (machine / old).read_bytes() == (untouched / old).read_bytes()
    ours, theirs = manifest(machine), manifest(untouched)
    # When an image was made is part of it.
    del ours[image], theirs[image]
    assert ours == theirs


def test_what_was_there_before_us_is_adopted_and_never_removed(new: Path) -> None:
    with (new / "etc/modules").open("a") as stream:
        stream.write("vfio\nvfio_pci\nvfio_iommu_type1\n")
    place = new / GRUB
    place.write_bytes(place.read_bytes().replace(b'"quiet"', b'"quiet intel_iommu=on vfio-pci.ids=1234:1111"'))
    assert b"1234:1111" in place.read_bytes()
    assert SimulatedHost(new).run(["update-grub"], timeout=60).ok
    run(new, "machine", "reboot").is_(0)
    before = manifest(new)
    run(new, "advance", "--until", "stubbed").is_(0)
    run(new, "machine", "reboot").is_(0)
    run(new, "advance", "--until", "bound").is_(0)
    assert run(new, "rollback").code in (0, 3)
    _rebooted_and_back(new)
    after = manifest(new)
    for name in (GRUB, "etc/modules", *before):
        if not name.startswith("boot/"):
            assert after[name] == before[name], name
    assert b"vfio-pci.ids=1234:1111" in (new / CFG).read_bytes()
    assert b"vfiostate" not in (new / CFG).read_bytes()


def test_the_way_back_twice_is_once(at: At) -> None:
    machine = at("rebooted")
    before = manifest(at("new"))
    run(machine, "rollback").is_(3).with_hint()
    with unchanged(machine):
        run(machine, "rollback").is_(3).with_hint()
        run(machine, "advance").is_(3, "finished by the next boot").with_hint()
        run(machine, "advance", "--until", "running").is_(3)
        run(machine, "status").is_(0, "reboot")
    run(machine, "machine", "reboot").is_(0)
    run(machine, "rollback").is_(0)
    with unchanged(machine):
        run(machine, "rollback").is_(0, "nothing to take back")
    assert manifest(machine) == before
    run(machine, "advance").is_(0)
    assert state(machine) == "checked"


@pytest.mark.parametrize("there", ["checked", "modules_loaded", "bound"])
def test_a_rollback_to_the_state_one_is_in_is_over_at_once_and_the_way_goes_on(at: At, there: str) -> None:
    machine = at(there)
    with unchanged(machine):
        run(machine, "rollback", "--to", there).is_(0, f"already `{there}`: nothing lies beyond it")
    assert json.loads(run(machine, "status", "--json").out)["unfinished"] is None
    assert state(machine) == there
    run(machine, "advance", *(("--until", "bound") if there == "bound" else ())).is_(0)
    run(machine, "journal", "verify").is_(0)


def test_what_is_taken_back_is_told_line_by_line_and_what_others_changed_by_name(at: At) -> None:
    machine = at("modules_loaded")
    with (machine / "etc/modules").open("a") as file:
        file.write("snd_dummy\n")
    said = run(machine, "rollback").is_(0)
    assert "back to new:\n" in said.err
    assert "  take back: /etc/modules\n    only what is ours: it was changed since\n" in said.err
    assert "differs:   /etc/modules: content (changed since by others; only what is ours was taken out)" in said.out


def test_without_a_setup_there_is_nothing_to_take_back(new: Path) -> None:
    with unchanged(new):
        run(new, "rollback").is_(0, "nothing is set up: there is nothing to take back", "state: new")


def test_the_configuration_may_be_gone_on_the_way_back(at: At) -> None:
    machine = at("bound")
    (machine / CONFIG).unlink()
    before = manifest(at("new"))
    assert run(machine, "rollback").code == 3
    _rebooted_and_back(machine)
    assert manifest(machine) == {name: what for name, what in before.items() if name != CONFIG}


@pytest.mark.parametrize("there", [one.value for one in State if one.rank >= State.MODULES_LOADED.rank])
def test_the_script_brings_every_file_back_without_us_and_the_journal_bears_it(at: At, there: str) -> None:
    machine = at(there)
    before = manifest(at("new"))
    script = machine / "var/lib/vfiostate/restore.sh"
    # From the first change to a file on; the script needs no more than POSIX.
    done = subprocess.run(
        [shutil.which("dash") or "sh", str(script)], capture_output=True, check=False, env={"PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0, done.stderr
    assert manifest(machine) == before
    run(machine, "machine", "reboot").is_(0)
    roll_back(machine)
    assert manifest(machine) == before
    run(machine, "journal", "verify").is_(0)


def test_a_script_that_cannot_be_read_keeps_nobody_from_going_back(at: At) -> None:
    machine = at("bound")
    script = machine / "var/lib/vfiostate/restore.sh"
    script.unlink()
    script.mkdir()
    run(machine, "audit").is_(4, "restore.sh")
    assert run(machine, "rollback").code == 3
    script.rmdir()
    _rebooted_and_back(machine)
    assert manifest(machine) == manifest(at("new"))


def test_a_guest_that_nothing_ends_keeps_its_devices_until_it_has_ended(at: At, stages: dict[str, Path]) -> None:
    machine = at("bound")
    run(machine, "advance").is_(0, "running")
    try:
        before = manifest(machine)
        answer = run(machine, "rollback", prepare=_nothing_ends_it).is_(1, "it goes on, and nothing is taken from it")
        assert "take back: /" not in answer.text and "unbind" not in answer.text
        assert manifest(machine) == before and state(machine) == "running"
        assert last(machine, Kind.OUTCOME).data["result"] == "failed"
    finally:
        roll_back(machine)
    assert manifest(machine) == manifest(stages["new"])


@pytest.mark.parametrize("there", ["stubbed", "bound"])
def test_a_boot_that_is_not_mounted_is_named_before_anything_is_changed(
    at: At, stages: dict[str, Path], there: str
) -> None:
    machine = at(there)
    (machine / "boot").rename(machine / "partition")
    (machine / "boot").mkdir()
    before = manifest(machine)
    answer = run(machine, "rollback").is_(4, there)
    assert "/boot is empty, and /boot/grub/grub" in answer.err
    assert manifest(machine) == before
    (machine / "boot").rmdir()
    (machine / "partition").rename(machine / "boot")
    roll_back(machine)
    assert manifest(machine) == manifest(stages["new"])


def test_a_boot_of_which_nothing_is_left_keeps_nothing_else_from_going_back(at: At) -> None:
    machine = at("stubbed")
    shutil.rmtree(machine / "boot")
    (machine / "boot/none").mkdir(parents=True)
    run(machine, "rollback").is_(0, "new")
    assert not (machine / CONF).exists()


def _nothing_ends_it() -> None:
    def end(name: str, runtime: Path, *, timeout: float) -> None:
        raise TimeoutError(f"{name} cannot be ended: it hangs in the kernel")

    launch.end = end
    stopping._gone = lambda host, name, timeout: False


def test_what_a_guest_that_has_ended_leaves_does_not_stop_the_way_back(at: At, stages: dict[str, Path]) -> None:
    machine = at("bound")
    run(machine, "advance").is_(0, "running")
    assert run(machine, "rollback", prepare=_its_files_stay).code in (0, 3)
    roll_back(machine)
    assert manifest(machine) == manifest(stages["new"])


def _its_files_stay() -> None:
    unlink = Path.unlink

    def stays(place: Path, missing_ok: bool = False) -> None:
        if place.suffix == ".pid":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(place))
        unlink(place, missing_ok)

    Path.unlink = stays  # type: ignore[method-assign,assignment]  # in a child that ends with this run
