"""The QEMU double's guest: its command line taken apart and held against the machine as a real QEMU would do it."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from engine.hosts.files import FileTree
from engine.hosts.simulated import qemu_help as known
from engine.hosts.simulated.hugepages import SIZES, page_of_mount
from engine.hosts.simulated.qemu_help import Said, Version

FLAGS = frozenset(
    {"-no-user-config", "-nodefaults", "-nographic", "-enable-kvm", "-S", "-daemonize", "-no-reboot", "-mem-prealloc"}
)
VALUES = frozenset(
    {
        *("-name", "-machine", "-M", "-m", "-smp", "-cpu", "-rtc", "-boot", "-bios", "-acpitable", "-accel"),
        *(
            "-drive",
            "-device",
            "-netdev",
            "-chardev",
            "-mon",
            "-qmp",
            "-monitor",
            "-serial",
            "-object",
            "-global",
            "-mem-path",
        ),
        *("-vga", "-display", "-vnc", "-sandbox", "-runas", "-uuid", "-smbios", "-msg", "-pidfile", "-k", "-cdrom"),
    }
)
DEVICES = "/sys/bus/pci/devices"
# Ports of a controller named ID are the buses ID.0, ID.1, …; q35's own controller gives ide.0 to ide.5.
PORTS = range(6)


class QemuError(Exception):
    """QEMU's last words: it ends with status 1."""


