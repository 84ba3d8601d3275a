"""The step to `running` on the simulated machine: what it plans, what it refuses, and whose word it takes."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.back.stopping import stop_guest
from engine.hosts.simulated import SimulatedHost
from steps.actions import RunCommand, StartProcess
from steps.base import Brief, Finding, Plan, Severity
from steps.config import Accel, Cdrom, Device, Disk, Guest, Network
from steps.guest.seen import Seen
from steps.run import RunStep
from tests.guest.support import ARTICLE, DEVICES, GPU, bound_machine, brief

STEP = RunStep()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SimulatedHost]:
    """The article's machine, bound; what runs on it is ended."""
    made = bound_machine(tmp_path / "machine")
    yield made
    made.kill("win7", timeout=5.0)


def planned(host: SimulatedHost, told: Brief | None = None, step: RunStep = STEP) -> Plan:
    """The plan on a host."""
    told = told or brief()
    return step.plan(told, step.probe(host, told))


def carry_out(host: SimulatedHost, plan: Plan) -> None:
    """Do what was planned."""
    for action in plan.actions:
        if isinstance(action, RunCommand):
            assert host.run(action.argv, timeout=5.0).ok, action.argv
        else:
            assert isinstance(action, StartProcess)
            host.start(action)


def verified(host: SimulatedHost, told: Brief | None = None, step: RunStep = STEP) -> tuple[Finding, ...]:
    """What verification finds."""
    told = told or brief()
    return step.verify(told, step.probe(host, told))


def refusals(plan: Plan) -> set[str]:
    """The codes of what stands against it; with any, nothing is planned."""
    found = {finding.code for finding in plan.findings if finding.severity is Severity.REFUSAL}
    assert not (found and plan.actions)
    return found


def change(**fields: object) -> Brief:
    """The article's guest with something changed."""
    return brief(dataclasses.replace(ARTICLE, **fields))  # type: ignore[arg-type]  # the fields are the caller's


def test_uefi_images_are_given_as_what_they_hold(host: SimulatedHost) -> None:
    for path, content in (("/srv/code", b"QFI\xfb\0\0\0\3"), ("/srv/vars", b"_FVH")):
        host.machine.put(path, "", 0o666)
        host.machine.path(path).write_bytes(content)
    plan = planned(host, change(firmware=None, ovmf_code="/srv/code", ovmf_vars="/srv/vars"))
    (start,) = [action for action in plan.actions if isinstance(action, StartProcess)]
    flash = [word for word in start.argv if word.startswith("if=pflash")]
    assert ["format=qcow2" in word for word in flash] == [True, False]


def test_the_article_runs_with_all_its_devices(host: SimulatedHost) -> None:
    plan = planned(host)
    assert refusals(plan) == set()
    carry_out(host, plan)
    assert verified(host) == ()
    seen = STEP.probe(host, brief()).seen
    assert isinstance(seen, Seen)
    functions = {one.id: one for one in seen.functions}
    gpu, audio = functions["vfio-0000-03-00.0"], functions["vfio-0000-03-00.1"]
    assert (gpu.bus, gpu.slot, gpu.function) == (1, 0, 0) and (audio.bus, audio.function) == (1, 1)
    assert (gpu.vendor, gpu.device) == (0x10DE, 0x1200)


@pytest.mark.parametrize("qemu", ["2.12.0", "7.2.22", "10.0.0"])
def test_it_runs_on_later_qemus_by_an_inherited_monitor(qemu: str, tmp_path: Path) -> None:
    host = bound_machine(tmp_path / "machine", qemu=qemu)
    plan = planned(host)
    (start,) = [action for action in plan.actions if isinstance(action, StartProcess)]
    assert start.inherit_socket and start.user == "nobody"
    carry_out(host, plan)
    assert verified(host) == ()
    stop_guest(host, "win7", 5.0)


