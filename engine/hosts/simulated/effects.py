"""What a binding brings about elsewhere: lines in the kernel's log, /dev/vfio, network interfaces, memory regions."""

from __future__ import annotations

import errno

from engine.hosts.simulated import keyboards, net
from engine.hosts.simulated.machine import STUBS, Machine

DEVICES = "/sys/bus/pci/devices"


def bound(machine: Machine, driver: str, address: str) -> None:
    """A driver has taken a function."""
    if driver == "pci-stub":
        machine.log(f"pci-stub {address}: claimed by stub")
    if driver not in STUBS:
        net.appear(machine, address)
    _after(machine, address)


def released(machine: Machine, driver: str, address: str) -> None:
    """A driver has let a function go."""
    for one in machine.description.interfaces:
        if one.function == address:
            machine.unlink(f"/sys/class/net/{one.name}")
            machine.remove_tree(f"{DEVICES}/{address}/net")
    _after(machine, address)


def id_added(machine: Machine, driver: str, vendor: int, device: int, device_class: int, mask: int) -> None:
    """A driver was given an id by its `ids=` parameter."""
    if driver == "pci-stub":
        machine.log(f"pci-stub: add {vendor:04X}:{device:04X} sub=FFFFFFFF:FFFFFFFF cls={device_class:08X}/{mask:08X}")
    elif driver == "vfio-pci":
        line = f"add [{vendor:04x}:{device:04x}[ffffffff:ffffffff]] class {device_class:#08x}/{mask:08x}"
        machine.log(f"vfio_pci: {line}")


def _after(machine: Machine, address: str) -> None:
    _uevent(machine, address)
    _framebuffer_goes(machine, address)
    if not machine.booting:
        settle(machine)


def settle(machine: Machine) -> None:
    """Bring in line what depends on all bindings together."""
    vfio_nodes(machine)
    memory_map(machine)
    keyboards.show(machine)


def _driver(machine: Machine, address: str) -> str | None:
    try:
        return machine.tree.readlink(f"{DEVICES}/{address}/driver").rpartition("/")[2]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL, errno.ENOTDIR):
            return None
        raise


def _uevent(machine: Machine, address: str) -> None:
    lines = machine.text(f"{DEVICES}/{address}/uevent").splitlines()
    driver = _driver(machine, address)
    kept = [line for line in lines if not line.startswith("DRIVER=")]
    machine.put(f"{DEVICES}/{address}/uevent", "\n".join([*([f"DRIVER={driver}"] if driver else []), *kept, ""]))


def vfio_nodes(machine: Machine) -> None:
    """Bring /dev/vfio in line: `vfio` with the module, a node for each group of which vfio-pci holds a member; and
    /dev/kvm, which comes and goes with the processor's KVM module."""
    wanted: dict[str, int] = {}
    if machine.exists("/sys/module/vfio"):
        wanted["vfio"] = 0o666
    for address in machine.names("/sys/bus/pci/drivers/vfio-pci"):
        if ":" in address:
            group = machine.tree.readlink(f"{DEVICES}/{address}/iommu_group").rpartition("/")[2]
            wanted[group] = 0o600
    for name in machine.names("/dev/vfio"):
        if name not in wanted:
            machine.unlink(f"/dev/vfio/{name}")
    for name, mode in wanted.items():
        if not machine.exists(f"/dev/vfio/{name}"):
            machine.put(f"/dev/vfio/{name}", "", mode)
    if not any(machine.exists(f"/sys/module/{name}") for name in ("kvm_amd", "kvm_intel")):
        machine.unlink("/dev/kvm")
    elif not machine.exists("/dev/kvm"):
        # 0666 is what systemd's rules give it (50-udev-default.rules).
        machine.put("/dev/kvm", "", 0o666)


def memory_map(machine: Machine) -> None:
    """Write /proc/iomem: each function's memory regions, and below them who holds them."""
    lines = ["00001000-0009ffff : System RAM", f"00100000-{(machine.description.memory << 20) - 1:08x} : System RAM"]
    for one in machine.description.functions:
        if not machine.exists(f"{DEVICES}/{one.address}"):
            continue
        holder = _holder(machine, one.address)
        for start, end, flags in one.resources[:6]:
            # IORESOURCE_MEM (include/linux/ioport.h); ports are in /proc/ioports.
            if flags & 0x200 and end > start:
                lines.append(f"{start:08x}-{end:08x} : {one.address}")
                lines.extend([f"  {start:08x}-{end:08x} : {holder}"] if holder else [])
    machine.put("/proc/iomem", "\n".join(lines) + "\n", 0o400)


def _framebuffer_goes(machine: Machine, address: str) -> None:
    """A graphics driver throws the firmware's framebuffer out (drm_aperture_remove_conflicting_framebuffers)."""
    framebuffer, driver = machine.description.framebuffer, _driver(machine, address)
    if framebuffer is not None and framebuffer[1] == address and driver is not None and driver not in STUBS:
        machine.put("/.kernel/framebuffer-gone", "")


def _holder(machine: Machine, address: str) -> str | None:
    driver = _driver(machine, address)
    framebuffer = machine.description.framebuffer
    if driver is not None and driver not in STUBS:
        return driver
    if framebuffer is not None and framebuffer[1] == address and not machine.exists("/.kernel/framebuffer-gone"):
        return framebuffer[0]
    return "vfio-pci" if driver == "vfio-pci" else None
