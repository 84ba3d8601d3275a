"""All PCI functions of a host with their names, and what else is in their IOMMU group.

A listing reads thousands of functions, so it opens each function's directory once and takes from its `uevent` what the
steps, which read a few, take from one attribute each.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine import pciids
from engine.hosts.base import ChangeableHost
from steps.pci import DEVICES, Listed, addresses

# A way to reset that the kernel has and does not name.
UNNAMED = "unnamed"
# The order is that of drivers/base/core.c (dev_uevent) and drivers/pci/pci-driver.c (pci_uevent).
_EVENT = re.compile(rb"(?:DRIVER=(.+)\n)?(?:.*\n)*?PCI_CLASS=([0-9A-F]{1,6})\nPCI_ID=([0-9A-F]{4}:[0-9A-F]{4})\n")


@dataclass(frozen=True, slots=True)
class Entry:
    """A function; the names of its class, vendor and device where pci.ids has them; the kernel's ways to reset it, the
    first being used first (before Linux 5.15 it names none: UNNAMED); and the addresses of all functions in its group,
    bridges left out."""

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


def entries(host: ChangeableHost) -> list[Entry]:
    """Every function, by group, those in none last."""
    found = list(_scan(host))
    names = pciids.load(host)
    members: dict[int | None, list[str]] = {}
    for function, _ in found:
        if function.group is not None and not function.bridge_class:
            members.setdefault(function.group, []).append(function.address)
    groups = {group: tuple(names) for group, names in members.items()}
    found.sort(key=lambda one: (one[0].group is None, one[0].group or 0))
    return [
        Entry(
            function,
            names.class_name(function.class_code),
            names.vendor(function.vendor),
            names.device(function.vendor, function.device),
            resets,
            groups.get(function.group, ()),
        )
        for function, resets in found
    ]


def _scan(host: ChangeableHost) -> Iterator[tuple[Listed, tuple[str, ...]]]:
    """Every function with its resets. A function that was unplugged between the listing and the read is left out."""
    bus = host.local(f"{DEVICES}/x").parent
    parents: dict[str, str] = {}
    for address in addresses(host):
        directory = _directory(host, str(bus), address, parents)
        try:
            # Not through a symlink: what leads here was resolved within the host's root.
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            function = _read(descriptor, address)
            if function is not None:
                yield function, _resets(descriptor)
        finally:
            os.close(descriptor)


def _directory(host: ChangeableHost, bus: str, address: str, parents: dict[str, str]) -> str:
    """Where a function's directory lies for us; each directory that holds some is resolved once."""
    try:
        text = os.readlink(f"{bus}/{address}")
    except OSError:
        return f"{bus}/{address}"
    parent, _, name = text.rpartition("/")
    if parent not in parents:
        parents[parent] = str(host.local(posixpath.join(DEVICES, parent, "x")).parent)
    return f"{parents[parent]}/{name}"


def _read(directory: int, address: str) -> Listed | None:
    event = _EVENT.match(_attribute(directory, "uevent"))
    if event is None:
        return None
    driver, code, found = event.groups()
    vendor, _, device = found.decode().lower().partition(":")
    name = None if driver is None else driver.decode("ascii", "replace")
    return Listed(address, vendor, device, int(code, 16), name, _group(directory))


def _group(directory: int) -> int | None:
    try:
        number = os.readlink("iommu_group", dir_fd=directory).rpartition("/")[2]
    except OSError:
        return None
    return int(number) if number.isdecimal() else None


def _resets(directory: int) -> tuple[str, ...]:
    found = tuple(_attribute(directory, "reset_method").decode("ascii", "replace").split())
    return found or ((UNNAMED,) if os.access("reset", os.F_OK, dir_fd=directory) else ())


def _attribute(directory: int, name: str) -> bytes:
    """An attribute's content; sysfs gives at most a page of 4096 bytes. Empty where there is none."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
