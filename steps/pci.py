"""PCI functions and IOMMU groups as sysfs tells them; every value is checked where it enters.

Source: Documentation/ABI/testing/sysfs-bus-pci and sysfs-kernel-iommu_groups in the kernel's tree.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass

from journal.errors import UsageError, VfiostateError
from steps.base import Host

DEVICES = "/sys/bus/pci/devices"
DRIVERS = "/sys/bus/pci/drivers"
GROUPS = "/sys/kernel/iommu_groups"

_ADDRESS = re.compile(r"(?:([0-9a-fA-F]{4,5}):)?([0-9a-fA-F]{2}):([01][0-9a-fA-F])\.([0-7])")
_ID = re.compile(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{4})")
_HEX = re.compile(r"0x([0-9a-f]{1,8})", re.IGNORECASE)

# A group member under one of these does not keep a group from being used: Documentation/driver-api/vfio.rst.
VIABLE_DRIVERS = frozenset({"vfio-pci", "pci-stub"})


@dataclass(frozen=True, slots=True)
class Listed:
    """What a listing of all functions needs of one. Ids are lower-case hex without `0x`; `class_code` has 24 bits
    (base class, subclass, programming interface); `driver` is None for no driver, `group` for no IOMMU group."""

    address: str
    vendor: str
    device: str
    class_code: int
    driver: str | None
    group: int | None

    @property
    def id(self) -> str:
        """`vendor:device` as in `10de:1200`."""
        return f"{self.vendor}:{self.device}"

    @property
    def slot(self) -> str:
        """The address without the function number: what the functions of one card share."""
        return slot_of(self.address)

    @property
    def is_display(self) -> bool:
        """Whether it is a display controller (base class 03)."""
        return self.class_code >> 16 == 0x03

    @property
    def bridge_class(self) -> bool:
        """Whether its class is that of a bridge to another bus: PCI (04), CardBus (07) or semi-transparent (09)."""
        return self.class_code >> 8 in {0x0604, 0x0607, 0x0609}


@dataclass(frozen=True, slots=True)
class Function(Listed):
    """Everything sysfs says of a PCI function. None is "the kernel does not say", never "no".

    `driver_override` is None when unset. `reset_methods` are in the order in which the kernel tries them; before 5.15
    it names none, and `resets` alone says that there is a way. `express` is whether the link of a PCI Express function
    shows (since 4.13); `parent` the bridge above it, None on a root bus; `physfn` what a virtual function is one of.
    """

    subsystem_vendor: str | None
    subsystem_device: str | None
    driver_override: str | None
    has_override: bool
    boot_vga: bool | None
    is_bridge: bool
    reset_methods: tuple[str, ...]
    modalias: str | None
    numa: int | None
    resets: bool = False
    express: bool = False
    parent: str | None = None
    physfn: str | None = None

    @property
    def subsystem(self) -> str | None:
        """`vendor:device` of the subsystem, None where there is none."""
        if self.subsystem_vendor is None or self.subsystem_device is None:
            return None
        return f"{self.subsystem_vendor}:{self.subsystem_device}"

    @property
    def spoils_group(self) -> bool:
        """Whether its driver keeps its IOMMU group from being given to a guest.

        A bridge never does, whatever its driver (vfio_main.c, vfio_dev_driver_allowed; driver_managed_dma since 6.0).
        """
        return self.driver is not None and not is_viable(self.driver) and not self.is_bridge


def is_viable(driver: str) -> bool:
    """Whether a driver leaves its group to a guest: vfio-pci, pci-stub, or a variant of vfio-pci, whose names all end
    so (mlx5_vfio_pci, hisi-acc-vfio-pci, …)."""
    return driver in VIABLE_DRIVERS or driver.replace("_", "-").endswith("-vfio-pci")


def parse_address(text: str) -> str:
    """The address in full, lower case: `03:00.0` is `0000:03:00.0`. Raises UsageError for anything else."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is not a PCI address: expected DDDD:BB:DD.F or BB:DD.F, such as 0000:03:00.0 or 03:00.0.",
            hint="`vfiostate devices` lists the addresses of this host.",
        )
    domain, bus, slot, function = match.groups()
    return f"{domain or '0000'}:{bus}:{slot}.{function}".lower()


def parse_id(text: str) -> str:
    """A `vendor:device` pair in lower case. Raises UsageError for anything else."""
    if _ID.fullmatch(text.strip()) is None:
        raise UsageError(
            f"{text!r} is not a PCI id: expected VENDOR:DEVICE in four hex digits each, such as 10de:1200.",
            hint="`vfiostate devices` lists the ids of this host.",
        )
    return text.strip().lower()


def slot_of(address: str) -> str:
    """The address without its function number."""
    return address.rpartition(".")[0]


