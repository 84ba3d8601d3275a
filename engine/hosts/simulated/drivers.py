"""The driver core of the simulated kernel: drivers register, devices are matched, bound and let go.

The truth is in the tree: a `driver` link is a binding, a directory below drivers/ a registered driver. What no file of
a real kernel shows lies in DIR/.kernel: dynamic ids, and the order of registration (drivers are tried in that order).
Observed on Linux 6.1; sources are drivers/base/{bus,dd}.c and drivers/pci/pci-driver.c.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from fnmatch import fnmatchcase

from engine.hosts.simulated import effects, kmod
from engine.hosts.simulated.machine import Machine

DEVICES = "/sys/bus/pci/devices"
DRIVERS = "/sys/bus/pci/drivers"
ORDER = "/.kernel/drivers"
AUTOPROBE = "sriov_drivers_autoprobe"
ANY = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class DynamicId:
    """An id given to a driver while it runs; class and mask have 24 bits."""

    vendor: int
    device: int
    subvendor: int = ANY
    subdevice: int = ANY
    device_class: int = 0
    mask: int = 0

    @property
    def line(self) -> str:
        """How DIR/.kernel keeps it."""
        return (
            f"{self.vendor:04x} {self.device:04x} {self.subvendor:x} {self.subdevice:x} "
            f"{self.device_class:x} {self.mask:x}"
        )


def failure(number: int, path: str) -> OSError:
    """The error with which the kernel answers a write."""
    return OSError(number, os.strerror(number), path)


def registered(machine: Machine) -> dict[str, str]:
    """The PCI drivers in the order they registered, each with its module."""
    lines = [line.split() for line in machine.text(ORDER).splitlines()]
    return {words[0]: words[1] for words in lines if len(words) == 2 and machine.exists(f"{DRIVERS}/{words[0]}")}


def addresses(machine: Machine) -> tuple[str, ...]:
    """The PCI functions that are there."""
    return machine.names(DEVICES)


def driver_of(machine: Machine, address: str) -> str | None:
    """The driver that holds a function."""
    try:
        return machine.tree.readlink(f"{DEVICES}/{address}/driver").rpartition("/")[2]
    except OSError:
        return None


def override_of(machine: Machine, address: str) -> str | None:
    """The driver_override of a function, None where there is none (or the kernel knows no such thing)."""
    value = machine.text(f"{DEVICES}/{address}/driver_override").rstrip("\n")
    return None if value in ("", "(null)") else value


def group_of(machine: Machine, address: str) -> str | None:
    """The IOMMU group of a function."""
    try:
        return machine.tree.readlink(f"{DEVICES}/{address}/iommu_group").rpartition("/")[2]
    except OSError:
        return None


def number(machine: Machine, address: str, attribute: str) -> int:
    """A hexadecimal attribute of a function; 0 where it holds no number."""
    try:
        return int(machine.text(f"{DEVICES}/{address}/{attribute}"), 16)
    except ValueError:
        return 0


# --- matching


def dynamic_ids(machine: Machine, driver: str) -> tuple[DynamicId, ...]:
    """The ids given to a driver through ids= or new_id."""
    lines = machine.text(f"/.kernel/dynids/{driver}").splitlines()
    return tuple(DynamicId(*(int(word, 16) for word in line.split())) for line in lines)


def keep_ids(machine: Machine, driver: str, ids: tuple[DynamicId, ...]) -> None:
    """Replace a driver's dynamic ids."""
    machine.put(f"/.kernel/dynids/{driver}", "".join(one.line + "\n" for one in ids))


def knows(machine: Machine, driver: str, address: str) -> bool:
    """Whether a driver's tables, static or dynamic, name a function."""
    found = {
        key: number(machine, address, key)
        for key in ("vendor", "device", "subsystem_vendor", "subsystem_device", "class")
    }
    for one in dynamic_ids(machine, driver):
        if (
            (one.vendor, one.device) == (found["vendor"], found["device"])
            and one.subvendor in (ANY, found["subsystem_vendor"])
            and one.subdevice in (ANY, found["subsystem_device"])
            and (found["class"] ^ one.device_class) & one.mask == 0
        ):
            return True
    return static_match(machine, driver, machine.text(f"{DEVICES}/{address}/modalias").strip())


def static_match(machine: Machine, driver: str, modalias: str) -> bool:
    """Whether the table compiled into a driver names a modalias."""
    found = machine.kernel.modules.get(registered(machine).get(driver, ""))
    return found is not None and any(fnmatchcase(modalias, pattern) for pattern in found.aliases)


def matches(machine: Machine, driver: str, address: str) -> bool:
    """Whether the bus would offer a function to a driver; an override lets in the one it names, and no other."""
    override = override_of(machine, address)
    return override == driver if override is not None else knows(machine, driver, address)


# --- binding


