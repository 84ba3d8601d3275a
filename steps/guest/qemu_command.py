"""QEMU's command line for a guest: pure. On a QEMU of the article's time (1.5) in the article's forms.

Sources: qemu-options.hx and docs/pcie.txt of QEMU; the article's win7_vfio_test.sh.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from journal.errors import ConfigurationError
from steps.config import Cdrom, Device, Disk, DiskInterface, Display, Guest
from steps.guest import needs
from steps.guest.base import Order, device_id, hugetlbfs_of
from steps.guest.capabilities import INHERITED, SANDBOX, Capabilities
from steps.pci import slot_of, sort_key

# Slots of the guest's root bus that nothing of the chipset takes; first those of the article's disk, balloon and
# AHCI controller. Each device has its slot by its place in the configuration: Windows takes one that moved for new.
FIRST_DISK, BALLOON, AHCI = 0x5, 0x6, 0x7
SLOTS = (*range(0x8, 0x1B), 0x2, 0x3, 0x4)
ROOT_PORTS = 0x1C
PORTS_OF_AHCI = 6


@dataclass(slots=True)
class Slots:
    """The guest's root bus, and which of its slots are still free."""

    name: str
    free: list[int] = field(default_factory=lambda: list(SLOTS))

    def next(self) -> int:
        """The next free slot. Raises ConfigurationError where there is none."""
        if not self.free:
            raise ConfigurationError(
                f"The guest has more devices than its bus {self.name} has slots.",
                hint="Take some [[guest.disks]], [[guest.networks]] or [[devices]] out of the configuration.",
            )
        return self.free.pop(0)


class _Bus(Slots):
    """The same in QEMU's words."""

    def at(self, slot: int) -> str:
        """The properties that put a device there."""
        return f"bus={self.name},addr={slot:#x}"

    def anywhere(self) -> str:
        """The properties that put a device into the next free slot."""
        return self.at(self.next())


def command(order: Order, found: Capabilities, *, monitored: bool = True) -> tuple[str, ...]:
    """The argument list, with the monitor that we look through or without. Pure: the same order and the same QEMU give
    the same command."""
    guest = order.guest
    bus = _Bus("pci.0" if is_conventional(guest.machine) else "pcie.0")
    parts = (
        (found.binary or guest.binary, "-no-user-config", "-nodefaults", "-name", escape(guest.name)),
        _machine(order, found),
        _firmware(order, found),
        _isolation(order, found),
        _monitor(order, found) if monitored else (),
        _storage(guest, found, bus),
        _balloon(guest, bus),
        _networks(order, bus),
        _passed(order.devices, found, bus),
        _display(order),
        guest.args,
    )
    return tuple(word for part in parts for word in part)


def exported(order: Order, found: Capabilities) -> tuple[str, ...]:
    """The same for the user's own hands: nobody hands it a monitor; started as root, it leaves that by itself."""
    return command(order, replace(found, inherits_socket=False), monitored=False)


def escape(value: str) -> str:
    """A value inside a comma-separated option: QEMU reads a doubled comma as one."""
    return value.replace(",", ",,")


def is_conventional(machine: str) -> bool:
    """Whether a machine type has a conventional PCI root bus (i440fx) rather than PCI Express."""
    return machine in {"pc", "isapc"} or machine.startswith("pc-i440fx")


def _machine(order: Order, found: Capabilities) -> Iterator[str]:
    guest = order.guest
    yield from ("-machine", f"{guest.machine},accel={guest.accel.value}", "-m", str(guest.memory))
    yield from ("-smp", f"{guest.vcpus},sockets={guest.sockets},cores={guest.cores},threads={guest.threads}")
    yield from ("-cpu", needs.cpu_of(guest, found), "-rtc", f"base={guest.rtc}")
    if guest.hugepages and not order.install:
        # In this form every QEMU understands it; without -mem-prealloc a page that is lacking ends the guest later.
        yield from ("-mem-path", hugetlbfs_of(guest.hugepages), "-mem-prealloc")
    if guest.boot_menu:
        yield from ("-boot", "menu=on")


def _firmware(order: Order, found: Capabilities) -> Iterator[str]:
    guest = order.guest
    if guest.firmware:
        yield from ("-bios", guest.firmware)
    if guest.ovmf_code:
        form = order.format_of(guest.ovmf_code)
        yield from ("-drive", f"if=pflash,unit=0,format={form},readonly=on,file={escape(guest.ovmf_code)}")
    if guest.ovmf_vars:
        form = order.format_of(guest.ovmf_vars)
        yield from ("-drive", f"if=pflash,unit=1,format={form},file={escape(guest.ovmf_vars)}")
    if found.dsdt:
        yield from ("-acpitable", f"file={escape(found.dsdt)}")


def drops_root(order: Order, found: Capabilities) -> bool:
    """Without an inherited socket it must make its own among root's files: so it starts as root and leaves that."""
    return not found.inherits_socket and order.guest.user != "root"


def _isolation(order: Order, found: Capabilities) -> Iterator[str]:
    dropping = drops_root(order, found)
    if dropping:
        yield from ("-runas", order.guest.user)
    if order.guest.sandbox and found.sandbox:
        # The filter stands before -runas is obeyed, which needs setuid(2).
        yield from ("-sandbox", SANDBOX.replace("elevateprivileges=deny,", "") if dropping else SANDBOX)


def _monitor(order: Order, found: Capabilities) -> Iterator[str]:
    own = f"socket,id=qmp,path={escape(order.socket)},server=on,wait=off"
    yield from ("-chardev", INHERITED if found.inherits_socket else own, "-mon", "chardev=qmp,mode=control")


