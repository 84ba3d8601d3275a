"""What `doctor` finds: every area with its evidence and its cure, also where some of it may not be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.doctor import NOTHING
from engine.hosts.simulated.host import SimulatedHost
from steps import bars, cards, iommu
from steps.base import Brief, Finding, Severity
from steps.config import Accel, Config, Device, Guest
from steps.cpu import CpuVendor
from steps.doctor import Area, Standing, examine
from steps.firmware import Switch, named
from steps.pci import read_function
from tests.support.memory_host import Denied, MemoryHost, Node, completed
from tests.support.pci_tree import Card, sysfs
from tests.support.simulated import machine

GPU = Card("0000:03:00.0", "10de:1200", "030000", "nouveau", 11, boot_vga="0")
AUDIO = Card("0000:03:00.1", "10de:0e0c", "040300", "snd_hda_intel", 11)
BOOT_GPU = Card("0000:01:00.0", "1002:68f9", "030000", "radeon", 5, boot_vga="1")
AMD: dict[str, Node] = {
    "/proc/cpuinfo": b"vendor_id\t: AuthenticAMD\nflags\t\t: fpu sse\n",
    "/proc/cmdline": b"quiet\n",
}


def looked(host: SimulatedHost | MemoryHost, config: Config = NOTHING) -> dict[str, Area]:
    return {area.name: area for area in examine(host, Brief(config, "000000000000", host.boot_id))}


def blocking(areas: dict[str, Area]) -> set[str]:
    return {name for name, area in areas.items() if area.standing is Standing.BLOCKS}


def only(area: Area) -> Finding:
    assert len(area.findings) == 1, area
    return area.findings[0]


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("article", set()),
        ("intel-twins", set()),
        ("debian12-lab", {"virtualization"}),
        ("iommu-off", {"IOMMU", "devices"}),
        ("shared-group", {"devices"}),
    ],
)
def test_each_machine_that_is_shipped_is_told_what_stands_in_its_way(
    tmp_path: Path, name: str, blocks: set[str]
) -> None:
    areas = looked(machine(tmp_path / "m", name))
    assert blocking(areas) == blocks
    for area in areas.values():
        for finding in area.findings:
            assert finding.evidence and finding.hint, finding


def test_nothing_is_written_by_looking(tmp_path: Path) -> None:
    host = machine(tmp_path / "m", "article")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "m").rglob("*") if not path.is_symlink()}
    looked(host)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "m").rglob("*") if not path.is_symlink()}
    assert after == before


def test_an_iommu_that_is_off_names_the_switch_of_that_makers_boards(tmp_path: Path) -> None:
    hint = only(looked(machine(tmp_path / "m", "iommu-off"))["IOMMU"]).hint
    assert named(Switch.IOMMU, CpuVendor.AMD) in hint and "VT-d" not in hint


@pytest.mark.parametrize(
    "line",
    [
        "[    0.05] x86/cpu: VMX (outside TXT) disabled by BIOS",
        "[    0.41] SVM disabled (by BIOS) in MSR_VM_CR",
        "[    9.02] kvm_intel: VMX not enabled (by BIOS) in MSR_IA32_FEAT_CTL on CPU 0",
        "[    9.02] kvm: disabled by bios",
    ],
)
def test_a_cpu_whose_virtualization_the_firmware_hides_is_not_called_one_that_cannot(line: str) -> None:
    log = completed(("dmesg",), f"[    0.0] Linux version 6.8.0\n{line}\n")
    found = iommu.read_iommu(MemoryHost(dict(AMD), answers={"dmesg": log}))
    assert iommu.judge(found) is iommu.IommuState.OFF_IN_FIRMWARE
    (said,) = iommu.findings(found, allow_unsafe=False, guest=True)
    assert f"kernel log: {line}" in said.evidence
    assert "SVM Mode" in said.hint and "IOMMU" in said.hint


def test_virtualization_that_the_firmware_forbids_blocks_although_the_flag_shows() -> None:
    tree: dict[str, Node] = {**AMD, "/proc/cpuinfo": b"vendor_id\t: AuthenticAMD\nflags\t\t: svm\n"}
    log = completed(("dmesg",), "[    8.1] kvm: disabled by bios\n")
    area = looked(MemoryHost(tree, answers={"dmesg": log}))["virtualization"]
    assert only(area).code == "kvm-forbidden" and "SVM Mode" in only(area).hint


def test_a_kernel_log_that_may_not_be_read_is_named_and_blocks_nothing(tmp_path: Path) -> None:
    area = looked(MemoryHost({**AMD, **sysfs(GPU), "/sys/kernel/iommu_groups/11/devices": None}))["IOMMU"]
    assert area.standing is Standing.OK
    assert area.unseen and "kernel log" in area.unseen[0]


def test_what_only_root_may_read_is_named_and_the_rest_is_looked_at() -> None:
    tree: dict[str, Node] = {
        **AMD,
        **sysfs(GPU, BOOT_GPU),
        "/etc/default/grub": b"GRUB_CMDLINE_LINUX_DEFAULT=quiet\n",
        "/boot/grub/grub.cfg": Denied(),
    }
    areas = looked(MemoryHost(tree, commands={"sh", "update-grub"}))
    assert areas["boot loader"].standing is Standing.UNSEEN
    assert areas["boot loader"].unseen == ("/boot/grub/grub.cfg may be read by root only",)
    assert areas["devices"].said == "1 of 2 can be taken, 1 of 2 graphics cards"


def test_a_missing_command_names_its_package() -> None:
    area = looked(MemoryHost({**AMD, **sysfs(GPU, BOOT_GPU)}, commands={"sh", "modprobe"}))["tools and room"]
    assert area.standing is Standing.BLOCKS
    assert any("qemu-system-x86" in finding.hint for finding in area.findings)


def test_a_host_without_any_device_is_not_called_ready() -> None:
    assert only(looked(MemoryHost({**AMD, **sysfs()}))["devices"]).code == "no-pci"


def test_the_only_graphics_card_is_a_warning_and_says_how_to_take_it_all_the_same() -> None:
    nic = Card("0000:05:00.0", "8086:1533", "020000", "igb", 14)
    area = looked(MemoryHost({**AMD, **sysfs(BOOT_GPU, nic)}))["devices"]
    assert area.standing is Standing.LOOK
    assert "--allow-boot-vga" in only(area).hint and "Primary Display" in only(area).hint


def test_groups_that_only_the_acs_override_makes_are_a_warning(tmp_path: Path) -> None:
    host = machine(tmp_path / "m", "article")
    path = "/proc/cmdline"
    words = host.read(path).rstrip(b"\n") + b" pcie_acs_override=downstream\n"
    (tmp_path / "m" / path.lstrip("/")).write_bytes(words)
    area = looked(host)["boot loader"]
    assert (area.standing, only(area).code) == (Standing.LOOK, "acs-override")


def test_configured_devices_are_judged_instead_of_all(tmp_path: Path) -> None:
    host = machine(tmp_path / "m", "article")
    taken = Config((Device("0000:01:00.0", "1002:683f"), Device("0000:01:00.1", "1002:aab0")), guest=Guest())
    codes = {
        finding.code for finding in looked(host, taken)["devices"].findings if finding.severity is Severity.REFUSAL
    }
    assert codes == {"boot-vga"}


# --- cards


def test_a_graphics_card_goes_with_its_audio_and_with_all_of_its_group() -> None:
    usb = Card("0000:04:00.0", "1106:3483", "0c0330", "xhci_hcd", 11)
    apart = Card("0000:03:00.2", "10de:1ad6", "0c0330", "xhci_hcd", 12)
    host = MemoryHost(sysfs(GPU, AUDIO, usb, apart, BOOT_GPU))
    first, _ = cards.read_cards(host, Config(()), iommu.read_iommu(host))
    assert [function.address for function in first.functions] == [
        GPU.address,
        AUDIO.address,
        apart.address,
        usb.address,
    ]
    assert first.groups == (11, 12)
    assert [function.address for function in cards.fellows(first)] == [usb.address]


def test_without_groups_a_card_is_what_sits_in_one_slot() -> None:
    found = cards.read_cards(
        host := MemoryHost(
            sysfs(*(Card(one.address, one.id, one.class_code, one.driver) for one in (GPU, AUDIO, BOOT_GPU)))
        ),
        Config(()),
        iommu.read_iommu(host),
    )
    assert [len(card.functions) for card in found] == [1, 2]


def test_what_is_part_of_the_board_is_never_offered() -> None:
    board = [
        Card(f"0000:00:1f.{number}", "8086:2918", code, None, 6)
        for number, code in enumerate(("060100", "050000", "080600", "0c0500"))
    ]
    host = MemoryHost(sysfs(GPU, *board))
    found = cards.read_cards(host, Config(()), iommu.read_iommu(host))
    assert [card.main.address for card in found] == [GPU.address]


def test_a_card_that_shares_its_group_with_the_root_disk_says_so(tmp_path: Path) -> None:
    host = machine(tmp_path / "m", "shared-group")
    found = cards.read_cards(host, Config(()), iommu.read_iommu(host))
    (card,) = (card for card in found if card.main.address == "0000:01:00.0")
    assert cards.why_not(card).startswith("goes only with 0000:02:00.0, which holds disks that the host uses")


# --- memory that found no room


def test_memory_without_an_address_asks_for_above_4g_decoding() -> None:
    lines = [
        "0x00000000f6000000 0x00000000f6ffffff 0x0000000000040200",
        "0x0000000000000000 0x00000003ffffffff 0x000000002014220c",
        "0x0000000000000000 0x0000000000000000 0x0000000000000000",
    ]
    host = MemoryHost(sysfs(GPU) | {"/sys/devices/pci0000:00/0000:03:00.0/resource": "\n".join(lines).encode()})
    (bar,) = unplaced = bars.homeless(host, GPU.address)
    assert (bar.number, bar.size) == (1, 16 << 30)
    function = read_function(host, GPU.address)
    assert function is not None
    said = bars.finding(function, unplaced, CpuVendor.AMD)
    assert "Above 4G Decoding" in said.hint and "BAR 1 of 16384 MiB" in said.evidence[0]
    assert said.severity is Severity.WARNING


def test_an_unplaced_rom_or_port_is_no_reason_to_complain() -> None:
    rom = "0x0000000000000000 0x000000000007ffff 0x0000000020046200"
    port = "0x0000000000000000 0x000000000000007f 0x0000000020040101"
    none = "0x0000000000000000 0x0000000000000000 0x0000000000000000"
    content = "\n".join([port, *[none] * 5, rom]).encode()
    host = MemoryHost(sysfs(GPU) | {"/sys/devices/pci0000:00/0000:03:00.0/resource": content})
    assert bars.homeless(host, GPU.address) == ()


def test_a_lack_that_matters_to_nothing_is_told_with_why(tmp_path: Path) -> None:
    emulated = Config((), guest=Guest(accel=Accel.TCG))
    assert looked(machine(tmp_path / "lab", "debian12-lab"), emulated)["virtualization"].said.endswith(
        "neither vmx nor svm; not needed by accel = tcg"
    )
    assert looked(machine(tmp_path / "off", "iommu-off"))["devices"].said.endswith("; none before the IOMMU is on")