def probe(machine: Machine, driver: str, address: str) -> int:
    """Offer an unbound function to a driver; 0 where it took it, otherwise the errno of its refusal."""
    if machine.text(f"{DEVICES}/{address}/physfn/{AUTOPROBE}").startswith("0") and not override_of(machine, address):
        # pci_device_can_probe: since 4.12 a virtual function may be kept from all drivers but one that is named for it.
        return errno.ENODEV
    if driver == "vfio-pci":
        bridge = number(machine, address, "class") >> 8 == 0x0604
        # vfio_pci_core_register_device: no IOMMU group, or a header that is no endpoint's.
        if bridge or group_of(machine, address) is None:
            return errno.EINVAL
    machine.link_to(f"{DEVICES}/{address}/driver", f"{DRIVERS}/{driver}")
    machine.link_to(f"{DRIVERS}/{driver}/{address}", f"{DEVICES}/{address}")
    effects.bound(machine, driver, address)
    return 0


def release(machine: Machine, address: str) -> None:
    """Take a function from the driver that holds it."""
    driver = driver_of(machine, address)
    if driver is None:
        return
    machine.unlink(f"{DEVICES}/{address}/driver")
    machine.unlink(f"{DRIVERS}/{driver}/{address}")
    effects.released(machine, driver, address)


def attach_device(machine: Machine, address: str) -> None:
    """Offer an unbound function to every driver in turn; nothing happens when it is bound or nobody wants it."""
    for driver in registered(machine):
        if driver_of(machine, address) is not None:
            return
        if matches(machine, driver, address):
            probe(machine, driver, address)


def attach_driver(machine: Machine, driver: str) -> None:
    """Offer every unbound function to a driver."""
    for address in addresses(machine):
        if driver_of(machine, address) is None and matches(machine, driver, address):
            probe(machine, driver, address)


# --- drivers come and go


def register(machine: Machine, driver: str, module: str, ids: tuple[DynamicId, ...] = ()) -> None:
    """Register a driver: its directory, then the functions it matches, then its `ids=` one by one."""
    for attribute in ("bind", "unbind", "new_id", "remove_id", "uevent"):
        machine.put(f"{DRIVERS}/{driver}/{attribute}", "", 0o200)
    machine.path(f"/sys/module/{module}").mkdir(parents=True, exist_ok=True)
    machine.link_to(f"{DRIVERS}/{driver}/module", f"/sys/module/{module}")
    machine.link_to(f"/sys/module/{module}/drivers/pci:{driver}", f"{DRIVERS}/{driver}")
    machine.put(ORDER, "".join(f"{d} {m}\n" for d, m in {**registered(machine), driver: module}.items()))
    if machine.text("/sys/bus/pci/drivers_autoprobe").strip() != "0":
        attach_driver(machine, driver)
    for one in ids:
        effects.id_added(machine, driver, one.vendor, one.device, one.device_class, one.mask)
        keep_ids(machine, driver, (*dynamic_ids(machine, driver), one))
        attach_driver(machine, driver)


def unregister(machine: Machine, driver: str) -> None:
    """Take a driver away: its functions are let go and stay without one until something probes them."""
    for address in addresses(machine):
        if driver_of(machine, address) == driver:
            release(machine, address)
    machine.remove_tree(f"{DRIVERS}/{driver}")
    machine.unlink(f"/.kernel/dynids/{driver}")


def parse_ids(value: str) -> tuple[DynamicId, ...]:
    """The value of an `ids=` parameter: `vendor:device[:subvendor[:subdevice[:class[:mask]]]]`, separated by commas."""
    found = []
    for part in value.split(","):
        try:
            numbers = [int(word, 16) for word in part.split(":")]
        except ValueError:
            continue
        if 2 <= len(numbers) <= 6:
            found.append(DynamicId(*numbers))
    return tuple(found)


def default_drivers(module: str, info: tuple[str, ...]) -> tuple[str, ...]:
    """The PCI drivers that a module registers: what its description says, otherwise what is known of it."""
    return info or KNOWN_DRIVERS.get(kmod.normal(module), ())


# Parameters that somebody asks for, where a description does not say which a module has.
KNOWN_PARAMETERS: dict[str, tuple[str, ...]] = {
    "vfio_iommu_type1": ("allow_unsafe_interrupts",),
    "vfio_pci": ("disable_idle_d3", "disable_vga", "nointxmask"),
}
# The drivers' names that are not their modules' (KBUILD_MODNAME against the `name` in struct pci_driver).
KNOWN_DRIVERS: dict[str, tuple[str, ...]] = {
    "vfio_pci": ("vfio-pci",),
    "pci_stub": ("pci-stub",),
    "xhci_pci": ("xhci_hcd",),
    "ehci_pci": ("ehci-pci",),
    "ohci_pci": ("ohci-pci",),
    "bochs": ("bochs-drm",),
    "virtio_pci": ("virtio-pci",),
    "i2c_piix4": ("piix4_smbus",),
    "i2c_i801": ("i801_smbus",),
    "pcieport": ("pcieport",),
}
