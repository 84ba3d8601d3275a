"""The domain XML of a guest for libvirt: pure, and the same bytes for the same order.

Sources: libvirt's formatdomain and drvqemu; what its QEMU driver makes of it was looked at with `virsh
domxml-to-native` (libvirt 9.0). Devices have the places that they have on our own QEMU command line.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from steps.config import Accel, Cdrom, Device, Disk, DiskInterface, Display, Guest
from steps.guest.base import Order, device_id
from steps.guest.libvirt_cpu import add_clock, add_cpu, add_features
from steps.guest.qemu_command import (
    AHCI,
    BALLOON,
    FIRST_DISK,
    PORTS_OF_AHCI,
    ROOT_PORTS,
    Slots,
    host_slots,
    is_conventional,
    numbered,
    on_root_bus,
    stable_mac,
)

QEMU_SCHEMA = "http://libvirt.org/schemas/domain/qemu/1.0"
VNC_PORTS = 5900
# Any UUID would do, as long as it stays the same (RFC 9562, 5.5).
NAMESPACE = uuid.UUID("6f2d5c1e-9a54-4a7e-8f0e-7666696f7374")


def uuid_of(setup: str, name: str) -> str:
    """The domain's UUID: the same for the same setup and name, so that a plan shows what will be defined."""
    return str(uuid.uuid5(NAMESPACE, f"{setup} {name}"))


def alias_of(address: str) -> str:
    """The alias of a host function: libvirt takes letters, digits, `_` and `-` after `ua-`."""
    return f"ua-{device_id(address).replace('.', '-')}"


def domain(order: Order, binary: str) -> bytes:
    """The whole document. Raises ConfigurationError when the guest has more devices than its bus has slots."""
    return _document(order, binary, ours=True)


def exported(order: Order, binary: str) -> bytes:
    """The same for the user's own libvirt: with a UUID that libvirt chooses, since ours is of what a rollback takes
    away; and with taps that libvirt makes and removes. Raises ConfigurationError as above."""
    return _document(order, binary, ours=False)


def _document(order: Order, binary: str, *, ours: bool) -> bytes:
    guest = order.guest
    root = Element("domain", {"type": "kvm" if guest.accel is Accel.KVM else "qemu"})
    passed_on = bool(guest.args) or any(device.x_vga for device in order.devices)
    if passed_on:
        root.set("xmlns:qemu", QEMU_SCHEMA)
    _text(root, "name", guest.name)
    if ours:
        _text(root, "uuid", uuid_of(order.setup, guest.name))
        _text(root, "description", f"Made by vfiostate, setup {order.setup}; a rollback takes it away.")
    _text(root, "memory", str(guest.memory), unit="MiB")
    if not order.install:
        _add_huge_pages(root, guest)
    _text(root, "vcpu", str(guest.vcpus), placement="static")
    if not order.install:
        _add_pinning(root, guest)
    _add_os(root, order)
    add_features(root, guest)
    add_cpu(root, guest)
    add_clock(root, guest)
    _add_devices(SubElement(root, "devices"), order, binary, ours=ours)
    if passed_on:
        _add_passed_on(root, order)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode").encode() + b"\n"


def _text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text


def _add_huge_pages(root: Element, guest: Guest) -> None:
    """By memfd: from a file system libvirt takes only sizes that were mounted when its daemon started."""
    if guest.hugepages:
        found = SubElement(root, "memoryBacking")
        size = {"size": guest.hugepages.value[:-1], "unit": guest.hugepages.value[-1]}
        SubElement(SubElement(found, "hugepages"), "page", size)
        SubElement(found, "source", {"type": "memfd"})


def _add_pinning(root: Element, guest: Guest) -> None:
    if not guest.vcpupin and not guest.emulatorpin:
        return
    found = SubElement(root, "cputune")
    for number, cpus in enumerate(guest.vcpupin):
        SubElement(found, "vcpupin", {"vcpu": str(number), "cpuset": cpus})
    if guest.emulatorpin:
        SubElement(found, "emulatorpin", {"cpuset": guest.emulatorpin})


