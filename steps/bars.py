"""Memory of a PCI function that found no room: what a card shows when the firmware keeps it below 4 GiB.

Sources: drivers/pci/pci-sysfs.c (resource_show), include/linux/ioport.h (IORESOURCE_*).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from steps.base import Finding, Host, Severity
from steps.cpu import CpuVendor
from steps.firmware import Switch, named
from steps.pci import DEVICES, Function
from steps.reading import text_of

_LINE = re.compile(r"0x([0-9a-f]{16}) 0x([0-9a-f]{16}) 0x([0-9a-f]{16})")
_MEMORY, _UNSET = 0x200, 0x20000000
# The lines that follow are the ROM, the windows of a bridge and, for SR-IOV, what its virtual functions get.
_BARS = 6


@dataclass(frozen=True, slots=True)
class Bar:
    """A base address register without an address; `size` is bytes."""

    number: int
    size: int


def homeless(host: Host, address: str) -> tuple[Bar, ...]:
    """The memory BARs of a function that the kernel could not place."""
    found = []
    for number, line in enumerate(text_of(host, f"{DEVICES}/{address}/resource").splitlines()[:_BARS]):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue
        start, end, flags = (int(part, 16) for part in match.groups())
        if flags & _MEMORY and flags & _UNSET and end > start:
            found.append(Bar(number, end - start + 1))
    return tuple(found)


def finding(function: Function, bars: tuple[Bar, ...], vendor: CpuVendor) -> Finding:
    """What to do about them."""
    place = f"{DEVICES}/{function.address}/resource"
    return Finding(
        "bar-unassigned",
        Severity.WARNING,
        f"{function.address} has memory that found no room among the addresses: a guest would not see it.",
        tuple(f"{place}: BAR {bar.number} of {bar.size >> 20} MiB has no address" for bar in bars),
        f"In the firmware's setup turn on {named(Switch.LARGE_BARS, vendor)}, and CSM off.",
    )