@dataclass(slots=True)
class Guest:
    """A guest about to run. `placed` are its PCI devices in order; `memory` is MiB, in huge pages of `page` KiB (0: in
    ordinary ones)."""

    name: str = ""
    machine: str = "pc"
    socket: str | None = None
    vcpus: int = 1
    memory: int = 128
    page: int = 0
    placed: list[Placed] = field(default_factory=list)
    held: list[IO[str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Placed:
    """A PCI device in its place."""

    kind: str
    id: str
    bus: str
    slot: int
    function: int
    vendor: int
    device: int
    class_code: int


# vendor, device and class of the emulated devices, as QEMU 7.2's query-pci gives them.
IDENTITIES: Mapping[str, tuple[int, int, int]] = {
    "ioh3420": (0x8086, 0x3420, 0x0604),
    "pcie-root-port": (0x1B36, 0x000C, 0x0604),
    "ich9-ahci": (0x8086, 0x2922, 0x0106),
    "virtio-blk-pci": (0x1AF4, 0x1001, 0x0100),
    "virtio-net-pci": (0x1AF4, 0x1000, 0x0200),
    "virtio-balloon-pci": (0x1AF4, 0x1002, 0x00FF),
    "VGA": (0x1234, 0x1111, 0x0300),
}
CHIPSET = {
    "q35": (
        ("", 0, 0, 0x8086, 0x29C0, 0x0600),
        ("", 31, 0, 0x8086, 0x2918, 0x0601),
        ("", 31, 2, 0x8086, 0x2922, 0x0106),
    ),
    "pc": (("", 0, 0, 0x8086, 0x1237, 0x0600), ("", 1, 0, 0x8086, 0x7000, 0x0601), ("", 1, 1, 0x8086, 0x7010, 0x0101)),
}


def split(value: str) -> tuple[str, dict[str, str]]:
    """An option's value: its first word, if that is no `key=value`, and its keys. A doubled comma is one in a value."""
    parts = [part.replace("\0", ",") for part in value.replace(",,", "\0").split(",")]
    first = "" if "=" in parts[0] else parts.pop(0)
    return first, {key: rest if sign else "on" for key, sign, rest in (part.partition("=") for part in parts)}


def options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The options with their values, in order. Raises QemuError for one that QEMU does not know."""
    words = iter(argv)
    for word in words:
        option = "-" + word.lstrip("-") if word.startswith("--") else word
        if option in FLAGS or option in ("-version", "-h"):
            yield option, ""
        elif option in VALUES:
            value = next(words, None)
            if value is None:
                raise QemuError(f"{word}: requires an argument")
            yield option, value
        else:
            raise QemuError(f"{word}: invalid option")


def early(argv: Sequence[str], version: Version) -> Said | None:
    """The answer where the command line only asks; options before the question are looked at, those after it not."""
    for option, value in options(argv):
        if option == "-version":
            return known.version_said(version)
        if (said := known.help_said(version, option, value)) is not None:
            return said
        _syntax(option, value, version)
    return None


def _syntax(option: str, value: str, version: Version) -> None:
    _, keys = split(value)
    if option == "-sandbox" and version < known.SUBOPTIONS_OF_SANDBOX and keys:
        raise QemuError(f"-sandbox {value}: Invalid parameter '{next(iter(keys))}'")
    if option == "-chardev" and "fd" in keys and version < known.CHARDEV_FD:
        raise QemuError(f"-chardev {value}: Invalid parameter 'fd'")
    if option == "-accel" and version < known.ACCEL_OPTION:
        raise QemuError("-accel: invalid option")


def build(root: Path, argv: Sequence[str], version: Version) -> Guest:
    """The guest that a command line describes, on this machine. Raises QemuError with what QEMU would say."""
    given = list(options(argv))
    guest = Guest()
    tree = FileTree(root)
    drives: set[str] = set()
    networks: set[str] = set()
    for option, value in given:
        _take(guest, tree, version, option, value, drives, networks)
    _chipset(guest, any(option == "-vga" and value == "std" for option, value in given))
    buses = {"pcie.0" if "q35" in guest.machine else "pci.0", *(f"ide.{port}" for port in PORTS)}
    indices: set[str] = set()
    for value in (value for option, value in given if option == "-device"):
        _device(guest, tree, version, value, buses, drives | networks, indices)
    return guest


def _take(
    guest: Guest, tree: FileTree, version: Version, option: str, value: str, drives: set[str], networks: set[str]
) -> None:
    first, keys = split(value)
    match option:
        case "-name":
            guest.name = first or keys.get("guest", "")
        case "-machine" | "-M":
            guest.machine = first or keys.get("type", "pc")
            if guest.machine not in known.machines(version):
                raise QemuError("unsupported machine type\nUse -machine help to list supported machines")
            if keys.get("accel") == "kvm" and not _there(tree, "/dev/kvm"):
                raise QemuError("failed to initialize kvm: No such file or directory")
        case "-m":
            guest.memory = int(first or keys.get("size", "128"))
        case "-smp":
            guest.vcpus = int(first or keys.get("cpus", "1"))
        case "-mem-path":
            if not _there(tree, value):
                raise QemuError(f"can't open backing store {value} for guest RAM: No such file or directory")
            guest.page = page_of_mount(tree.read("/proc/mounts").decode(), value)
        case "-object":
            if first == "memory-backend-memfd" and keys.get("hugetlb") == "on":
                guest.page = SIZES[keys["hugetlbsize"]]
        case "-cpu":
            if first not in known.cpus(version):
                raise QemuError(f"unable to find CPU model '{first}'")
        case "-bios":
            if not _there(tree, value):
                raise QemuError(f"could not load PC BIOS '{value}'")
        case "-drive":
            path = keys.get("file", "")
            if not _there(tree, path):
                raise QemuError(f"-drive {value}: Could not open '{path}': No such file or directory")
            drives.add(keys.get("id", ""))
        case "-netdev":
            name = keys.get("ifname", "")
            if first == "tap" and not _there(tree, f"/sys/class/net/{name}/tun_flags"):
                raise QemuError(f"-netdev {value}: could not configure /dev/net/tun ({name}): Operation not permitted")
            networks.add(keys.get("id", ""))
        case "-chardev":
            guest.socket = keys.get("path")


def _there(tree: FileTree, path: str) -> bool:
    return path.startswith("/") and tree.lstat(tree.resolve(path)) is not None


def _chipset(guest: Guest, vga: bool) -> None:
    q35 = "q35" in guest.machine
    bus = "pcie.0" if q35 else "pci.0"
    for name, slot, function, *numbers in CHIPSET["q35" if q35 else "pc"]:
        guest.placed.append(Placed("", name, bus, slot, function, *numbers))
    if vga:
        guest.placed.append(Placed("VGA", "", bus, 1 if q35 else 2, 0, *IDENTITIES["VGA"]))


def _device(
    guest: Guest,
    tree: FileTree,
    version: Version,
    value: str,
    buses: set[str],
    backends: set[str],
    indices: set[str],
) -> None:
    name, keys = split(value)
    where = f"-device {value}: "
    if not known.has_device(version, name):
        raise QemuError(f"{where}'{name}' is not a valid device model name")
    kind = known.canonical(name)
    bus = keys.get("bus", "pcie.0" if "q35" in guest.machine else "pci.0")
    if bus not in buses:
        raise QemuError(f"{where}Bus '{bus}' not found")
    for key in ("drive", "netdev"):
        if key in keys and keys[key] not in backends:
            raise QemuError(f"{where}Property '{kind}.{key}' can't find value '{keys[key]}'")
    if (index := keys.get("bootindex")) is not None:
        if index in indices:
            raise QemuError(f"{where}The bootindex {index} has already been used")
        indices.add(index)
    if kind in ("ide-cd", "ide-hd"):
        return
    numbers = _vfio(guest, tree, keys, where) if kind == "vfio-pci" else IDENTITIES.get(kind, (0x1B36, 0x0001, 0x00FF))
    slot, function = _place(guest, bus, keys.get("addr"), where, kind)
    guest.placed.append(Placed(kind, keys.get("id", ""), bus, slot, function, *numbers))
    if kind in ("ioh3420", "pcie-root-port"):
        buses.add(keys.get("id", ""))
    if kind == "ich9-ahci":
        buses.update(f"{keys.get('id', '')}.{port}" for port in PORTS)


def _place(guest: Guest, bus: str, addr: str | None, where: str, kind: str) -> tuple[int, int]:
    taken = {(one.slot, one.function): one.kind or "the chipset" for one in guest.placed if one.bus == bus}
    if addr is None:
        free = next(slot for slot in range(32) if not any((slot, number) in taken for number in range(8)))
        return free, 0
    slot, _, function = addr.partition(".")
    place = int(slot, 16), int(function or "0", 16)
    if place in taken:
        raise QemuError(
            f"{where}PCI: slot {place[0]} function {place[1]} not available for {kind}, in use by {taken[place]}"
        )
    return place


def _vfio(guest: Guest, tree: FileTree, keys: Mapping[str, str], where: str) -> tuple[int, int, int]:
    address = keys.get("host", "")
    if re.fullmatch(r"[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", address):
        address = f"0000:{address}"
    base = f"{DEVICES}/{address}"
    if not re.fullmatch(r"[0-9a-f]{4,5}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", address) or not _there(tree, base):
        raise QemuError(f"{where}vfio {address}: no such host device: No such file or directory")
    if not _there(tree, f"{base}/iommu_group"):
        raise QemuError(f"{where}vfio {address}: no iommu_group found: No such file or directory")
    group = tree.readlink(f"{base}/iommu_group").rpartition("/")[2]
    members = tree.list(f"/sys/kernel/iommu_groups/{group}/devices")
    if any(_spoils(tree, member) for member in members):
        raise QemuError(
            f"{where}vfio {address}: group {group} is not viable\n"
            "Please ensure all devices within the iommu_group are bound to their vfio bus driver."
        )
    _open_group(guest, tree, group, f"{where}vfio {address}: ")
    if _driver(tree, address) != "vfio-pci":
        raise QemuError(
            f"{where}vfio {address}: error getting device from group {group}: No such device\n"
            f"Verify all devices in group {group} are bound to vfio-<bus> or pci-stub and not already in use"
        )
    vendor, device, class_code = (int(tree.read(f"{base}/{one}"), 16) for one in ("vendor", "device", "class"))
    if keys.get("x-vga") == "on" and class_code >> 8 != 0x0300:
        raise QemuError(f"{where}vfio {address}: Device does not support requested feature x-vga")
    return vendor, device, class_code >> 8


def _open_group(guest: Guest, tree: FileTree, group: str, where: str) -> None:
    """A group has one owner: as with the real node, who has it open keeps others out until it ends."""
    place = tree.local(f"/dev/vfio/{group}")
    if any(Path(held.name) == place for held in guest.held):
        return
    try:
        node = place.open("r+")
        fcntl.flock(node, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise QemuError(f"{where}failed to open /dev/vfio/{group}: Device or resource busy") from None
    except OSError as error:
        raise QemuError(f"{where}failed to open /dev/vfio/{group}: {error.strerror}") from None
    if not _isolates(tree):
        raise QemuError(
            f"{where}failed to setup container for group {group}: Failed to set iommu for container: "
            "Operation not permitted"
        )
    guest.held.append(node)


def _isolates(tree: FileTree) -> bool:
    """Whether the type 1 IOMMU takes a group: interrupts are remapped, or its parameter says that it need not be.

    vfio_iommu_type1_attach_group in drivers/vfio/vfio_iommu_type1.c.
    """
    if re.search(rb"Enabled IRQ remapping|Interrupt remapping enabled", tree.read("/var/log/kern.log")):
        return True
    unsafe = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
    return _there(tree, unsafe) and tree.read(unsafe).strip() in (b"Y", b"1")


def _driver(tree: FileTree, address: str) -> str | None:
    try:
        return tree.readlink(f"{DEVICES}/{address}/driver").rpartition("/")[2]
    except OSError:
        return None


def _spoils(tree: FileTree, address: str) -> bool:
    bridge = int(tree.read(f"{DEVICES}/{address}/class"), 16) >> 8 == 0x0604
    return not bridge and _driver(tree, address) not in {None, "vfio-pci", "pci-stub"}
