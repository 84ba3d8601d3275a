"""Writing to the simulated kernel's attributes: what each write does and the errno it is refused with.

Observed on Linux 6.1 (see the lab); sources are drivers/base/bus.c and drivers/pci/pci-{driver,sysfs}.c.
"""

from __future__ import annotations

import errno
import re

from engine.hosts.base import OutcomeUnknown
from engine.hosts.simulated import drivers, guests, hugepages, rom, sriov
from engine.hosts.simulated.drivers import DEVICES, DRIVERS, DynamicId, failure
from engine.hosts.simulated.machine import Machine

PAGE = 4096


def write(machine: Machine, path: str, value: str) -> None:
    """Write a value to an attribute. Raises OSError with the kernel's errno, OutcomeUnknown for one that hangs."""
    place = machine.path(path)
    if not place.is_file():
        raise failure(errno.EISDIR if place.is_dir() else errno.ENOENT, path)
    if value == "":
        # kernfs hands no empty write to the attribute.
        return
    real = machine.tree.resolve(path)
    driver = re.fullmatch(rf"{DRIVERS}/([^/]+)/(\w+)", real)
    if driver:
        _driver_attribute(machine, driver[1], driver[2], value, path)
    elif real == "/sys/bus/pci/drivers_probe":
        drivers.attach_device(machine, _present(machine, value, path))
    elif real == "/sys/bus/pci/drivers_autoprobe":
        machine.put(real, "0\n" if value.startswith("0") else "1\n")
    elif pool := re.fullmatch(rf"{hugepages.POOLS}/hugepages-(\d+)kB/nr_hugepages", real):
        hugepages.resize(machine, int(pool[1]), value, path)
    elif real.startswith("/sys/devices/pci"):
        _device_attribute(machine, real, value, path)
    elif re.fullmatch(r"/sys/module/\w+/parameters/\w+", real) or real.startswith("/proc/sys/"):
        machine.put(real, value.rstrip("\n") + "\n", machine.path(real).stat().st_mode & 0o777)
    elif machine.path(real).stat().st_mode & 0o200:
        machine.put(real, value, machine.path(real).stat().st_mode & 0o777)
    else:
        raise failure(errno.EACCES, path)


def _driver_attribute(machine: Machine, driver: str, attribute: str, value: str, path: str) -> None:
    if attribute == "bind":
        _bind(machine, driver, value, path)
    elif attribute == "unbind":
        _unbind(machine, driver, value, path)
    elif attribute == "new_id":
        _new_id(machine, driver, value, path)
    elif attribute == "remove_id":
        _remove_id(machine, driver, value, path)
    elif attribute != "uevent":
        raise failure(errno.EACCES, path)


def _present(machine: Machine, value: str, path: str) -> str:
    """The address in a value, which must be that of a function that is there: ENODEV otherwise."""
    address = value.removesuffix("\n")
    if address not in drivers.addresses(machine):
        raise failure(errno.ENODEV, path)
    return address


def _bind(machine: Machine, driver: str, value: str, path: str) -> None:
    address = _present(machine, value, path)
    holder = drivers.driver_of(machine, address)
    # Before 5.12 a bound device was ENODEV whoever held it (driver core: "Better reporting in device_driver_attach").
    newer = machine.at_least(5, 12)
    if not drivers.matches(machine, driver, address) or (holder is not None and not newer):
        raise failure(errno.ENODEV, path)
    if holder is not None:
        raise failure(errno.EBUSY, path)
    refusal = drivers.probe(machine, driver, address)
    if refusal:
        raise failure(refusal if newer else errno.ENODEV, path)


def _unbind(machine: Machine, driver: str, value: str, path: str) -> None:
    address = _present(machine, value, path)
    if drivers.driver_of(machine, address) != driver:
        raise failure(errno.ENODEV, path)
    found = machine.description.function(address)
    if found is not None and found.hangs and driver not in ("vfio-pci", "pci-stub"):
        machine.log(f"INFO: task tee:{4711} blocked for more than 120 seconds.")
        raise OutcomeUnknown(f"the write of {address} to {path} did not return")
    if driver == "vfio-pci" and guests.hold(machine, address):
        # Seen on 6.1: the write waits, beyond the reach of signals, until the guest has ended.
        machine.log(f"vfio-pci {address}: Relaying device request to user (#0)")
        raise OutcomeUnknown(f"a guest has {address}: the write to {path} waits until it ends")
    drivers.release(machine, address)


def _new_id(machine: Machine, driver: str, value: str, path: str) -> None:
    given = _parse_id(value, path)
    ids = drivers.dynamic_ids(machine, driver)
    # The check came with 3.16; older kernels take an id twice. Modelled as the stricter of the two everywhere.
    probe = f"pci:v{given.vendor:08X}d{given.device:08X}sv00000000sd00000000bc00sc00i00"
    already = any((one.vendor, one.device) == (given.vendor, given.device) for one in ids)
    if already or drivers.static_match(machine, driver, probe):
        raise failure(errno.EEXIST, path)
    drivers.keep_ids(machine, driver, (*ids, given))
    drivers.attach_driver(machine, driver)


def _remove_id(machine: Machine, driver: str, value: str, path: str) -> None:
    given = _parse_id(value, path)
    ids = drivers.dynamic_ids(machine, driver)
    found = next((one for one in ids if (one.vendor, one.device) == (given.vendor, given.device)), None)
    if found is None:
        raise failure(errno.ENODEV, path)
    drivers.keep_ids(machine, driver, tuple(one for one in ids if one is not found))


def _parse_id(value: str, path: str) -> DynamicId:
    """As sscanf("%x %x %x %x %x %x") does: fields until one is no number; fewer than two are EINVAL."""
    numbers: list[int] = []
    for word in value.split()[:6]:
        if not re.fullmatch(r"(0x)?[0-9a-fA-F]+", word):
            break
        numbers.append(int(word, 16))
    if len(numbers) < 2:
        raise failure(errno.EINVAL, path)
    return DynamicId(*numbers)


def _device_attribute(machine: Machine, real: str, value: str, path: str) -> None:
    directory, _, attribute = real.rpartition("/")
    address = directory.rpartition("/")[2]
    if attribute == "driver_override" and address in drivers.addresses(machine):
        if len(value) >= PAGE - 1:
            raise failure(errno.EINVAL, path)
        name = re.split(r"[\n\0]", value, maxsplit=1)[0]
        machine.put(f"{DEVICES}/{address}/driver_override", f"{name or '(null)'}\n")
    elif attribute == "sriov_numvfs":
        sriov.write_number(machine, address, value, path)
    elif attribute == drivers.AUTOPROBE:
        machine.put(real, "0\n" if value.strip().lower() in ("0", "n", "no", "off") else "1\n")
    elif attribute == "rom":
        rom.write(machine, address, value)
    elif attribute not in ("reset", "rescan", "enable", "power_state", "numa_node", "uevent", "reset_method"):
        raise failure(errno.EACCES, path)
