"""What PCI ids are called, from the pci.ids file of the system; a host without one is listed without names.

Format: the head of pci.ids (https://pci-ids.ucw.cz).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from steps.base import Host

FILES = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")


@dataclass(frozen=True, slots=True)
class Names:
    """Names by id: `10de` -> vendor, `10de:1200` -> device, `0300` -> class. What is not there is not known."""

    vendors: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, str] = field(default_factory=dict)

    def of(self, id_: str) -> str:
        """`Vendor Device` of a `vendor:device` id, as far as known; empty when nothing is."""
        parts = (self.vendors.get(id_.partition(":")[0]), self.devices.get(id_))
        return " ".join(part for part in parts if part)


def read_names(host: Host, ids: Iterable[str], classes: Iterable[int] = ()) -> Names:
    """The names of these `vendor:device` ids and 24-bit class codes; one pass over the file, only for what is asked."""
    content = b"\n" + _content(host)
    vendors: dict[str, str] = {}
    devices: dict[str, str] = {}
    by_vendor: dict[str, set[str]] = {}
    for id_ in ids:
        vendor, _, device = id_.partition(":")
        by_vendor.setdefault(vendor, set()).add(device)
    for vendor, wanted in by_vendor.items():
        section = _section(content, f"\n{vendor}  ")
        vendors |= _head(vendor, section)
        for device in wanted:
            devices |= _entry(f"{vendor}:{device}", section, device)
    return Names(vendors, devices, _classes(content, classes))


def _classes(content: bytes, codes: Iterable[int]) -> dict[str, str]:
    found: dict[str, str] = {}
    for code in {f"{code >> 8:04x}" for code in codes}:
        section = _section(content, f"\nC {code[:2]}  ")
        found |= _head(code, section)
        found |= _entry(code, section, code[2:])
    return found


def _content(host: Host) -> bytes:
    for path in FILES:
        try:
            return host.read(path)
        except OSError:
            continue
    return b""


def _section(content: bytes, head: str) -> bytes:
    """From the head's name to the next line that is not indented."""
    start = content.find(head.encode())
    if start < 0:
        return b""
    end = start + len(head)
    while (end := content.find(b"\n", end)) >= 0 and content[end + 1 : end + 2] in {b"\t", b"#"}:
        end += 1
    return content[start + len(head) : end if end >= 0 else len(content)]


def _head(key: str, section: bytes) -> dict[str, str]:
    return {key: section.partition(b"\n")[0].decode(errors="replace").strip()} if section else {}


def _entry(key: str, section: bytes, code: str) -> dict[str, str]:
    mark = f"\n\t{code}  ".encode()
    at = section.find(mark)
    if at < 0:
        return {}
    return {key: section[at + len(mark) :].partition(b"\n")[0].decode(errors="replace").strip()}