def _storage(guest: Guest, found: Capabilities, bus: _Bus) -> Iterator[str]:
    places = _sata_places()
    sata: list[str] = []
    virtio = 0
    for number, disk in enumerate(guest.disks):
        name = f"disk{number}"
        drive = _drive(disk, name)
        if disk.interface is DiskInterface.SATA:
            sata += (*drive, "-device", f"ide-hd,{next(places)},drive=drive-{name},id={name}{_boot(disk)}")
            continue
        where = bus.anywhere() if virtio else bus.at(FIRST_DISK)
        virtio += 1
        scsi = ",scsi=off" if found.old and "scsi" in found.disk_options else ""
        yield from (*drive, "-device", f"virtio-blk-pci,{where}{scsi},drive=drive-{name},id={name}{_boot(disk)}")
    for number, cdrom in enumerate(guest.cdroms):
        name = f"cdrom{number}"
        device = f"ide-cd,{next(places)},drive=drive-{name},id={name}{_boot(cdrom)}"
        sata += (*_drive(Disk(cdrom.path, readonly=True), name), "-device", device)
    drives = sata.count("-drive")
    for number in range((drives + PORTS_OF_AHCI - 1) // PORTS_OF_AHCI):
        yield from ("-device", f"ahci,id=ahci{number},{bus.anywhere() if number else bus.at(AHCI)}")
    yield from sata


def _sata_places() -> Iterator[str]:
    controller = 0
    while True:
        yield from (f"bus=ahci{controller}.{port},unit=0" for port in range(PORTS_OF_AHCI))
        controller += 1


def _drive(disk: Disk, name: str) -> tuple[str, str]:
    readonly = ",readonly=on" if disk.readonly else ""
    return "-drive", f"file={escape(disk.path)},if=none,id=drive-{name},format={disk.format}{readonly}"


def _boot(thing: Disk | Cdrom) -> str:
    return "" if thing.bootindex is None else f",bootindex={thing.bootindex}"


def _balloon(guest: Guest, bus: _Bus) -> Iterator[str]:
    if guest.balloon:
        yield from ("-device", f"virtio-balloon-pci,id=balloon0,{bus.at(BALLOON)}")


def _networks(order: Order, bus: _Bus) -> Iterator[str]:
    for number, network in enumerate(order.guest.networks):
        mac = network.mac or stable_mac(order.setup, network.tap)
        yield from ("-netdev", f"tap,id=hostnet{number},ifname={escape(network.tap)},script=no,downscript=no")
        yield from ("-device", f"{network.model},netdev=hostnet{number},id=net{number},mac={mac},{bus.anywhere()}")


def stable_mac(setup: str, tap: str) -> str:
    """A MAC address that stays the same for the same setup and tap, in the range QEMU uses (52:54:00)."""
    digest = sha256(f"{setup} {tap}".encode()).hexdigest()
    return f"52:54:00:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"


def _passed(devices: Sequence[Device], found: Capabilities, bus: _Bus) -> Iterator[str]:
    """The functions of one host slot stay together behind a root port of their own; those that are part of the chipset
    (bus 0, as the article's USB controllers) go on the root bus."""
    port = 0
    for slot, together in host_slots(devices).items():
        if on_root_bus(bus.name, slot):
            for device in together:
                yield from ("-device", f"{_vfio(device)},{bus.anywhere()}")
            continue
        kind = "ioh3420" if found.old else "pcie-root-port"
        where = f"bus={bus.name},addr={ROOT_PORTS - port // 8:x}.{port % 8}"
        port += 1
        yield from ("-device", f"{kind},{where},multifunction=on,port={port},chassis={port},id=root{port}")
        yield from _behind(f"root{port}", together)


def host_slots(devices: Sequence[Device]) -> dict[str, list[Device]]:
    """The functions by the slot of the host that they are in."""
    slots: dict[str, list[Device]] = {}
    for device in devices:
        slots.setdefault(slot_of(device.address), []).append(device)
    return slots


def on_root_bus(bus: str, slot: str) -> bool:
    """Whether the functions of a host slot go on the guest's root bus: those that are part of the host's chipset do."""
    return bus == "pci.0" or slot.split(":")[1] == "00"


def numbered(together: Sequence[Device]) -> list[tuple[int, Device]]:
    """Functions keep their numbers; without a function 0, which a guest looks for first, they are numbered anew."""
    ordered = sorted(together, key=lambda device: sort_key(device.address))
    numbers = [int(device.address[-1]) for device in ordered]
    return list(zip(numbers if 0 in numbers else range(len(ordered)), ordered, strict=True))


def _behind(port: str, together: Sequence[Device]) -> Iterator[str]:
    for number, device in numbered(together):
        several = ",multifunction=on" if number == 0 and len(together) > 1 else ""
        yield from ("-device", f"{_vfio(device)},bus={port},addr=00.{number}{several}")


def _vfio(device: Device) -> str:
    x_vga = ",x-vga=on" if device.x_vga else ""
    romfile = f",romfile={escape(device.romfile)}" if device.romfile else ""
    return f"vfio-pci,host={device.address},id={device_id(device.address)}{x_vga}{romfile}"


def _display(order: Order) -> tuple[str, ...]:
    if order.install or order.guest.display is Display.VNC:
        return ("-vga", "std", "-vnc", order.guest.vnc)
    return ("-vga", "none", "-display", "none")
