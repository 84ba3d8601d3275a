"""What /sys and /proc show right after a simulated kernel has found its hardware, before any driver came."""

from __future__ import annotations

import functools

from engine.hosts.simulated import firmware
from engine.hosts.simulated.machine import Machine, version
from engine.hosts.simulated.parts import Description, Function, Iommu

DEVICES = "/sys/bus/pci/devices"


def populate(machine: Machine, release: str, *, iommu: bool) -> None:
    """Make the sysfs of a booted machine: PCI, IOMMU groups, block devices, firmware tables."""
    found = machine.description
    for attribute, mode in (("drivers_autoprobe", 0o644), ("drivers_probe", 0o200), ("rescan", 0o200)):
        machine.put(f"/sys/bus/pci/{attribute}", "1\n" if mode == 0o644 else "", mode)
    machine.path("/sys/bus/pci/drivers").mkdir(parents=True, exist_ok=True)
    # Virtual functions are made at run time.
    real = [one for one in found.functions if one.physfn is None]
    for one in real:
        _function(machine, one, version(release))
    groups = group_numbers(found) if iommu else {}
    machine.path("/sys/kernel/iommu_groups").mkdir(parents=True, exist_ok=True)
    for one in real:
        if one.address in groups:
            _into_group(machine, one.address, groups[one.address])
    # /sys/class/iommu came with 3.17 (iommu-sysfs).
    if version(release) >= (3, 17):
        machine.path("/sys/class/iommu").mkdir(parents=True, exist_ok=True)
        if iommu:
            name = "ivhd0" if found.iommu is Iommu.AMD else "dmar0"
            machine.path(f"/sys/devices/virtual/iommu/{name}").mkdir(parents=True)
            machine.link_to(f"/sys/class/iommu/{name}", f"/sys/devices/virtual/iommu/{name}")
    for table in found.acpi_tables:
        # Only the signature: nothing reads more, and a table may hold serial numbers.
        machine.put(f"/sys/firmware/acpi/tables/{table}", table, 0o400)
    if found.uefi:
        _efi(machine)
    _disks(machine)


def appear(machine: Machine, one: Function, kernel: tuple[int, int]) -> None:
    """Show a function that came while the machine runs, in its IOMMU group where the IOMMU is on."""
    _function(machine, one, kernel)
    group = group_numbers(machine.description).get(one.address)
    if group is not None and machine.names("/sys/kernel/iommu_groups"):
        _into_group(machine, one.address, group)


def _into_group(machine: Machine, address: str, group: int) -> None:
    base = f"/sys/kernel/iommu_groups/{group}"
    machine.put(f"{base}/type", "DMA\n")
    machine.put(f"{base}/reserved_regions", "0x00000000fee00000 0x00000000feefffff msi\n")
    machine.link_to(f"{base}/devices/{address}", f"{DEVICES}/{address}")
    machine.link_to(f"{DEVICES}/{address}/iommu_group", base)


def _efi(machine: Machine) -> None:
    machine.put("/sys/firmware/efi/fw_platform_size", "64\n", 0o444)
    variable = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    # Four bytes of attributes, then the value (Documentation/filesystems/efivarfs.rst).
    value = "\x06\0\0\0" + ("\x01" if machine.description.secure_boot else "\0")
    machine.put(f"/sys/firmware/efi/efivars/{variable}", value)
    firmware.populate(machine)


def group_numbers(found: Description) -> dict[str, int]:
    """The IOMMU group of each function: as described, otherwise one for each slot, as with a chipset that has ACS."""
    taken = {one.group for one in found.functions if one.group is not None}
    numbers = {one.address: one.group for one in found.functions if one.group is not None}
    slots: dict[str, int] = {}
    for one in found.functions:
        slot = one.address.rpartition(".")[0]
        # The IOMMU itself (class 0806) is in no group.
        if one.address not in numbers and not one.device_class.startswith("0806"):
            if slot not in slots:
                slots[slot] = next(n for n in range(len(found.functions) + len(taken) + 1) if n not in taken)
                taken.add(slots[slot])
            numbers[one.address] = slots[slot]
    return numbers


def device_path(found: Description, address: str) -> str:
    """Where a function lies below /sys/devices: under the bridge above it."""

    @functools.cache
    def path(one: str) -> str:
        function = found.function(one)
        above = function.parent if function else None
        return f"{path(above)}/{one}" if above else f"/sys/devices/pci{one.rpartition(':')[0]}/{one}"

    return path(address)


