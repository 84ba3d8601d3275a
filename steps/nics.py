"""Which PCI functions the host's network goes through, the default route before all.

Sources: net/ipv4/fib_trie.c (fib_route_seq_show) and net/ipv6/route.c (rt6_info_route) for the two route tables;
Documentation/ABI/testing/sysfs-class-net.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from steps.base import Host
from steps.disks import pci_in_path
from steps.reading import names_in, target_of, text_of

NET = "/sys/class/net"
_UP, _REJECT = 0x1, 0x200


@dataclass(frozen=True, slots=True)
class NetworkUse:
    """An interface behind a PCI function: its name, whether the default route goes through it (`via` names the bridge,
    bond or VLAN on top, or itself), whether it is up."""

    name: str
    via: str | None
    up: bool


def network_uses(host: Host) -> Mapping[str, tuple[NetworkUse, ...]]:
    """PCI address -> the interfaces behind it (bridges above included)."""
    interfaces = names_in(host, NET)
    routed: dict[str, str] = {}
    for top in default_interfaces(host):
        for name in _lower(host, top):
            routed.setdefault(name, top)
    found: dict[str, list[NetworkUse]] = {}
    for name in interfaces:
        use = NetworkUse(name, routed.get(name), text_of(host, f"{NET}/{name}/operstate").strip() == "up")
        paths = (target_of(host, f"{NET}/{name}"), target_of(host, f"{NET}/{name}/device"))
        for address in dict.fromkeys(address for path in paths for address in pci_in_path(path)):
            found.setdefault(address, []).append(use)
    return {address: tuple(uses) for address, uses in found.items()}


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


def _lower(host: Host, top: str) -> tuple[str, ...]:
    """The interface and all below it: ports of a bridge, members of a bond, the device under a VLAN."""
    seen: dict[str, None] = {}
    todo = [top]
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
