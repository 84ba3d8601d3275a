"""SR-IOV virtual functions of the simulated machine: made and removed by writes to `sriov_numvfs`, gone with each boot.

Sources: drivers/pci/iov.c and the sriov_* attributes in Documentation/ABI/testing/sysfs-bus-pci.
"""

from __future__ import annotations

import errno

from engine.hosts.simulated import drivers, kmod, loading, sysfs
from engine.hosts.simulated.drivers import AUTOPROBE, DEVICES, failure
from engine.hosts.simulated.machine import Machine, version
from engine.hosts.simulated.parts import Function


def of(machine: Machine, address: str) -> tuple[Function, ...]:
    """The virtual functions that a physical one can have, in order."""
    return tuple(one for one in machine.description.functions if one.physfn == address)


def write_number(machine: Machine, address: str, value: str, path: str) -> None:
    """A write to `sriov_numvfs`. Raises OSError with the kernel's errno (sriov_numvfs_store)."""
    try:
        number = int(value, 0)
    except ValueError:
        raise failure(errno.EINVAL, path) from None
    found = machine.description.function(address)
    now = int(machine.text(f"{DEVICES}/{address}/sriov_numvfs", "0"))
    if found is None or not 0 <= number <= found.total_vfs:
        raise failure(errno.ERANGE, path)
    if number == now:
        return
    if drivers.driver_of(machine, address) is None:
        raise failure(errno.ENOENT, path)
    if number and now:
        raise failure(errno.EBUSY, path)
    set_number(machine, address, number)


def as_described(machine: Machine, one: Function) -> None:
    """What a physical function was described with: its virtual ones, unless the boot has made them already."""
    if machine.text(f"{DEVICES}/{one.address}/sriov_numvfs", "0").strip() != "0":
        return
    if not one.vfs_autoprobe:
        machine.put(f"{DEVICES}/{one.address}/{AUTOPROBE}", "0\n")
    set_number(machine, one.address, len(of(machine, one.address)))


def set_number(machine: Machine, address: str, number: int) -> None:
    """Have so many virtual functions, each offered to the drivers; 0 removes them all."""
    kernel = version(machine.release)
    for n, one in enumerate(of(machine, address)):
        if n < number:
            sysfs.appear(machine, one, kernel)
            machine.link_to(f"{DEVICES}/{one.address}/physfn", f"{DEVICES}/{address}")
            machine.link_to(f"{DEVICES}/{address}/virtfn{n}", f"{DEVICES}/{one.address}")
            drivers.attach_device(machine, one.address)
            _uevent(machine, one.address)
        elif machine.exists(f"{DEVICES}/{one.address}"):
            _vanish(machine, address, one.address, n)
    machine.put(f"{DEVICES}/{address}/sriov_numvfs", f"{number}\n")


def _uevent(machine: Machine, address: str) -> None:
    index = kmod.read_index(machine, machine.release)
    if index is not None:
        loading.hotplug(machine, index, kmod.root_options(machine), address)


def _vanish(machine: Machine, physical: str, address: str, n: int) -> None:
    drivers.release(machine, address)
    group = drivers.group_of(machine, address)
    if group is not None:
        machine.unlink(f"/sys/kernel/iommu_groups/{group}/devices/{address}")
        if not machine.names(f"/sys/kernel/iommu_groups/{group}/devices"):
            machine.remove_tree(f"/sys/kernel/iommu_groups/{group}")
    machine.unlink(f"{DEVICES}/{physical}/virtfn{n}")
    real = machine.tree.resolve(f"{DEVICES}/{address}")
    machine.unlink(f"{DEVICES}/{address}")
    machine.remove_tree(real)
