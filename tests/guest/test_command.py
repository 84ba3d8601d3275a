"""QEMU's command line: the article's guest, in the form that is right for the installed QEMU."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.hosts.simulated.qemu_guest import split
from steps.config import Accel, Device, Disk, DiskInterface, Display, Guest, HugePages, Network
from steps.guest import flash
from steps.guest.base import device_id
from steps.guest.capabilities import Capabilities
from steps.guest.qemu import Qemu
from steps.guest.qemu_command import command, escape, stable_mac
from tests.guest.support import ARTICLE, AUDIO, DEVICES, GPU, QEMU_1_5, QEMU_7, USB, order
from tests.support.memory_host import MemoryHost


def values(argv: tuple[str, ...], option: str) -> list[str]:
    """The values of an option, in order."""
    return [value for word, value in itertools.pairwise(argv) if word == option]


def devices(argv: tuple[str, ...], kind: str) -> list[dict[str, str]]:
    """The properties of all devices of a kind."""
    parsed = [split(value) for value in values(argv, "-device")]
    return [keys for name, keys in parsed if name == kind]


@pytest.mark.parametrize("found", [QEMU_1_5, QEMU_7], ids=["1.5", "7.2"])
def test_the_articles_guest_is_the_articles_guest(found: Capabilities) -> None:
    argv = command(order(), found)
    one = {option: values(argv, option) for option in argv if option.startswith("-")}
    assert one["-machine"] == ["q35,accel=kvm"]
    assert one["-m"] == ["1024"]
    assert one["-cpu"] == ["host"]
    assert one["-smp"] == ["1,sockets=1,cores=1,threads=1"]
    assert one["-rtc"] == ["base=localtime"]
    assert one["-boot"] == ["menu=on"]
    assert one["-bios"] == ["/usr/share/qemu/bios.bin"]
    assert one["-vga"] == ["none"] and one["-display"] == ["none"]
    assert devices(argv, "virtio-balloon-pci")[0]["addr"] == "0x6"
    disk = devices(argv, "virtio-blk-pci")[0]
    assert (disk["addr"], disk["bootindex"]) == ("0x5", "2")
    assert [cd.get("bootindex") for cd in devices(argv, "ide-cd")] == ["1", None]
    files = [split(value)[1]["file"] for value in values(argv, "-drive")]
    assert files == ["/dev/sdc6", "/srv/windows7.iso", "/srv/virtio-win-0.1-74.iso"]
    assert [split(value)[1].get("readonly") for value in values(argv, "-drive")] == [None, "on", "on"]
    tap = split(values(argv, "-netdev")[0])[1]
    assert (tap["ifname"], tap["script"], tap["downscript"]) == ("tap0", "no", "no")
    assert devices(argv, "virtio-net-pci")[0]["mac"] == "52:54:00:26:7f:96"


@pytest.mark.parametrize(("found", "port"), [(QEMU_1_5, "ioh3420"), (QEMU_7, "pcie-root-port")], ids=["1.5", "7.2"])
def test_a_card_stays_together_behind_a_root_port_and_the_chipsets_usb_goes_on_the_root_bus(
    found: Capabilities, port: str
) -> None:
    argv = command(order(), found)
    (root,) = devices(argv, port)
    assert (root["bus"], root["addr"]) == ("pcie.0", "1c.0")
    gpu, audio, ohci, ehci = devices(argv, "vfio-pci")
    assert gpu["bus"] == audio["bus"] == root["id"]
    assert (gpu["addr"], gpu["multifunction"], gpu["x-vga"]) == ("00.0", "on", "on")
    assert audio["addr"] == "00.1" and "multifunction" not in audio
    assert ohci["bus"] == ehci["bus"] == "pcie.0"
    assert [one["host"] for one in (gpu, audio, ohci, ehci)] == [device.address for device in DEVICES]


def test_an_old_qemu_gets_the_articles_forms_and_a_new_one_does_not() -> None:
    old, new = command(order(), QEMU_1_5), command(order(), QEMU_7)
    assert devices(old, "virtio-blk-pci")[0]["scsi"] == "off"
    assert values(old, "-acpitable") == ["file=/usr/share/seabios/q35-acpi-dsdt.aml"]
    assert "scsi" not in devices(new, "virtio-blk-pci")[0]
    assert "-acpitable" not in new


def test_a_new_qemu_is_confined_and_inherits_its_monitor() -> None:
    argv = command(order(), QEMU_7)
    assert values(argv, "-sandbox") == ["on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    assert values(argv, "-chardev") == ["socket,id=qmp,fd=0,server=on,wait=off"]
    assert "-runas" not in argv
    start = Qemu().start(order(), QEMU_7)
    assert start.inherits_socket and not start.drops_root


def test_an_old_qemu_makes_its_monitor_as_root_and_leaves_root() -> None:
    argv = command(order(), QEMU_1_5)
    assert values(argv, "-runas") == ["nobody"]
    assert values(argv, "-chardev") == ["socket,id=qmp,path=/run/vfiostate/win7.qmp,server=on,wait=off"]
    assert Qemu().start(order(), QEMU_1_5).drops_root


def test_a_filter_that_forbids_setuid_does_not_meet_runas() -> None:
    between = dataclasses.replace(QEMU_7, inherits_socket=False)
    argv = command(order(), between)
    assert values(argv, "-runas") == ["nobody"]
    assert "elevateprivileges" not in values(argv, "-sandbox")[0]


def test_the_sandbox_is_left_out_when_the_configuration_says_so() -> None:
    assert "-sandbox" not in command(order(dataclasses.replace(ARTICLE, sandbox=False)), QEMU_7)


def test_nothing_is_taken_from_defaults_or_the_users_files() -> None:
    assert {"-nodefaults", "-no-user-config"} <= set(command(order(), QEMU_7))


def test_install_mode_has_no_devices_and_a_screen_on_vnc() -> None:
    argv = command(order(install=True), QEMU_7)
    assert not devices(argv, "vfio-pci") and not devices(argv, "pcie-root-port")
    assert values(argv, "-vnc") == ["127.0.0.1:0"] and values(argv, "-vga") == ["std"]


def test_a_card_whose_first_function_stays_with_the_host_is_numbered_anew() -> None:
    (only,) = devices(command(order(devices=(AUDIO,)), QEMU_7), "vfio-pci")
    assert only["addr"] == "00.0" and "multifunction" not in only


def test_each_card_has_a_root_port_of_its_own() -> None:
    cards = tuple(Device(f"0000:{bus:02x}:00.0", "10de:1200") for bus in range(3, 15))
    argv = command(order(devices=cards), QEMU_7)
    ports = devices(argv, "pcie-root-port")
    assert len({port["addr"] for port in ports}) == len({port["chassis"] for port in ports}) == len(cards)
    assert [one["bus"] for one in devices(argv, "vfio-pci")] == [port["id"] for port in ports]


def test_a_machine_without_pci_express_gets_no_root_ports() -> None:
    argv = command(order(dataclasses.replace(ARTICLE, machine="pc")), QEMU_7)
    assert not devices(argv, "pcie-root-port")
    assert {one["bus"] for one in devices(argv, "vfio-pci")} == {"pci.0"}


def test_domains_of_five_digits_are_passed_in_full() -> None:
    (only,) = devices(command(order(devices=(Device("10000:01:00.0", "8086:0a54"),)), QEMU_7), "vfio-pci")
    assert only["host"] == "10000:01:00.0"


def test_uefi_comes_as_a_pair_of_flash_images() -> None:
    guest = dataclasses.replace(ARTICLE, firmware=None, ovmf_code="/usr/share/OVMF/C,4M.fd", ovmf_vars="/var/lib/v.fd")
    flash = [split(value)[1] for value in values(command(order(guest), QEMU_7), "-drive") if "pflash" in value]
    assert [one["file"] for one in flash] == ["/usr/share/OVMF/C,4M.fd", "/var/lib/v.fd"]
    assert [one.get("readonly") for one in flash] == ["on", None]


def test_a_uefi_image_in_qcow2_is_said_to_be_one_by_what_is_in_it() -> None:
    code, variables = "/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2", "/var/lib/v.fd"
    guest = dataclasses.replace(ARTICLE, firmware=None, ovmf_code=code, ovmf_vars=variables)
    found = flash.qcow2(MemoryHost({code: b"QFI\xfb\0\0\0\3", variables: b"\0" * 16 + b"_FVH"}), guest)
    assert found == {code} and flash.qcow2(MemoryHost({}), guest) == frozenset()
    argv = command(dataclasses.replace(order(guest), qcow2=found), QEMU_7)
    told = [split(value)[1] for value in values(argv, "-drive") if "pflash" in value]
    assert [(one["file"], one["format"]) for one in told] == [(code, "qcow2"), (variables, "raw")]


def test_the_users_own_arguments_come_last_and_as_they_are() -> None:
    guest = dataclasses.replace(ARTICLE, args=("-device", "usb-tablet,x=a,,b"))
    assert command(order(guest), QEMU_7)[-2:] == guest.args


def test_the_best_emulated_cpu_stands_for_host_without_kvm() -> None:
    guest = dataclasses.replace(ARTICLE, accel=Accel.TCG, cpu="host,-svm")
    assert values(command(order(guest), QEMU_7), "-cpu") == ["max,-svm"]
    assert values(command(order(guest), QEMU_1_5), "-cpu") == ["qemu64,-svm"]


def test_a_network_without_a_mac_keeps_the_same_one() -> None:
    mac = stable_mac("0123456789ab", "tap0")
    assert mac == stable_mac("0123456789ab", "tap0") != stable_mac("0123456789ab", "tap1")
    assert mac.startswith("52:54:00:") and len(mac) == 17


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
@settings(deadline=None)
def test_any_path_survives_qemus_escaping(path: str) -> None:
    assert split(f"x,file={escape(path)},if=none")[1] == {"file": path, "if": "none"}


DISKS = st.builds(
    Disk, st.sampled_from(["/a", "/b,c", "/d"]), interface=st.sampled_from(DiskInterface), readonly=st.just(False)
)
GUESTS = st.builds(
    Guest,
    disks=st.lists(DISKS, max_size=9).map(tuple),
    networks=st.lists(st.builds(Network, st.sampled_from(["tap0", "tap1"])), max_size=3).map(tuple),
    balloon=st.booleans(),
    display=st.sampled_from(Display),
)


@given(GUESTS, st.sets(st.sampled_from([GPU, AUDIO, *USB, Device("0000:05:00.0", "8086:10d3")])), st.booleans())
@settings(deadline=None, max_examples=200)
def test_no_two_devices_share_a_place_or_an_id(guest: Guest, given_devices: set[Device], old: bool) -> None:
    argv = command(order(guest, tuple(given_devices)), QEMU_1_5 if old else QEMU_7)
    parsed = [split(value)[1] for value in values(argv, "-device")]
    places = [(keys["bus"], _slot(keys["addr"])) for keys in parsed if "addr" in keys]
    sata = [keys["bus"] for keys in parsed if keys["bus"].startswith("ahci")]
    ids = [keys["id"] for keys in parsed]
    assert len(set(places)) == len(places) and len(set(sata)) == len(sata) and len(set(ids)) == len(ids)
    assert {device_id(device.address) for device in given_devices} <= set(ids)
    made = set(_buses(parsed))
    assert all(keys["bus"] in made for keys in parsed)


def _slot(addr: str) -> tuple[int, int]:
    slot, _, function = addr.partition(".")
    return int(slot, 16), int(function or "0", 16)


def _buses(parsed: list[dict[str, str]]) -> Iterator[str]:
    yield "pcie.0"
    for keys in parsed:
        yield keys["id"]
        yield from (f"{keys['id']}.{port}" for port in range(6))


@pytest.mark.parametrize("found", [QEMU_1_5, QEMU_7], ids=["1.5", "7.2"])
def test_memory_in_huge_pages_comes_from_the_file_system_of_their_size_before_the_guest_begins(
    found: Capabilities,
) -> None:
    guest = dataclasses.replace(ARTICLE, hugepages=HugePages.G1)
    argv = command(order(guest), found)
    assert values(argv, "-mem-path") == ["/run/vfiostate-hugepages-1G"] and "-mem-prealloc" in argv
    assert "-mem-path" not in command(order(guest, install=True), found)
    assert "-mem-path" not in command(order(), found)