def test_the_process_gets_its_memory_limit_and_its_nodes(tmp_path: Path) -> None:
    host = bound_machine(tmp_path / "machine", qemu="7.2.22")
    (start,) = [action for action in planned(host).actions if isinstance(action, StartProcess)]
    assert start.memlock == (1024 + 1024) << 20
    groups = {f"/dev/vfio/{name}" for name in os.listdir(host.local("/dev/vfio")) if name != "vfio"}
    # The disk is a node that `nobody` may not open: it belongs to the guest's account while the guest runs.
    assert set(start.devices) == {*groups, "/dev/sdc6"}


def test_install_mode_takes_no_devices_and_pins_no_memory(host: SimulatedHost) -> None:
    step = RunStep(install=True)
    plan = planned(host, step=step)
    (start,) = [action for action in plan.actions if isinstance(action, StartProcess)]
    assert start.memlock is None and not [one for one in start.devices if "vfio" in one]
    assert not [word for word in start.argv if "vfio-pci" in word]
    carry_out(host, plan)
    assert verified(host, step=step) == ()


def test_a_running_guest_is_left_alone_and_said_so(host: SimulatedHost) -> None:
    carry_out(host, planned(host))
    plan = planned(host)
    assert plan.actions == () and plan.findings == () and "already" in plan.notes[0]


def test_a_guest_in_install_mode_is_not_taken_for_the_one_with_devices(host: SimulatedHost) -> None:
    carry_out(host, planned(host, step=RunStep(install=True)))
    assert refusals(planned(host)) == {"device-not-in-guest"}
    (wrong,) = verified(host)
    assert all(device.address in wrong.message for device in DEVICES)


def test_a_configuration_without_a_guest_ends_at_bound(host: SimulatedHost) -> None:
    plan = planned(host, brief(None))
    assert refusals(plan) == {"no-guest"} and "[guest]" in plan.findings[0].hint


def test_probing_changes_nothing(host: SimulatedHost) -> None:
    def everything() -> list[tuple[str, int, int]]:
        paths = [Path(top) / name for top, _, names in os.walk(host.root) for name in names]
        return sorted((str(path), path.lstat().st_mtime_ns, path.lstat().st_size) for path in paths)

    before = everything()
    planned(host)
    assert everything() == before


def test_planning_is_pure(host: SimulatedHost) -> None:
    facts = STEP.probe(host, brief())
    assert STEP.plan(brief(), facts) == STEP.plan(brief(), facts)


@pytest.mark.parametrize(
    ("told", "code"),
    [
        (change(user="alice"), "guest-user"),
        (change(disks=(Disk("/dev/sdz9"),)), "file-missing"),
        (change(cdroms=(Cdrom("/srv/none.iso"),)), "file-missing"),
        (change(firmware="/usr/share/none.bin"), "file-missing"),
        (change(disks=(Disk("/dev/sdc1"),)), "disk-in-use"),
        (change(disks=(Disk("/dev/sda1"),)), "disk-in-use"),
        (change(disks=(Disk("/dev/sda2"),)), "disk-in-use"),
        (change(disks=(Disk("/dev/sda"),)), "disk-in-use"),
        (change(memory=1 << 20), "memory"),
        (change(binary="qemu-system-none"), "qemu-missing"),
        (change(networks=(Network("eth0", "br0"),)), "tap"),
        (change(networks=(Network("tap0", "eth0"),)), "bridge"),
        (brief(devices=(Device("0000:07:00.0", "10de:1200"),)), "device-missing"),
        (brief(devices=(Device("0000:01:00.0", "1002:683f"),)), "vfio-driver"),
        (brief(devices=(dataclasses.replace(DEVICES[1], x_vga=True),)), "x-vga"),
        (brief(devices=(dataclasses.replace(GPU, romfile="/srv/none.rom"),)), "file-missing"),
    ],
)
def test_what_would_make_it_fail_is_refused_before_the_start(host: SimulatedHost, told: Brief, code: str) -> None:
    plan = planned(host, told)
    assert code in refusals(plan)
    assert all(finding.hint for finding in plan.findings)


