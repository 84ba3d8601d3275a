"""Both steps on the simulated machine, over its reboots: its kernel decides who gets the devices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.hosts.base import Attributes
from engine.hosts.simulated.boot import Entry
from engine.hosts.simulated.host import SimulatedHost
from steps.actions import EditFile, RunCommand
from steps.base import Brief, Finding, Severity
from steps.boot.grub_default import DEFAULT
from steps.config import Config, Device, Stub
from steps.reboot import STEP as REBOOT
from steps.softdeps import CONF, FORMER
from steps.stub import STEP as STUB

SETUP = "0123456789ab"
DEVICES = {
    "article": (
        Device("0000:03:00.0", "10de:1200"),
        Device("0000:03:00.1", "10de:0e0c"),
        Device("0000:00:12.0", "1002:4397"),
        Device("0000:00:12.2", "1002:4396"),
    ),
    "debian12-lab": (
        Device("0000:01:00.0", "1234:1111"),
        Device("0000:01:00.1", "8086:2668"),
        Device("0000:02:00.0", "1b36:000d"),
    ),
}


def stubbed(
    folder: Path, machine: str, stub: Stub, *, softdeps: bool = True, trial: bool = True, files: Mapping[str, str] = {}
) -> tuple[SimulatedHost, Brief]:
    """A machine on which the step `stubbed` was done (`softdeps`: with its file in modprobe.d; `trial`: with a trial
    boot; `files`: with these besides), and the next brief."""
    host = SimulatedHost.create_if_missing(folder / machine, machine)
    for path, text in files.items():
        host.write_file(path, text.encode(), Attributes(0o644, 0, 0))
    told = Brief(Config(DEVICES[machine], stub), SETUP, host.boot_id, trial=trial)
    plan = STUB.plan(told, STUB.probe(host, told))
    for action in plan.actions:
        if isinstance(action, EditFile) and (softdeps or "modprobe.d" not in action.path):
            host.write_file(action.path, action.content, Attributes(action.mode, 0, 0))
        elif isinstance(action, RunCommand):
            assert host.run(action.argv, timeout=60.0).ok
    if softdeps:
        assert STUB.verify(told, STUB.probe(host, told)) == ()
    return host, Brief(told.config, SETUP, told.boot, {"stubbed": plan.remember})


def judged(host: SimulatedHost, told: Brief) -> list[str]:
    return [finding.code for finding in said(host, told) if finding.severity is Severity.REFUSAL]


def said(host: SimulatedHost, told: Brief) -> tuple[Finding, ...]:
    return REBOOT.plan(told, REBOOT.probe(host, told)).findings


@pytest.mark.parametrize("stub", list(Stub))
@pytest.mark.parametrize("machine", list(DEVICES))
def test_the_next_boot_gives_the_devices_to_the_stub(machine: str, stub: Stub, tmp_path: Path) -> None:
    host, told = stubbed(tmp_path, machine, stub)
    assert judged(host, told) == ["not-rebooted"]
    host.reboot()
    assert judged(host, told) == []


@pytest.mark.parametrize("path", ["/etc/modprobe.d/nic.conf", "/lib/modules/6.1.0-56-amd64/modules.softdep"])
def test_a_softdep_that_a_native_module_has_already_does_not_hide_ours(path: str, tmp_path: Path) -> None:
    host, told = stubbed(
        tmp_path, "debian12-lab", Stub.VFIO_PCI, files={path: "softdep bochs pre: i2c_algo_bit post: usbhid\n"}
    )
    host.reboot()
    assert judged(host, told) == []


def test_a_setup_whose_file_has_its_former_name_goes_on(tmp_path: Path) -> None:
    host, told = stubbed(tmp_path, "debian12-lab", Stub.VFIO_PCI)
    host.write_file(FORMER, host.read(CONF), Attributes(0o644, 0, 0))
    host.remove_file(CONF)
    assert host.run(("update-initramfs", "-u", "-k", "all"), timeout=60.0).ok
    assert STUB.verify(told, STUB.probe(host, told)) == ()
    host.reboot()
    assert judged(host, told) == []


def test_the_article_s_usb_controllers_stay_with_their_built_in_drivers_under_vfio_pci(tmp_path: Path) -> None:
    host, told = stubbed(tmp_path, "article", Stub.VFIO_PCI)
    host.reboot()
    assert [(each.code, each.severity) for each in said(host, told)] == [("native-driver-won", Severity.WARNING)] * 2


def test_without_its_softdep_the_native_driver_wins_and_is_named(tmp_path: Path) -> None:
    host, told = stubbed(tmp_path, "debian12-lab", Stub.PCI_STUB, softdeps=False)
    host.reboot()
    findings = said(host, told)
    assert "native-driver-won" in judged(host, told)
    assert any("bochs-drm" in finding.message for finding in findings)


def test_the_recovery_entry_is_named(tmp_path: Path) -> None:
    host, told = stubbed(tmp_path, "debian12-lab", Stub.VFIO_PCI)
    host.reboot(Entry.RECOVERY)
    assert judged(host, told) == ["recovery-entry-booted"]


def test_a_kernel_installed_before_the_trial_boot_is_named_as_not_tried(tmp_path: Path) -> None:
    host, told = stubbed(tmp_path, "debian12-lab", Stub.VFIO_PCI)
    host.install_kernel("6.1.0-99-amd64")
    host.reboot()
    assert host.release == "6.1.0-56-amd64"
    assert [(each.code, each.severity) for each in said(host, told)] == [("kernel-not-tried", Severity.WARNING)]


def test_a_new_kernel_whose_initramfs_lacks_the_stub_is_not_made_to_boot_with_our_words(tmp_path: Path) -> None:
    host, told = stubbed(tmp_path, "debian12-lab", Stub.VFIO_PCI)
    content = host.read(CONF)
    host.remove_file(CONF)
    host.install_kernel("6.1.0-99-amd64")
    host.write_file(CONF, content, Attributes(0o644, 0, 0))
    host.reboot()
    assert judged(host, told) == ["initramfs-incomplete"]
    assert REBOOT.plan(told, REBOOT.probe(host, told)).actions == ()
    assert host.run(("update-initramfs", "-u", "-k", "6.1.0-99-amd64"), timeout=60.0).ok
    assert judged(host, told) == []


def test_without_a_trial_a_kernel_installed_before_the_reboot_is_named_and_will_do(tmp_path: Path) -> None:
    host, told = stubbed(tmp_path, "debian12-lab", Stub.VFIO_PCI, trial=False)
    host.install_kernel("6.1.0-99-amd64")
    host.reboot()
    assert host.release == "6.1.0-99-amd64"
    assert [(each.code, each.severity) for each in said(host, told)] == [("other-kernel-booted", Severity.WARNING)]


@pytest.mark.parametrize("trial", [True, False])
def test_the_previous_kernel_is_named(trial: bool, tmp_path: Path) -> None:
    host = SimulatedHost.create_if_missing(tmp_path / "debian12-lab", "debian12-lab")
    host.install_kernel("6.1.0-99-amd64")
    host, told = stubbed(tmp_path, "debian12-lab", Stub.VFIO_PCI, trial=trial)
    assert told.remembered["stubbed"]["release"] == "6.1.0-99-amd64"
    host.reboot(Entry.PREVIOUS)
    assert judged(host, told) == ["other-kernel-booted"]


def test_a_file_that_was_overwritten_before_the_trial_boot_is_named_and_not_edited(tmp_path: Path) -> None:
    host, told = stubbed(tmp_path, "debian12-lab", Stub.VFIO_PCI)
    host.write_file(DEFAULT, b'GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\n', Attributes(0o644, 0, 0))
    host.run(("update-grub",), timeout=60.0)
    host.reboot()
    (finding,) = said(host, told)
    assert finding.code == "line-changed-since-trial"
    assert finding.evidence == ("tried with 'quiet'", "now 'quiet splash'")
    assert REBOOT.plan(told, REBOOT.probe(host, told)).actions == ()


def test_without_a_trial_a_file_that_was_overwritten_before_the_reboot_is_named(tmp_path: Path) -> None:
    host, told = stubbed(tmp_path, "debian12-lab", Stub.VFIO_PCI, trial=False)
    host.write_file(DEFAULT, b'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n', Attributes(0o644, 0, 0))
    host.run(("update-grub",), timeout=60.0)
    host.reboot()
    (finding,) = said(host, told)
    assert finding.code == "token-missing"
    assert DEFAULT in finding.message
