"""The step `rebooted`: every kind of wrong boot has an answer of its own."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from journal.errors import Exit
from steps import topology
from steps.base import Finding, Plan, Severity
from steps.boot.grub import CFG
from steps.boot.grub_default import DEFAULT
from steps.config import Stub
from steps.reboot import STEP
from steps.stub import STEP as STUB_STEP
from tests.boot.machine import AUDIO, BOOT, CONF, GPU, NEXT_BOOT, RELEASE, SETUP, USB, Card, Machine, brief

TOKENS = f"vfiostate.setup={SETUP} vfio-pci.ids=10de:1200,10de:0e0c,1002:4397"
WORDS = f"root=/dev/sda1 ro quiet splash {TOKENS}"


def stubbed(**more: object) -> tuple[Machine, Mapping[str, str]]:
    """A machine with the step before done, and what that step remembered."""
    machine = Machine(**more)  # type: ignore[arg-type]
    plan = STUB_STEP.plan(brief(), STUB_STEP.probe(machine.host, brief()))
    machine.apply(plan.actions)
    return machine, plan.remember


def planned(machine: Machine, kept: Mapping[str, str]) -> Plan:
    told = brief(remembered=kept)
    facts = STEP.probe(machine.host, told)
    plan = STEP.plan(told, facts)
    assert plan.actions == ()
    assert STEP.verify(told, facts) == plan.findings
    assert all(finding.message and finding.hint and finding.evidence for finding in plan.findings)
    return plan


def only(machine: Machine, kept: Mapping[str, str]) -> Finding:
    (finding,) = planned(machine, kept).findings
    return finding


@pytest.mark.parametrize("stub", list(Stub))
def test_a_new_boot_with_our_words_and_every_device_under_a_stub_is_good(stub: Stub) -> None:
    machine, kept = stubbed()
    machine.boot(WORDS, driver=stub.value)
    plan = planned(machine, kept)
    assert plan.findings == ()
    assert len(plan.notes) == 3
    seen = topology.decode(plan.remember[topology.KEY])
    assert {**plan.remember, topology.KEY: ""} == {"boot": NEXT_BOOT, "release": RELEASE, topology.KEY: ""}
    assert [function.driver for function in seen] == [stub.value] * 3


def test_without_a_reboot_it_says_so_and_exits_with_3() -> None:
    machine, kept = stubbed()
    finding = only(machine, kept)
    assert (finding.code, finding.exit, finding.severity) == ("not-rebooted", Exit.REBOOT, Severity.REFUSAL)
    assert "advance --reboot" in finding.hint
    assert BOOT in finding.evidence[0]


def test_another_kernel_is_named_with_the_one_that_was_planned() -> None:
    machine, kept = stubbed(releases=(RELEASE, "5.10.0-old"))
    machine.boot(WORDS, driver="vfio-pci", release="5.10.0-old")
    finding = only(machine, kept)
    assert (finding.code, finding.severity) == ("other-kernel-booted", Severity.REFUSAL)
    assert "5.10.0-old" in finding.message
    assert RELEASE in finding.message


def test_a_kernel_that_an_update_made_the_default_will_do_when_all_else_is_right() -> None:
    machine, kept = stubbed()
    machine.releases = ("6.9.0-new", RELEASE)
    machine.update_grub()
    machine.boot(WORDS, driver="vfio-pci", release="6.9.0-new")
    finding = only(machine, kept)
    assert (finding.code, finding.severity) == ("other-kernel-booted", Severity.WARNING)
    machine.boot("root=/dev/sda1 ro quiet", driver="nouveau", release="6.9.0-new")
    assert only(machine, kept).severity is Severity.REFUSAL


@pytest.mark.parametrize("words", ["root=/dev/sda1 ro single", "root=/dev/sda1 ro recovery nomodeset dis_ucode_ldr"])
def test_the_recovery_entry_is_told_from_an_overwritten_command_line(words: str) -> None:
    machine, kept = stubbed()
    machine.boot(words, driver=None)
    assert only(machine, kept).code == "recovery-entry-booted"


def test_a_token_lost_from_the_file_names_the_file() -> None:
    machine, kept = stubbed()
    machine.host.tree[DEFAULT] = b'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'
    machine.update_grub()
    machine.boot("root=/dev/sda1 ro quiet", driver=None)
    finding = only(machine, kept)
    assert finding.code == "token-missing"
    assert f"{DEFAULT} does not have them any more" in finding.message


def test_a_token_lost_from_the_generated_configuration_names_that() -> None:
    machine, kept = stubbed()
    machine.host.tree[CFG] = machine.host.read(CFG).replace(TOKENS.encode(), b"")
    machine.boot("root=/dev/sda1 ro quiet splash", driver=None)
    finding = only(machine, kept)
    assert finding.code == "token-missing"
    assert f"the default entry of {CFG} does not" in finding.message


def test_a_token_that_is_everywhere_but_in_the_boot_points_at_another_boot_loader() -> None:
    machine, kept = stubbed()
    machine.boot("root=/dev/sda1 ro quiet splash", driver=None)
    finding = only(machine, kept)
    assert finding.code == "token-missing"
    assert "another boot loader" in finding.message


def test_ids_that_were_lost_while_the_token_stayed_are_named() -> None:
    machine, kept = stubbed()
    machine.boot(f"root=/dev/sda1 ro vfiostate.setup={SETUP}", driver=None)
    finding = only(machine, kept)
    assert finding.code == "token-missing"
    assert "vfio-pci.ids=" in finding.message
    assert "vfiostate.setup" not in finding.message


def test_a_native_driver_that_won_is_named_with_what_lies_in_the_initramfs() -> None:
    machine, kept = stubbed()
    machine.boot(WORDS, driver="vfio-pci")
    machine.cards[GPU].driver = "nouveau"
    machine.plug()
    finding = only(machine, kept)
    assert finding.code == "native-driver-won"
    assert "nouveau" in finding.message
    assert GPU in finding.message
    image = f"/boot/initrd.img-{RELEASE}"
    assert finding.evidence[1:] == tuple(f"{image}: {name} is in it" for name in ("nouveau", "vfio_pci", CONF))
    machine.images[image].remove("etc/modprobe.d/00-vfiostate.conf")
    assert "rebuilt without" in only(machine, kept).hint


def test_a_built_in_native_driver_is_expected_to_have_won() -> None:
    machine, kept = stubbed(built_in={"ohci_pci"})
    machine.boot(WORDS, driver="vfio-pci")
    machine.cards[USB].driver = "ohci-pci"
    machine.plug()
    finding = only(machine, kept)
    assert (finding.code, finding.severity) == ("native-driver-won", Severity.WARNING)


def test_a_device_without_a_driver_is_a_warning() -> None:
    machine, kept = stubbed()
    machine.boot(WORDS, driver="vfio-pci")
    machine.cards[USB].driver = None
    machine.plug()
    finding = only(machine, kept)
    assert (finding.code, finding.severity) == ("device-without-driver", Severity.WARNING)


def test_devices_that_were_renumbered_are_found_where_they_are_now() -> None:
    machine, kept = stubbed()
    machine.cards["0000:04:00.0"] = machine.cards.pop(GPU)
    machine.cards["0000:04:00.1"] = machine.cards.pop(AUDIO)
    machine.cards[GPU] = Card("1b21:1242", 9, "xhci_hcd", "xhci_pci")
    machine.boot(WORDS, driver=None)
    machine.cards[USB].driver = "vfio-pci"
    machine.plug()
    gpu, audio = planned(machine, kept).findings
    assert gpu.code == audio.code == "devices-renumbered"
    assert "0000:04:00.0" in gpu.message
    assert "1b21:1242" in gpu.message
    assert "there is nothing" in audio.message


def test_an_iommu_that_is_off_after_the_boot_is_named() -> None:
    machine, kept = stubbed()
    for card in machine.cards.values():
        card.group = -1
    machine.boot(WORDS, driver="vfio-pci")
    finding = only(machine, kept)
    assert finding.code == "iommu-off"
    assert "firmware" in finding.hint


def test_a_group_member_that_nobody_spoke_of_is_named() -> None:
    machine, kept = stubbed()
    machine.cards["0000:03:00.2"] = Card("10de:1aeb", 13, "xhci_hcd", "xhci_pci")
    machine.boot(WORDS, driver="vfio-pci")
    finding = only(machine, kept)
    assert finding.code == "group-not-accounted"
    assert "0000:03:00.2" in finding.message


def test_a_wrong_boot_is_one_answer_not_ten() -> None:
    machine, kept = stubbed()
    for card in machine.cards.values():
        card.group = -1
    machine.boot("root=/dev/sda1 ro single", driver="nouveau")
    assert only(machine, kept).code == "recovery-entry-booted"
