"""All PCI functions of a host with their names, and what else is in their IOMMU group."""

from __future__ import annotations

from dataclasses import dataclass

from engine import pciids
from steps.base import Host
from steps.pci import DEVICES, Listed, list_functions


@dataclass(frozen=True, slots=True)
class Entry:
    """A function; the names of its class, vendor and device where pci.ids has them; the kernel's ways to reset it, the
    first being used first; and the addresses of all functions in its group, bridges left out."""

    function: Listed
    kind: str | None
    vendor: str | None
    name: str | None
    resets: tuple[str, ...]
    members: tuple[str, ...]

    @property
    def shares(self) -> tuple[str, ...]:
        """The other functions in its group."""
        return tuple(other for other in self.members if other != self.function.address)


def entries(host: Host) -> list[Entry]:
    """Every function, by group, those in none last."""
    functions = list_functions(host)
    names = pciids.load(host)
    members: dict[int, list[str]] = {}
    for function in functions:
        if function.group is not None and not function.bridge_class:
            members.setdefault(function.group, []).append(function.address)
    groups = {group: tuple(addresses) for group, addresses in members.items()}
    ordered = sorted(functions, key=lambda function: (function.group is None, function.group or 0))
    return [
        Entry(
            function,
            names.class_name(function.class_code),
            names.vendor(function.vendor),
            names.device(function.vendor, function.device),
            _resets(host, function.address),
            groups.get(-1 if function.group is None else function.group, ()),
        )
        for function in ordered
    ]


def _resets(host: Host, address: str) -> tuple[str, ...]:
    try:
        return tuple(host.read(f"{DEVICES}/{address}/reset_method").decode("ascii", "replace").split())
    except OSError:
        return ()
