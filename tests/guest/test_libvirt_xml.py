"""The domain's XML: pure, stable, and with every device where our own QEMU command line has it."""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from engine.hosts.simulated import domain as translated
from journal.errors import ConfigurationError
from steps.config import Accel, Cdrom, Device, Disk, DiskInterface, Display, Guest, HugePages, Network
from steps.guest.libvirt import Libvirt
from steps.guest.libvirt_xml import domain, uuid_of
from steps.guest.qemu_command import command
from steps.guest.virsh import Installed
from tests.guest.support import ARTICLE, DEVICES, GPU, QEMU_7, SETUP, order

BINARY = "/usr/bin/qemu-system-x86_64"
UEFI = dataclasses.replace(ARTICLE, firmware=None, ovmf_code="/usr/share/OVMF/OVMF_CODE.fd", ovmf_vars="/srv/VARS.fd")
OLD = Installed(True, BINARY, None, (9, 1, 0), keeps=True)
GUESTS = {
    "the article": ARTICLE,
    "UEFI": UEFI,
    "i440fx": dataclasses.replace(ARTICLE, machine="pc"),
    "emulated": dataclasses.replace(ARTICLE, accel=Accel.TCG, cpu="qemu64,+aes,-svm", args=("-device", "usb-ehci")),
    "on VNC": dataclasses.replace(ARTICLE, display=Display.VNC, vnc="[::1]:3"),
    "many disks": Guest(
        disks=tuple(Disk(f"/srv/{n}.img", "qcow2", DiskInterface.SATA) for n in range(9)),
        cdroms=(Cdrom("/srv/a&b<c>.iso"),),
        networks=(Network("tap0"), Network("tap1", model="e1000e")),
    ),
    "placed": dataclasses.replace(
        ARTICLE, accel=Accel.TCG, cpu="qemu64", cores=2, vcpupin=("1", "0"), emulatorpin="0-1", hugepages=HugePages.M2
    ),
    "disguised": dataclasses.replace(
        ARTICLE, cpu="host,kvm=off,hv_vendor_id=abc,hv_relaxed,hv_spinlocks=0x1fff,hv_time"
    ),
}


def parsed(guest: Guest = ARTICLE, devices: tuple[Device, ...] = DEVICES, *, install: bool = False) -> Element:
    """The domain, parsed."""
    return ElementTree.fromstring(domain(order(guest, devices, install=install), BINARY))


def places(words: tuple[str, ...]) -> dict[str, str]:
    """Host function -> where it is in the guest, root ports by their number on the root bus."""
    found, ports = {}, {}
    for word in words:
        if match := re.search(r"pcie-root-port,(?=.*\bid=([\w.]+))(?=.*\baddr=([0-9a-f.]+))", word):
            ports[match[1]] = match[2]
        if match := re.match(r"vfio-pci,host=([^,]+),.*?bus=([\w.]+),addr=(?:0x)?([0-9a-f.]+)(.*)", word):
            slot, _, function = match[3].partition(".")
            several = "multifunction" in word
            found[match[1]] = f"{ports.get(match[2], match[2])} {int(slot, 16)}.{function or 0}"
            assert several == ("multifunction=on" in word)
    return found


def test_uefi_images_in_qcow2_are_said_to_be_and_raw_ones_are_left_to_libvirt() -> None:
    told = dataclasses.replace(order(UEFI), qcow2=frozenset({"/srv/VARS.fd"}))
    found = ElementTree.fromstring(domain(told, BINARY))
    assert [one.get("format") for one in (*found.iterfind("os/loader"), *found.iterfind("os/nvram"))] == [None, "qcow2"]


def test_a_libvirt_without_a_word_for_it_is_not_given_uefi_images_in_qcow2() -> None:
    told = dataclasses.replace(order(UEFI), qcow2=frozenset({"/srv/VARS.fd"}))
    (finding,) = Libvirt().missing(told, OLD)
    assert finding.code == "libvirt-firmware" and "/srv/VARS.fd" in finding.evidence
    assert Libvirt().missing(order(UEFI), OLD) == ()
    assert Libvirt().missing(told, dataclasses.replace(OLD, version=(9, 2, 0))) == ()


