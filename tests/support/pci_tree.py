"""sysfs of PCI functions for a MemoryHost, as a real kernel lays it out."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.memory_host import Link, Node


@dataclass(frozen=True, slots=True)
class Card:
    """A PCI function to be laid out. `path` is its place below /sys/devices/pci0000:00 (bridges above it)."""

    address: str
    id: str
    class_code: str = "030000"
    driver: str | None = None
    group: int | None = None
    boot_vga: str | None = None
    override: str | None = "(null)"
    bridge: bool = False
    path: str = ""
    reset: str | None = "flr"


def sysfs(*cards: Card) -> dict[str, Node]:
    """The tree of these functions, their drivers and groups."""
    tree: dict[str, Node] = {"/sys/bus/pci/devices": None, "/sys/kernel/iommu_groups": None}
    for card in cards:
        place = f"devices/pci0000:00/{card.path}{card.address}"
        real = f"/sys/{place}"
        vendor, device = card.id.split(":")
        tree[f"/sys/bus/pci/devices/{card.address}"] = Link(f"../../../{place}")
        tree |= {f"{real}/vendor": f"0x{vendor}\n".encode(), f"{real}/device": f"0x{device}\n".encode()}
        tree |= {f"{real}/class": f"0x{card.class_code}\n".encode(), f"{real}/subsystem_vendor": b"0x1af4\n"}
        tree[f"{real}/subsystem_device"] = b"0x1100\n"
        if card.override is not None:
            tree[f"{real}/driver_override"] = f"{card.override}\n".encode()
        if card.boot_vga is not None:
            tree[f"{real}/boot_vga"] = f"{card.boot_vga}\n".encode()
        if card.reset is not None:
            tree |= {f"{real}/reset": b"", f"{real}/reset_method": f"{card.reset}\n".encode()}
        if card.bridge:
            tree[f"{real}/pci_bus"] = None
        if card.driver is not None:
            tree[f"{real}/driver"] = Link(f"/sys/bus/pci/drivers/{card.driver}")
            tree[f"/sys/bus/pci/drivers/{card.driver}/{card.address}"] = Link(f"/sys/{place}")
        if card.group is not None:
            tree[f"{real}/iommu_group"] = Link(f"/sys/kernel/iommu_groups/{card.group}")
            tree[f"/sys/kernel/iommu_groups/{card.group}/devices/{card.address}"] = Link(f"/sys/{place}")
    return tree