def test_all_that_stands_against_it_is_told_at_once(host: SimulatedHost) -> None:
    told = change(user="alice", memory=1 << 20, cdroms=(Cdrom("/srv/none.iso"),), machine="q36")
    assert {"guest-user", "memory", "file-missing", "qemu-machine"} <= refusals(planned(host, told))


def test_a_group_with_a_sibling_on_its_driver_is_not_viable(host: SimulatedHost) -> None:
    host.write_attribute("/sys/bus/pci/drivers/vfio-pci/unbind", "0000:03:00.1", timeout=5.0)
    host.run(("modprobe", "snd_hda_intel"), timeout=5.0)
    host.write_attribute("/sys/bus/pci/drivers/snd_hda_intel/bind", "0000:03:00.1", timeout=5.0)
    plan = planned(host, brief(devices=(GPU,)))
    assert refusals(plan) == {"group-not-viable"}
    assert "0000:03:00.1 is under snd_hda_intel" in plan.findings[-1].evidence


def test_kvm_that_is_not_there_is_named_and_emulation_does_without(host: SimulatedHost) -> None:
    host.local("/dev/kvm").unlink()
    assert refusals(planned(host)) == {"kvm-missing"}
    assert refusals(planned(host, change(accel=Accel.TCG))) == set()


def test_an_image_that_the_account_may_not_open_is_refused_with_the_directory_that_bars_it(tmp_path: Path) -> None:
    host = bound_machine(tmp_path / "machine", qemu="7.2.22")
    image = host.local("/home/user/disk.img")
    image.parent.mkdir(parents=True)
    image.write_bytes(b"")
    image.parent.chmod(0o700)
    plan = planned(host, change(disks=(Disk("/home/user/disk.img"),)))
    assert refusals(plan) == {"file-denied"}
    (denied,) = [one for one in plan.findings if one.code == "file-denied"]
    assert denied.evidence == ("/home/user does not let it in",)
    # Read-only media only need to be read, and directories only to be searched.
    image.parent.chmod(0o711)
    image.chmod(0o644)
    assert refusals(planned(host, change(disks=(Disk("/home/user/disk.img"),)))) == {"file-denied"}
    assert refusals(planned(host, change(disks=(Disk("/home/user/disk.img", readonly=True),)))) == set()


def commands(plan: Plan) -> list[str]:
    """The commands planned, as text."""
    return [" ".join(action.argv) for action in plan.actions if isinstance(action, RunCommand)]


def test_a_tap_is_made_in_the_bridge_that_is_there(host: SimulatedHost) -> None:
    assert commands(planned(host)) == [
        "ip tuntap add dev tap0 mode tap user nobody",
        "ip link set dev tap0 master br0",
        "ip link set dev tap0 up",
    ]


def test_a_missing_bridge_is_made_once_for_two_networks(host: SimulatedHost) -> None:
    told = change(networks=(Network("tap0", "br7"), Network("tap1", "br7")))
    found = commands(planned(host, told))
    assert found.count("ip link add name br7 type bridge") == found.count("ip link set dev br7 up") == 1
    carry_out(host, planned(host, told))
    assert verified(host, told) == ()


def test_what_is_there_of_a_network_is_left_alone(host: SimulatedHost) -> None:
    for argv in ("ip tuntap add dev tap0 mode tap", "ip link set tap0 master br0", "ip link set tap0 up"):
        assert host.run(argv.split(), timeout=5.0).ok
    assert commands(planned(host)) == []


def test_the_way_back_of_a_network_leaves_the_machine_as_it_was(host: SimulatedHost) -> None:
    before = sorted(os.listdir(host.local("/sys/class/net")))
    plan = planned(host, change(networks=(Network("tap0", "br7"),)))
    made = [action for action in plan.actions if isinstance(action, RunCommand)]
    for action in made:
        assert host.run(action.argv, timeout=5.0).ok
    for action in reversed(made):
        argv = getattr(action.undo, "argv", None)
        assert argv is None or host.run(argv, timeout=5.0).ok
    assert sorted(os.listdir(host.local("/sys/class/net"))) == before