def _add_os(root: Element, order: Order) -> None:
    guest = order.guest
    found = SubElement(root, "os")
    _text(found, "type", "hvm", arch="x86_64", machine=guest.machine)
    if guest.firmware:
        _text(found, "loader", guest.firmware, type="rom")
    if guest.ovmf_code:
        _text(found, "loader", guest.ovmf_code, readonly="yes", type="pflash", **_format(order, guest.ovmf_code))
    if guest.ovmf_vars:
        _text(found, "nvram", guest.ovmf_vars, **_format(order, guest.ovmf_vars))
    if guest.boot_menu:
        SubElement(found, "bootmenu", {"enable": "yes"})


def _format(order: Order, image: str) -> dict[str, str]:
    """The format where it is not libvirt's own choice: before 9.2 there is no word for it."""
    return {"format": "qcow2"} if image in order.qcow2 else {}


def _add_devices(devices: Element, order: Order, binary: str, *, ours: bool) -> None:
    guest = order.guest
    slots = Slots("pci.0" if is_conventional(guest.machine) else "pcie.0")
    _text(devices, "emulator", binary)
    # libvirt adds a USB controller and a balloon where nothing is said of them.
    SubElement(devices, "controller", {"type": "usb", "index": "0", "model": "none"})
    model = "pci-root" if is_conventional(guest.machine) else "pcie-root"
    SubElement(devices, "controller", {"type": "pci", "index": "0", "model": model})
    _add_storage(devices, guest, slots)
    _add_networks(devices, order, slots, ours=ours)
    _add_passed(devices, order.devices, slots)
    _add_display(devices, order)
    balloon = SubElement(devices, "memballoon", {"model": "virtio" if guest.balloon else "none"})
    if guest.balloon:
        _pci(balloon, 0, BALLOON, 0)


def _pci(parent: Element, bus: int, slot: int, function: int, *, several: bool = False) -> None:
    place = {"type": "pci", "domain": "0x0000", "bus": f"{bus:#04x}", "slot": f"{slot:#04x}"}
    place["function"] = f"{function:#x}"
    SubElement(parent, "address", place | ({"multifunction": "on"} if several else {}))


