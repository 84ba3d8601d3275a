"""The simulated kernel's network interfaces, as /sys/class/net and /proc/net/route show them."""

from __future__ import annotations

from engine.hosts.simulated.machine import Machine

CLASS = "/sys/class/net"
IFF_UP = 0x1
IFF_PROMISC = 0x100
# ARPHRD_ETHER and ARPHRD_LOOPBACK (include/uapi/linux/if_arp.h).
ETHER, LOOPBACK = 1, 772


def _make(machine: Machine, directory: str, name: str, *, kind: int = ETHER, up: bool = False) -> None:
    index = 1 + max((int(machine.text(f"{CLASS}/{one}/ifindex", "0")) for one in machine.names(CLASS)), default=0)
    # Locally administered and made from the index: the description keeps no addresses.
    address = "00:00:00:00:00:00" if kind == LOOPBACK else f"02:00:00:00:00:{index:02x}"
    for attribute, value in (
        ("address", address),
        ("ifindex", str(index)),
        ("mtu", "65536" if kind == LOOPBACK else "1500"),
        ("type", str(kind)),
        ("operstate", "unknown" if kind == LOOPBACK else "up" if up else "down"),
        ("flags", f"{0x1002 | (IFF_UP if up else 0):#x}"),
    ):
        machine.put(f"{directory}/{attribute}", value + "\n")
    machine.link_to(f"{CLASS}/{name}", directory)


def exists(machine: Machine, name: str) -> bool:
    """Whether there is such an interface."""
    return name in machine.names(CLASS)


def add(machine: Machine, name: str, kind: str, *, owner: int | None = None) -> None:
    """Make a virtual interface: `bridge`, `tun`, `lo` or `dummy`; `owner` is a uid for a tap."""
    directory = f"/sys/devices/virtual/net/{name}"
    _make(machine, directory, name, kind=LOOPBACK if kind == "lo" else ETHER, up=kind == "lo")
    if kind == "bridge":
        machine.put(f"{directory}/bridge/stp_state", "0\n")
        machine.path(f"{directory}/brif").mkdir()
    elif kind == "tun":
        # IFF_TAP | IFF_NO_PI | IFF_PERSIST (include/uapi/linux/if_tun.h).
        machine.put(f"{directory}/tun_flags", "0x1802\n")
        machine.put(f"{directory}/owner", f"{-1 if owner is None else owner}\n")


def kind_of(machine: Machine, name: str) -> str | None:
    """What kind of virtual interface it is, None for a physical one."""
    place = f"{CLASS}/{name}"
    if machine.exists(f"{place}/bridge"):
        return "bridge"
    if machine.exists(f"{place}/tun_flags"):
        return "tun"
    return None


def delete(machine: Machine, name: str) -> None:
    """Remove a virtual interface; a bridge lets go of its ports."""
    for port in machine.names(f"{CLASS}/{name}/brif"):
        set_master(machine, port, None)
    set_master(machine, name, None)
    machine.unlink(f"{CLASS}/{name}")
    machine.remove_tree(f"/sys/devices/virtual/net/{name}")


def master_of(machine: Machine, name: str) -> str | None:
    """The bridge an interface is a port of."""
    try:
        return machine.tree.readlink(f"{CLASS}/{name}/master").rpartition("/")[2]
    except OSError:
        return None


def set_master(machine: Machine, name: str, bridge: str | None) -> None:
    """Put an interface into a bridge, or take it out."""
    before = master_of(machine, name)
    if before is not None:
        machine.unlink(f"{CLASS}/{before}/brif/{name}")
        machine.unlink(f"{CLASS}/{name}/master")
        machine.remove_tree(f"{CLASS}/{name}/brport")
    if bridge is not None:
        machine.link_to(f"{CLASS}/{name}/master", f"{CLASS}/{bridge}")
        machine.path(f"{CLASS}/{name}/brport").mkdir(exist_ok=True)
        machine.link_to(f"{CLASS}/{name}/brport/bridge", f"{CLASS}/{bridge}")
        machine.link_to(f"{CLASS}/{bridge}/brif/{name}", f"{CLASS}/{name}/brport")


def flags_of(machine: Machine, name: str) -> int:
    """The IFF_ flags."""
    return int(machine.text(f"{CLASS}/{name}/flags", "0"), 16)


def set_flag(machine: Machine, name: str, flag: int, on: bool) -> None:
    """Set or clear an IFF_ flag; IFF_UP shows in operstate too."""
    flags = flags_of(machine, name)
    machine.put(f"{CLASS}/{name}/flags", f"{flags | flag if on else flags & ~flag:#x}\n")
    if flag == IFF_UP:
        machine.put(f"{CLASS}/{name}/operstate", "up\n" if on else "down\n")


def appear(machine: Machine, address: str) -> None:
    """A native driver has taken a network card: its interface is there."""
    for one in machine.description.interfaces:
        if one.function == address and not exists(machine, one.name):
            directory = f"{machine.tree.resolve('/sys/bus/pci/devices/' + address)}/net/{one.name}"
            _make(machine, directory, one.name, up=True)
            machine.link_to(f"{directory}/device", f"/sys/bus/pci/devices/{address}")


def configure(machine: Machine) -> None:
    """What the system's network configuration does at the end of a boot: bridges with their ports, routes."""
    found = machine.description.interfaces
    for one in found:
        if one.function is None and not exists(machine, one.name):
            add(machine, one.name, "bridge")
            set_flag(machine, one.name, IFF_UP, True)
    for one in found:
        for port in one.ports:
            if exists(machine, port):
                set_master(machine, port, one.name)
    lines = ["Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"]
    for one in found:
        if one.default_route and exists(machine, one.name):
            lines.append(f"{one.name}\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0")
            lines.append(f"{one.name}\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0")
    machine.put("/proc/net/route", "\n".join(lines) + "\n")
