"""The names of PCI vendors, devices and classes, from the host's pci.ids (from hwdata or pciutils). May be absent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from steps.base import Host

# Debian and Ubuntu keep it in misc, Fedora, Arch and openSUSE in hwdata.
PLACES = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")

# The classes that matter here, for a machine without pci.ids (PCI Code and ID Assignment Specification).
_CLASSES = {
    0x0106: "SATA controller",
    0x0107: "Serial Attached SCSI controller",
    0x0108: "Non-Volatile memory controller",
    0x0200: "Ethernet controller",
    0x0280: "Network controller",
    0x0300: "VGA compatible controller",
    0x0302: "3D controller",
    0x0380: "Display controller",
    0x0403: "Audio device",
    0x0600: "Host bridge",
    0x0601: "ISA bridge",
    0x0604: "PCI bridge",
    0x0806: "IOMMU",
    0x0C03: "USB controller",
    0x0C05: "SMBus",
}

_VENDOR = re.compile(r"^([0-9a-f]{4})  (.+)$", re.MULTILINE)
_CLASS = re.compile(r"^C ([0-9a-f]{2})  (.+)$", re.MULTILINE)
_INNER = re.compile(r"^\t([0-9a-f]{2,4})  (.+)$", re.MULTILINE)


@dataclass(slots=True)
class Names:
    """pci.ids, looked into when asked: its 35,000 lines are not taken apart for the few that a host has."""

    text: str = ""
    _vendors: Mapping[str, tuple[str, str]] | None = None
    _classes: Mapping[str, tuple[str, str]] | None = None
    _devices: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _kinds: dict[int, str | None] = field(default_factory=dict)

    def vendor(self, vendor: str) -> str | None:
        """The name of a vendor (four hex digits), None where it is not known."""
        found = self._all_vendors().get(vendor)
        return found[0] if found else None

    def device(self, vendor: str, device: str) -> str | None:
        """The name of a device, None where it is not known."""
        if vendor not in self._devices:
            _, block = self._all_vendors().get(vendor, ("", ""))
            self._devices[vendor] = dict(_INNER.findall(block))
        return self._devices[vendor].get(device)

    def class_name(self, code: int) -> str | None:
        """The name of a class by its 24-bit code: of the subclass, or else of the base class."""
        if code not in self._kinds:
            if self._classes is None:
                self._classes = _blocks(self.text, _CLASS)
            base, block = self._classes.get(f"{code >> 16:02x}", ("", ""))
            found = dict(_INNER.findall(block)).get(f"{code >> 8 & 0xFF:02x}")
            self._kinds[code] = found or _CLASSES.get(code >> 8) or base or None
        return self._kinds[code]

    def _all_vendors(self) -> Mapping[str, tuple[str, str]]:
        if self._vendors is None:
            # The classes follow the vendors; a class "C 03" must not end a vendor's block as a vendor would.
            self._vendors = _blocks(self.text.partition("\nC ")[0], _VENDOR)
        return self._vendors


def load(host: Host) -> Names:
    """The names known on that host, else those known here (a mounted or simulated system may have none), else none."""
    for read in (host.read, _read_here):
        for place in PLACES:
            try:
                return Names(read(place).decode("utf-8", errors="replace"))
            except OSError:
                continue
    return Names()


def _read_here(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def _blocks(text: str, head: re.Pattern[str]) -> Mapping[str, tuple[str, str]]:
    """What stands under each heading: id -> its name, and the text up to the next heading."""
    found = list(head.finditer(text))
    ends = [*(match.start() for match in found[1:]), *([len(text)] if found else [])]
    return {match[1]: (match[2], text[match.end() : end]) for match, end in zip(found, ends, strict=True)}