def sort_key(address: str) -> tuple[int, ...]:
    """Orders addresses by their numbers, so that domain 10000 comes after domain 0fff."""
    return tuple(int(part, 16) for part in re.split("[:.]", address))


def addresses(host: Host) -> tuple[str, ...]:
    """The addresses of all PCI functions, in order; none where the host has no PCI bus."""
    try:
        names = host.list(DEVICES)
    except FileNotFoundError:
        return ()
    return tuple(sorted((name.lower() for name in names if _ADDRESS.fullmatch(name)), key=sort_key))


def list_functions(host: Host) -> tuple[Listed, ...]:
    """All functions, each with only what a listing needs: five reads each."""
    found = (_listed(host, address) for address in addresses(host))
    return tuple(function for function in found if function is not None)


def read_function(host: Host, address: str) -> Function | None:
    """The function at an address (in full, see parse_address), None where there is none.

    Raises VfiostateError where sysfs says what it cannot.
    """
    basic = _listed(host, address)
    if basic is None:
        return None
    base = f"{DEVICES}/{address}"
    override = _text(host, f"{base}/driver_override")
    boot_vga = _text(host, f"{base}/boot_vga")
    numa = _text(host, f"{base}/numa_node")
    above = posixpath.basename(posixpath.dirname(host.resolve(base)))
    return Function(
        basic.address,
        basic.vendor,
        basic.device,
        basic.class_code,
        basic.driver,
        basic.group,
        subsystem_vendor=_hex_id(host, f"{base}/subsystem_vendor"),
        subsystem_device=_hex_id(host, f"{base}/subsystem_device"),
        driver_override=None if override in {None, "", "(null)"} else override,
        has_override=override is not None,
        boot_vga=None if boot_vga is None else boot_vga == "1",
        is_bridge=basic.bridge_class or host.lstat(f"{base}/pci_bus") is not None,
        reset_methods=tuple((_text(host, f"{base}/reset_method") or "").split()),
        modalias=_text(host, f"{base}/modalias") or None,
        numa=int(numa) if numa is not None and re.fullmatch(r"\d{1,6}", numa) else None,
        resets=host.lstat(f"{base}/reset") is not None,
        express=host.lstat(f"{base}/max_link_speed") is not None,
        parent=above if _ADDRESS.fullmatch(above) else None,
        physfn=_link_name(host, f"{base}/physfn"),
    )


def read_groups(host: Host) -> Mapping[int, tuple[str, ...]]:
    """IOMMU group number -> the addresses of its PCI members, in order. Empty where there is no IOMMU in use.

    Numbers are not contiguous and change between boots; members that are not PCI are left out.
    """
    try:
        numbers = host.list(GROUPS)
    except FileNotFoundError:
        return {}
    return {int(number): group_members(host, int(number)) for number in numbers if number.isdecimal()}


def group_members(host: Host, group: int) -> tuple[str, ...]:
    """The addresses of the PCI functions in a group, in order."""
    try:
        names = host.list(f"{GROUPS}/{group}/devices")
    except FileNotFoundError:
        return ()
    return tuple(sorted((name.lower() for name in names if _ADDRESS.fullmatch(name)), key=sort_key))


def _listed(host: Host, address: str) -> Listed | None:
    base = f"{DEVICES}/{address}"
    vendor = _hex_id(host, f"{base}/vendor")
    device = _hex_id(host, f"{base}/device")
    class_code = _hex(host, f"{base}/class")
    if vendor is None or device is None or class_code is None:
        # A function that was unplugged between the listing and the read is simply gone.
        return None
    group = _link_name(host, f"{base}/iommu_group")
    return Listed(
        address,
        vendor,
        device,
        class_code & 0xFFFFFF,
        _link_name(host, f"{base}/driver"),
        int(group) if group is not None and group.isdecimal() else None,
    )


def _link_name(host: Host, path: str) -> str | None:
    try:
        return host.readlink(path).rstrip("/").rpartition("/")[2]
    except FileNotFoundError:
        return None


def _text(host: Host, path: str) -> str | None:
    """The attribute's text, None where it is absent or the device does not answer (EIO, ENODEV: it is going away)."""
    try:
        return host.read(path).decode("ascii", errors="replace").strip()
    except OSError:
        return None


def _hex(host: Host, path: str) -> int | None:
    text = _text(host, path)
    if text is None:
        return None
    match = _HEX.fullmatch(text)
    if match is None:
        raise VfiostateError(
            f"{path} holds {text[:40]!r}: expected a hexadecimal number such as 0x10de.",
            hint="sysfs of this host is not what the kernel documents; report it with the output of `lspci -nn`.",
        )
    return int(match.group(1), 16)


def _hex_id(host: Host, path: str) -> str | None:
    value = _hex(host, path)
    return None if value is None else f"{value:04x}"