@pytest.mark.parametrize("name", GUESTS)
def test_the_same_order_gives_the_same_bytes(name: str) -> None:
    assert domain(order(GUESTS[name]), BINARY) == domain(order(GUESTS[name]), BINARY)


@pytest.mark.parametrize("name", ["the article", "i440fx", "many disks"])
def test_every_device_is_where_our_own_command_line_has_it(name: str) -> None:
    guest = GUESTS[name]
    ours = places(command(order(guest), QEMU_7))
    assert ours.keys() == {device.address for device in DEVICES}
    assert places(translated.command(parsed(guest))) == ours


def test_the_first_function_of_several_says_so() -> None:
    first, second = parsed().findall("devices/hostdev")[:2]
    assert [one.find("address").get("multifunction") for one in (first, second)] == ["on", None]  # type: ignore[union-attr]  # each has one


def test_no_device_is_left_to_libvirt_to_take_from_the_host() -> None:
    found = parsed().findall("devices/hostdev")
    assert [one.get("managed") for one in found] == ["no"] * len(DEVICES)
    assert [translated.address_of(one) for one in found] == [device.address for device in DEVICES]


def test_installing_takes_no_devices_and_shows_a_screen_on_loopback() -> None:
    found = parsed(install=True)
    assert found.find("devices/hostdev") is None
    (graphics,) = found.findall("devices/graphics")
    assert graphics.attrib == {"type": "vnc", "port": "5900", "autoport": "no", "listen": "127.0.0.1"}
    assert parsed().find("devices/graphics") is None


def test_the_uuid_is_the_setups_own() -> None:
    assert parsed().findtext("uuid") == uuid_of(SETUP, "win7") != uuid_of(SETUP, "win8") != uuid_of("x", "win7")


def test_x_vga_is_given_to_the_device_that_has_it_and_no_other() -> None:
    text = domain(order(devices=(GPU, *DEVICES[1:])), BINARY).decode()
    assert re.findall(r'qemu:device alias="([^"]+)"', text) == ["ua-vfio-0000-03-00-0"]
    assert "qemu:" not in domain(order(devices=DEVICES[1:]), BINARY).decode()


def test_the_hypervisor_is_hidden_where_the_cpu_says_so() -> None:
    found = parsed(GUESTS["disguised"])
    hidden, vendor = found.find("features/kvm/hidden"), found.find("features/hyperv/vendor_id")
    assert hidden is not None and hidden.get("state") == "on"
    assert vendor is not None and vendor.get("value") == "abc"
    assert found.find("clock/timer[@name='hypervclock']") is not None
    assert found.findall("cpu/feature") == []


def test_a_path_with_characters_of_xml_stays_itself() -> None:
    sources = [one.get("file") for one in parsed(GUESTS["many disks"]).findall("devices/disk/source")]
    assert sources[-1] == "/srv/a&b<c>.iso"


def test_more_devices_than_slots_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="slots"):
        parsed(Guest(networks=tuple(Network(f"tap{number}") for number in range(30))))


def test_a_guest_that_is_placed_says_where_and_not_while_it_is_installed() -> None:
    found = parsed(GUESTS["placed"])
    pins = [(one.get("vcpu"), one.get("cpuset")) for one in found.findall("cputune/vcpupin")]
    assert pins == [("0", "1"), ("1", "0")]
    assert [one.get("cpuset") for one in found.findall("cputune/emulatorpin")] == ["0-1"]
    (page,) = found.findall("memoryBacking/hugepages/page")
    assert page.attrib == {"size": "2", "unit": "M"}
    installed = parsed(GUESTS["placed"], install=True)
    assert installed.find("cputune") is None and installed.find("memoryBacking") is None
    assert parsed().find("cputune") is None and parsed().find("memoryBacking") is None