def _function(machine: Machine, one: Function, kernel: tuple[int, int]) -> None:
    base = device_path(machine.description, one.address)
    lines = [*one.resources, *[(0, 0, 0)] * (13 - len(one.resources))]
    attributes = {
        "vendor": f"0x{one.vendor}",
        "device": f"0x{one.device}",
        "subsystem_vendor": f"0x{one.subsystem_vendor}",
        "subsystem_device": f"0x{one.subsystem_device}",
        "class": f"0x{one.device_class}",
        "modalias": one.modalias,
        "numa_node": str(one.numa_node),
        "enable": "0",
        "irq": "0",
        "resource": "\n".join(" ".join(f"0x{number:016x}" for number in line) for line in lines),
        "uevent": _uevent(one),
    }
    # Each with the version that brought it: pci-sysfs.c.
    if kernel >= (3, 16):
        attributes["driver_override"] = "(null)"
    if kernel >= (4, 10):
        attributes["revision"] = f"0x{one.revision}"
    if kernel >= (5, 15) and one.reset_method:
        attributes["reset_method"] = one.reset_method
    if kernel >= (4, 13) and not one.conventional:
        attributes["max_link_speed"] = "8.0 GT/s PCIe"
    if one.total_vfs:
        virtual = next((f.device for f in machine.description.functions if f.physfn == one.address), None)
        attributes |= {"sriov_totalvfs": str(one.total_vfs), "sriov_numvfs": "0"}
        attributes |= {"sriov_vf_device": virtual} if virtual is not None and kernel >= (4, 15) else {}
        attributes |= {"sriov_drivers_autoprobe": "1"} if kernel >= (4, 12) else {}
    if one.boot_vga is not None:
        attributes["boot_vga"] = str(int(one.boot_vga))
    writable = {"driver_override", "enable", "numa_node", "reset_method", "uevent"}
    writable |= {"sriov_numvfs", "sriov_drivers_autoprobe"}
    for name, value in attributes.items():
        machine.put(f"{base}/{name}", value + "\n", 0o644 if name in writable else 0o444)
    if one.reset_method:
        machine.put(f"{base}/reset", "", 0o200)
    if one.rom is not None:
        machine.put(f"{base}/rom", "", 0o600)
    machine.path(base).joinpath("config").write_bytes(_config(one))
    machine.link_to(f"{DEVICES}/{one.address}", base)
    machine.link_to(f"{base}/subsystem", "/sys/bus/pci")
    if one.bridge:
        below = next((f.address for f in machine.description.functions if f.parent == one.address), None)
        bus = below.rpartition(":")[0] if below else f"{one.address[:-7]}ff"
        machine.path(f"{base}/pci_bus/{bus}").mkdir(parents=True, exist_ok=True)


def _uevent(one: Function) -> str:
    return "\n".join(
        (
            f"PCI_CLASS={int(one.device_class, 16):X}",
            f"PCI_ID={one.vendor}:{one.device}".upper(),
            f"PCI_SUBSYS_ID={one.subsystem_vendor}:{one.subsystem_device}".upper(),
            f"PCI_SLOT_NAME={one.address}",
            f"MODALIAS={one.modalias}",
        )
    )


def _config(one: Function) -> bytes:
    """The first 64 bytes of configuration space: ids, class and header type (PCI Local Bus Specification 3.0, 6.1)."""
    space = bytearray(64)
    space[0:2] = int(one.vendor, 16).to_bytes(2, "little")
    space[2:4] = int(one.device, 16).to_bytes(2, "little")
    space[8] = int(one.revision, 16)
    space[9:12] = int(one.device_class, 16).to_bytes(3, "little")
    space[14] = 0x01 if one.bridge else 0x00
    if not one.bridge:
        space[44:46] = int(one.subsystem_vendor, 16).to_bytes(2, "little")
        space[46:48] = int(one.subsystem_device, 16).to_bytes(2, "little")
    return bytes(space)


def _disks(machine: Machine) -> None:
    machine.path("/sys/block").mkdir(parents=True, exist_ok=True)
    machine.path("/sys/class/block").mkdir(parents=True, exist_ok=True)
    found = machine.description
    for n, disk in enumerate(found.disks):
        above = device_path(found, disk.function) if disk.function else "/sys/devices/virtual"
        base = f"{above}/{_attached(n, disk.name)}" if disk.function else f"{above}/block/{disk.name}"
        major = 8 if disk.function else 254
        _block(machine, base, disk.sectors, f"{major}:{16 * n}")
        machine.link_to(f"/sys/block/{disk.name}", base)
        machine.link_to(f"/sys/class/block/{disk.name}", base)
        for k, name in enumerate(disk.partitions, 1):
            _block(machine, f"{base}/{name}", disk.sectors // (len(disk.partitions) + 1), f"{major}:{16 * n + k}")
            machine.put(f"{base}/{name}/partition", f"{k}\n", 0o444)
            machine.link_to(f"/sys/class/block/{name}", f"{base}/{name}")
        for name in (disk.name, *disk.partitions):
            if not machine.exists(f"/dev/{name}"):
                machine.put(f"/dev/{name}", "", 0o660)
    for disk in found.disks:
        for below in disk.slaves:
            machine.link_to(f"/sys/block/{disk.name}/slaves/{below}", f"/sys/class/block/{below}")
            machine.link_to(f"/sys/class/block/{below}/holders/{disk.name}", f"/sys/block/{disk.name}")


def _attached(n: int, name: str) -> str:
    """Where a disk lies below its controller: an NVMe namespace below the controller's nvmeN."""
    controller, namespace, _ = name.partition("n1") if name.startswith("nvme") else ("", "", "")
    return f"nvme/{controller}/{name}" if namespace else f"ata{n + 1}/block/{name}"


def _block(machine: Machine, base: str, sectors: int, device: str) -> None:
    machine.put(f"{base}/size", f"{sectors}\n", 0o444)
    machine.put(f"{base}/dev", f"{device}\n", 0o444)
    machine.put(f"{base}/ro", "0\n", 0o444)
    machine.put(f"{base}/removable", "0\n", 0o444)
    machine.link_to(f"/sys/dev/block/{device}", base)