def _add_storage(devices: Element, guest: Guest, slots: Slots) -> None:
    virtio = sata = 0
    for disk in guest.disks:
        if disk.interface is DiskInterface.SATA:
            _add_sata(devices, disk, sata)
            sata += 1
            continue
        found = _disk(devices, disk, f"vd{_letters(virtio)}", "virtio")
        _pci(found, 0, slots.next() if virtio else FIRST_DISK, 0)
        virtio += 1
    for cdrom in guest.cdroms:
        _add_sata(devices, cdrom, sata)
        sata += 1
    for number in range((sata + PORTS_OF_AHCI - 1) // PORTS_OF_AHCI):
        controller = SubElement(devices, "controller", {"type": "sata", "index": str(number)})
        # q35 has the first one in its chipset, at 1f.2, and libvirt takes no other place for it.
        if number or is_conventional(guest.machine):
            _pci(controller, 0, slots.next() if number else AHCI, 0)


def _add_sata(devices: Element, thing: Disk | Cdrom, number: int) -> None:
    found = _disk(devices, thing, f"sd{_letters(number)}", "sata")
    controller, unit = divmod(number, PORTS_OF_AHCI)
    place = {"type": "drive", "controller": str(controller), "bus": "0", "target": "0", "unit": str(unit)}
    SubElement(found, "address", place)


def _disk(devices: Element, thing: Disk | Cdrom, target: str, bus: str) -> Element:
    disk = thing if isinstance(thing, Disk) else Disk(thing.path, bootindex=thing.bootindex, readonly=True)
    block = disk.path.startswith("/dev/")
    kind = "disk" if isinstance(thing, Disk) else "cdrom"
    found = SubElement(devices, "disk", {"type": "block" if block else "file", "device": kind})
    SubElement(found, "driver", {"name": "qemu", "type": disk.format})
    SubElement(found, "source", {"dev" if block else "file": disk.path})
    SubElement(found, "target", {"dev": target, "bus": bus})
    if disk.readonly:
        SubElement(found, "readonly")
    if disk.bootindex is not None:
        SubElement(found, "boot", {"order": str(disk.bootindex + 1)})
    return found


def _letters(number: int) -> str:
    """a to z, then aa, ab, …: as the kernel names its disks."""
    rest, last = divmod(number, 26)
    return (_letters(rest - 1) if rest else "") + chr(ord("a") + last)


def _add_networks(devices: Element, order: Order, slots: Slots, *, ours: bool) -> None:
    for network in order.guest.networks:
        bridged = network.bridge is not None and not ours
        found = SubElement(devices, "interface", {"type": "bridge" if bridged else "ethernet"})
        SubElement(found, "mac", {"address": network.mac or stable_mac(order.setup, network.tap)})
        if ours:
            # The tap is made before and stays after: libvirt takes a tap that is there only for this type, said so.
            SubElement(found, "target", {"dev": network.tap, "managed": "no"})
        elif network.bridge is not None:
            SubElement(found, "source", {"bridge": network.bridge})
        model = "virtio" if network.model == "virtio-net-pci" else network.model
        SubElement(found, "model", {"type": model})
        _pci(found, 0, slots.next(), 0)


def _add_passed(devices: Element, passed: tuple[Device, ...], slots: Slots) -> None:
    port = 0
    for slot, together in host_slots(passed).items():
        if on_root_bus(slots.name, slot):
            for device in together:
                _pci(_hostdev(devices, device), 0, slots.next(), 0)
            continue
        number, port = port, port + 1
        root = SubElement(devices, "controller", {"type": "pci", "index": str(port), "model": "pcie-root-port"})
        SubElement(root, "model", {"name": "pcie-root-port"})
        SubElement(root, "target", {"chassis": str(port), "port": f"{port:#x}"})
        _pci(root, 0, ROOT_PORTS - number // 8, number % 8, several=True)
        for function, device in numbered(together):
            _pci(_hostdev(devices, device), port, 0, function, several=function == 0 and len(together) > 1)


def _hostdev(devices: Element, device: Device) -> Element:
    found = SubElement(devices, "hostdev", {"mode": "subsystem", "type": "pci", "managed": "no"})
    SubElement(found, "driver", {"name": "vfio"})
    source = SubElement(found, "source")
    SubElement(source, "address", dict(_host_address(device.address)))
    SubElement(found, "alias", {"name": alias_of(device.address)})
    if device.romfile:
        SubElement(found, "rom", {"file": device.romfile})
    return found


def _host_address(address: str) -> Iterator[tuple[str, str]]:
    domain_, bus, rest = address.split(":")
    slot, function = rest.split(".")
    yield from (("domain", f"0x{domain_}"), ("bus", f"0x{bus}"), ("slot", f"0x{slot}"), ("function", f"0x{function}"))


def _add_display(devices: Element, order: Order) -> None:
    guest = order.guest
    if not order.install and guest.display is not Display.VNC:
        SubElement(SubElement(devices, "video"), "model", {"type": "none"})
        return
    SubElement(devices, "graphics", {"type": "vnc", **_listening(guest.vnc)})
    video = SubElement(devices, "video")
    SubElement(video, "model", {"type": "vga", "vram": "16384", "heads": "1", "primary": "yes"})
    _pci(video, 0, 2 if is_conventional(guest.machine) else 1, 0)


def _listening(vnc: str) -> Mapping[str, str]:
    if vnc.startswith("unix:"):
        return {"socket": vnc.removeprefix("unix:")}
    host, _, display = vnc.rpartition(":")
    listen = "127.0.0.1" if host == "localhost" else host.strip("[]")
    return {"port": str(VNC_PORTS + int(display)), "autoport": "no", "listen": listen}


def _add_passed_on(root: Element, order: Order) -> None:
    """What libvirt has no words for: further arguments, and x-vga, which it gives QEMU as a property since 8.2."""
    if order.guest.args:
        line = SubElement(root, "qemu:commandline")
        for word in order.guest.args:
            SubElement(line, "qemu:arg", {"value": word})
    override = None
    for device in order.devices:
        if device.x_vga:
            override = SubElement(root, "qemu:override") if override is None else override
            found = SubElement(override, "qemu:device", {"alias": alias_of(device.address)})
            frontend = SubElement(found, "qemu:frontend")
            SubElement(frontend, "qemu:property", {"name": "x-vga", "type": "bool", "value": "true"})
