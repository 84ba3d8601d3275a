"""Which PCI functions the host's network goes through, the default route before all.

Sources: net/ipv4/fib_trie.c (fib_route_seq_show) and net/ipv6/route.c (rt6_info_route) for the two route tables;
Documentation/ABI/testing/sysfs-class-net; net/openvswitch/vport-netdev.c (ovs_netdev_link: a port is linked to the
datapath's own interface, never to the bridge that carries the route); drivers/net/ppp/pppoe.c (pppoe_seq_show).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from steps.base import Host
from steps.disks import pci_in_path
from steps.reading import names_in, target_of, text_of

NET = "/sys/class/net"
PPPOE = "/proc/net/pppoe"
OVS = "ovs-system"
_UP, _REJECT = 0x1, 0x200


@dataclass(frozen=True, slots=True)
class NetworkUse:
    """An interface behind a PCI function: its name, whether the default route goes through it (`via` names the bridge,
    bond or VLAN on top, or itself), whether it is up; `sure` is false where nothing shows what carries `via`."""

    name: str
    via: str | None
    up: bool
    sure: bool = True


def network_uses(host: Host) -> Mapping[str, tuple[NetworkUse, ...]]:
    """PCI address -> the interfaces behind it (bridges above included)."""
    places = {name: _place(host, name) for name in names_in(host, NET)}
    up = {name for name in places if text_of(host, f"{NET}/{name}/operstate").strip() == "up"}
    real = {name for name, place in places.items() if place}
    tops = default_interfaces(host)
    routed = _routed(host, tops, real)
    # A tunnel's only default route: its packets leave by a card that no link leads to.
    maybe = {} if routed else {name: top for top in tops[:1] for name in real & up}
    found: dict[str, list[NetworkUse]] = {}
    for name, place in places.items():
        use = NetworkUse(name, routed.get(name) or maybe.get(name), name in up, name not in maybe)
        for address in dict.fromkeys(pci_in_path(place)):
            found.setdefault(address, []).append(use)
    return {address: tuple(uses) for address, uses in found.items()}


def _place(host: Host, name: str) -> str:
    """Where in /sys the hardware of an interface is, empty for one without any."""
    place = target_of(host, f"{NET}/{name}")
    if host.lstat(f"{NET}/{name}/device") is not None:
        return f"{place}:{target_of(host, f'{NET}/{name}/device')}"
    return place if pci_in_path(place) else ""


def _routed(host: Host, tops: Iterable[str], real: set[str]) -> Mapping[str, str]:
    """The interfaces with hardware below those of the default routes -> which of these is on top."""
    found: dict[str, str] = {}
    for top in tops:
        below = real.intersection(_lower(host, top)) or real.intersection(_lower(host, *_unlinked(host, top)))
        for name in below:
            found.setdefault(name, top)
    return found


def default_interfaces(host: Host) -> tuple[str, ...]:
    """The interfaces of the default routes, IPv4 and IPv6; a route that rejects is none."""
    found: dict[str, None] = {}
    for line in text_of(host, "/proc/net/route").splitlines()[1:]:
        row = line.split()
        if len(row) >= 8 and row[1] == row[7] == "00000000" and _flags(row[3]) & (_UP | _REJECT) == _UP:
            found[row[0]] = None
    for line in text_of(host, "/proc/net/ipv6_route").splitlines():
        row = line.split()
        is_default = len(row) >= 10 and row[0] == "0" * 32 and row[1] == "00"
        if is_default and row[9] != "lo" and _flags(row[8]) & (_UP | _REJECT) == _UP:
            found[row[9]] = None
    return tuple(found)


def _unlinked(host: Host, top: str) -> tuple[str, ...]:
    """What carries an interface without a link to it: the device of a PPPoE session, the ports of Open vSwitch."""
    match text_of(host, f"{NET}/{top}/type").strip():
        case "512":  # ARPHRD_PPP
            return tuple(row.split()[-1] for row in text_of(host, PPPOE).splitlines()[1:] if row.strip())
        case "1":  # ARPHRD_ETHER
            return (OVS,)
    return ()


def _lower(host: Host, *tops: str) -> tuple[str, ...]:
    """The interfaces and all below them: ports of a bridge, members of a bond, the device under a VLAN."""
    seen: dict[str, None] = {}
    todo = list(tops)
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen[name] = None
        entries = names_in(host, f"{NET}/{name}")
        todo.extend(entry.removeprefix("lower_") for entry in entries if entry.startswith("lower_"))
        todo.extend(names_in(host, f"{NET}/{name}/brif"))
        todo.extend(text_of(host, f"{NET}/{name}/bonding/slaves").split())
    return tuple(seen)


def _flags(text: str) -> int:
    return int(text, 16) if re.fullmatch(r"[0-9a-fA-F]{1,8}", text) else 0
