"""A libvirt domain's XML as the command line of the QEMU double: as much of it as the double holds against the machine.

In the form of `virsh domxml-to-native qemu-argv` (libvirt 9.0).
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
NETWORK_CARDS = {"virtio": "virtio-net-pci"}


def address_of(hostdev: Element) -> str:
    """The host's function that a <hostdev> names."""
    found = _inner(hostdev, "source/address")
    domain, bus, slot, function = (int(found.get(key, "0"), 16) for key in ("domain", "bus", "slot", "function"))
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def command(root: Element) -> tuple[str, ...]:
    """The command line, its monitor on the socket that it inherits."""
    kind = {"kvm": "kvm", "qemu": "tcg"}[root.get("type", "")]
    machine = _inner(root, "os/type").get("machine", "")
    conventional = root.find("devices/controller[@model='pci-root']") is not None
    return (
        root.findtext("devices/emulator", ""),
        *("-name", root.findtext("name", ""), "-machine", f"{machine},accel={kind}", "-nodefaults"),
        *("-chardev", "socket,id=qmp,fd=0,server=on,wait=off", "-mon", "chardev=qmp,mode=control"),
        *("-m", root.findtext("memory", "128"), "-smp", root.findtext("vcpu", "1")),
        *_memory(root),
        *_firmware(root),
        *("-vga", "std" if root.find("devices/graphics") is not None else "none"),
        *_devices(root, "pci.0" if conventional else "pcie.0"),
        *(one.get("value", "") for one in root.findall(f"{QEMU}commandline/{QEMU}arg")),
    )


def _inner(parent: Element, path: str) -> Element:
    found = parent.find(path)
    if found is None:
        raise ValueError(f"<{parent.tag}> has no {path}")
    return found


def _memory(root: Element) -> Iterator[str]:
    page = root.find("memoryBacking/hugepages/page")
    if page is not None:
        size = f"hugetlb=on,hugetlbsize={page.get('size')}{page.get('unit')}"
        yield from ("-object", f"memory-backend-memfd,id=pc.ram,{size},prealloc=on")


def _firmware(root: Element) -> Iterator[str]:
    if path := root.findtext("os/loader[@type='rom']"):
        yield from ("-bios", path)
    for unit, one in enumerate((root.find("os/loader[@type='pflash']"), root.find("os/nvram"))):
        if one is not None and one.text:
            yield from ("-drive", f"if=pflash,unit={unit},format={one.get('format', 'raw')},file={one.text}")


def _devices(root: Element, bus: str) -> Iterator[str]:
    buses = {0: bus}
    for one in root.findall("devices/controller[@model='pcie-root-port']"):
        number = int(one.get("index", "0"))
        buses[number] = f"pci.{number}"
        yield from ("-device", f"pcie-root-port,id=pci.{number},{_place(one, buses)}")
    for number, one in enumerate(root.findall("devices/disk")):
        yield from _disk(one, number, buses)
    for number, one in enumerate(root.findall("devices/interface")):
        model = _inner(one, "model").get("type", "")
        yield from ("-netdev", f"tap,id=hostnet{number},ifname={_inner(one, 'target').get('dev')}")
        kind = NETWORK_CARDS.get(model, model)
        yield from ("-device", f"{kind},netdev=hostnet{number},id=net{number},{_place(one, buses)}")
    for number, one in enumerate(root.findall("devices/hostdev")):
        yield from ("-device", _hostdev(root, one, number, buses))
    for one in root.findall("devices/memballoon[@model='virtio']"):
        yield from ("-device", f"virtio-balloon-pci,id=balloon0,{_place(one, buses)}")


def _place(parent: Element, buses: dict[int, str]) -> str:
    found = _inner(parent, "address")
    bus, slot, function = (int(found.get(key, "0"), 16) for key in ("bus", "slot", "function"))
    return f"bus={buses[bus]},addr={slot:x}.{function:x}"


def _disk(disk: Element, number: int, buses: dict[int, str]) -> Iterator[str]:
    source = _inner(disk, "source")
    yield from ("-drive", f"file={source.get('dev') or source.get('file')},if=none,id=drive{number}")
    order = disk.find("boot")
    boot = f",bootindex={order.get('order')}" if order is not None else ""
    if _inner(disk, "target").get("bus") == "virtio":
        yield from ("-device", f"virtio-blk-pci,drive=drive{number},id=disk{number},{_place(disk, buses)}{boot}")
        return
    place = _inner(disk, "address")
    kind = "ide-cd" if disk.get("device") == "cdrom" else "ide-hd"
    yield from ("-device", f"{kind},bus=ide.{place.get('unit')},drive=drive{number},id=disk{number}{boot}")


def _hostdev(root: Element, one: Element, number: int, buses: dict[int, str]) -> str:
    alias = one.find("alias")
    name = f"hostdev{number}" if alias is None else alias.get("name", "")
    override = f"{QEMU}override/{QEMU}device[@alias='{name}']/{QEMU}frontend/{QEMU}property"
    given = "".join(
        f",{found.get('name')}={'on' if found.get('value') == 'true' else found.get('value')}"
        for found in root.findall(override)
    )
    return f"vfio-pci,host={address_of(one)},id={name},{_place(one, buses)}{given}"