def test_a_tap_of_another_user_or_in_another_bridge_is_not_taken(host: SimulatedHost) -> None:
    for argv in (
        "ip tuntap add dev tap0 mode tap user 1234",
        "ip link add name br9 type bridge",
        "ip link set tap0 master br9",
    ):
        assert host.run(argv.split(), timeout=5.0).ok
    assert refusals(planned(host)) == {"tap-owner", "tap-bridge"}


def test_a_guest_that_dies_at_once_shows_qemus_last_lines(tmp_path: Path) -> None:
    said = "-device vfio-pci: vfio 0000:03:00.0: failed to setup container"
    host = bound_machine(tmp_path / "machine", faults={"dies": said})
    carry_out(host, planned(host))
    (died,) = verified(host)
    assert died.code == "guest-died" and died.severity is Severity.REFUSAL
    assert any(said in line for line in died.evidence)


def test_the_usual_name_is_not_said_twice(tmp_path: Path) -> None:
    usual = change(name="guest")
    (died,) = STEP.verify(usual, STEP.probe(bound_machine(tmp_path / "machine"), usual))
    assert died.message == "The guest does not run: it has ended."


def test_a_guest_that_is_paused_is_not_running(tmp_path: Path) -> None:
    host = bound_machine(tmp_path / "machine", faults={"status": "paused"})
    carry_out(host, planned(host))
    (wrong,) = verified(host)
    assert wrong.code == "guest-not-running" and "paused" in wrong.message
    assert refusals(planned(host)) == {"guest-not-running"}
    host.kill("win7", timeout=5.0)


def test_a_guest_that_never_speaks_is_a_refusal_after_the_time_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = bound_machine(tmp_path / "machine", qemu="7.2.22", faults={"mute": True})
    told = change(start_timeout=1.0)
    carry_out(host, planned(host, told))
    (silent,) = verified(host, told)
    assert silent.code == "guest-silent" and "no answer" in silent.evidence[0]
    assert refusals(planned(host, told)) == {"guest-silent"}
    monkeypatch.setattr("engine.back.stopping.ASK", 0.2)
    assert "signal" in stop_guest(host, "win7", 0.2)


def test_a_guest_that_lives_and_whose_monitor_is_out_of_reach_has_not_ended(host: SimulatedHost) -> None:
    carry_out(host, planned(host))
    monitor, aside = (host.root / f"run/vfiostate/win7.{suffix}" for suffix in ("qmp", "aside"))
    monitor.rename(aside)
    (silent,) = verified(host, change(start_timeout=0.5))
    assert silent.code == "guest-silent" and "win7.qmp" in silent.evidence[0]
    assert refusals(planned(host, change(start_timeout=0.5))) == {"guest-silent"}
    back = threading.Timer(0.5, aside.rename, [monitor])
    back.start()
    assert verified(host) == ()
    back.join()


def test_a_guest_that_ended_is_started_again(host: SimulatedHost) -> None:
    carry_out(host, planned(host))
    host.qmp("win7", "quit")
    host.kill("win7", timeout=5.0)
    assert [finding.code for finding in verified(host)] == ["guest-died"]
    carry_out(host, planned(host))
    assert verified(host) == ()


def test_a_guest_that_is_killed_without_a_word_shows_how_that_is_known(host: SimulatedHost) -> None:
    carry_out(host, planned(host))
    pid = host.alive("win7")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    (died,) = verified(host)
    assert died.code == "guest-died"
    assert died.evidence[0] == "it printed nothing" and "win7.qmp" in died.evidence[1]


def test_a_reboot_of_the_machine_ends_the_guest(host: SimulatedHost) -> None:
    carry_out(host, planned(host))
    assert verified(host) == ()
    host.request_reboot()
    assert [finding.code for finding in verified(host)] == ["guest-died"]


def test_an_order_for_more_devices_than_slots_is_a_configuration_error(host: SimulatedHost) -> None:
    from journal.errors import ConfigurationError

    networks = tuple(Network(f"tap{number}") for number in range(30))
    with pytest.raises(ConfigurationError, match="slots"):
        planned(host, brief(Guest(networks=networks)))
