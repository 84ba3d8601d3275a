"""An IOMMU group that is not viable: every member with what holds it, why it is in the group, and the way that fits.

Sources: Documentation/driver-api/vfio.rst; pci_device_group in drivers/iommu/iommu.c (aliases, functions of a slot,
ports without ACS); pci_for_each_dma_alias in drivers/pci/search.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from steps.config import Config
from steps.devices import DeviceFacts
from steps.pci import Function, Listed

# PCI Code and ID Assignment Specification; what people name by its class when they speak of it.
_KINDS = {
    0x0100: "SCSI controller",
    0x0101: "IDE controller",
    0x0104: "RAID controller",
    0x0106: "SATA controller",
    0x0107: "SAS controller",
    0x0108: "NVMe disk",
    0x0200: "network card",
    0x0280: "network card",
    0x0300: "graphics",
    0x0302: "graphics (3D)",
    0x0380: "graphics",
    0x0401: "audio",
    0x0403: "audio",
    0x0600: "host bridge",
    0x0601: "ISA bridge",
    0x0604: "PCI bridge",
    0x0780: "communication controller",
    0x0C03: "USB controller",
    0x0C05: "SMBus controller",
    0x0C80: "USB-C (UCSI) controller",
}


class Way(StrEnum):
    """What can be done about a member that keeps its driver."""

    ADD = "add it to the devices"
    MOVE = "move the card to another slot"
    NONE = "no way here"


def kind_of(function: Listed) -> str:
    """What a function is, in a word or two, by its class."""
    return _KINDS.get(function.class_code >> 8, f"class {function.class_code >> 8:04x}")


def describe(function: Listed) -> str:
    """A function on one line: address, id, kind, driver."""
    return f"{function.address} [{function.id}] {kind_of(function)}, {held_by(function)}"


def held_by(function: Listed) -> str:
    """Which driver holds it, in words."""
    return f"driver {function.driver}" if function.driver else "no driver"


def in_use(facts: DeviceFacts, function: Listed) -> str:
    """What of the host hangs on a function, empty when nothing does."""
    whats = [f"{use.name} {use.what}" for use in facts.disks.get(function.address, ())]
    routed = [use for use in facts.networks.get(function.address, ()) if use.via]
    whats += [f"{use.name} {'carries' if use.sure else 'may carry'} the default route" for use in routed]
    full = facts.functions.get(function.address)
    whats += ["the host boots on it"] if full is not None and full.boot_vga else []
    keyboards = [one for one in facts.keyboards if function.address in one.above]
    if keyboards and len(keyboards) == len(facts.keyboards):
        whats.append(f"the host's last keyboard: {', '.join(one.name for one in keyboards)}")
    return f": {'; '.join(whats)}" if whats else ""


def way_for(config: Config, facts: DeviceFacts, function: Function) -> Way:
    """The way that fits one member which keeps its driver."""
    if not in_use(facts, function) and function.class_code >> 16 != 0x06:
        return Way.ADD
    here = [each for each in facts.configured(config) if each.group == function.group]
    movable = [each for each in here if each.parent is not None and each.slot != function.slot]
    return Way.MOVE if movable and len(movable) == len(here) else Way.NONE


def evidence(config: Config, facts: DeviceFacts, group: int) -> tuple[str, ...]:
    """Every member of the group on a line, in order, and what makes it one group where that shows."""
    own = {device.address for device in config.devices}
    members = [facts.functions[each] for each in facts.members.get(group, ()) if each in facts.functions]
    lines = [f"group {group}: {describe(each)}{_standing(config, facts, each, own)}" for each in members]
    return (*lines, *_why(facts, members))


def _standing(config: Config, facts: DeviceFacts, function: Function, own: set[str]) -> str:
    if function.address in own:
        return ": goes to the guest"
    if function.is_bridge:
        return ": a bridge, stays and does no harm"
    if not function.spoils_group:
        return ": does no harm"
    return f"{in_use(facts, function)} -> {way_for(config, facts, function).value}"


def behind_bridge(facts: DeviceFacts, members: Sequence[Function]) -> tuple[Function, ...]:
    """The members that are conventional PCI behind a bridge, where this kernel shows which are."""
    if not facts.shows_links:
        return ()
    return tuple(each for each in members if not each.express and each.parent is not None)


def _why(facts: DeviceFacts, members: Sequence[Function]) -> list[str]:
    old = [each for each in behind_bridge(facts, members) if not each.is_bridge]
    if not old or len(members) < 2:
        return []
    names = ", ".join(each.address for each in old)
    bridges = ", ".join(dict.fromkeys(each.parent or "" for each in old))
    return [
        f"{names}: conventional PCI behind the bridge {bridges}, which speaks for all of them with one requester id:"
        " the IOMMU cannot tell them apart"
    ]


def hint(config: Config, facts: DeviceFacts, group: int, spoilers: Sequence[Function]) -> str:
    """What to do about the group as a whole."""
    ways = {each.address: way_for(config, facts, each) for each in spoilers}
    addable = [each for each in spoilers if ways[each.address] is Way.ADD]
    if len(addable) == len(spoilers):
        return f"Give the whole group to the guest by adding {_named(addable)} to the devices, or use another slot."
    members = [facts.functions[each] for each in facts.members.get(group, ()) if each in facts.functions]
    said = []
    needed = [each for each in spoilers if in_use(facts, each)]
    chipset = [each for each in spoilers if each.class_code >> 16 == 0x06]
    if needed:
        said.append(f"The host needs {', '.join(each.address for each in needed)}.")
    if chipset:
        said.append(f"{', '.join(each.address for each in chipset)} is a part of the chipset and cannot go.")
    if Way.NONE not in ways.values():
        said.append("Plug the card into another slot (its group changes with it).")
    else:
        said.append(_soldered(config, facts, group))
    if addable and Way.NONE not in ways.values():
        said.append(f"If {_named(addable)} is in the group then, too, add it to the devices.")
    return " ".join((*said, _acs(behind_bridge(facts, members))))


def _named(functions: Sequence[Function]) -> str:
    return ", ".join(f'"{each.address}" (id "{each.id}")' for each in functions)


def _soldered(config: Config, facts: DeviceFacts, group: int) -> str:
    here = [each for each in facts.configured(config) if each.group == group]
    board = [each.address for each in here if each.parent is None]
    if board:
        return f"{', '.join(board)} is a part of the board: another slot is no way, choose another device."
    return "It is a function of the same card: another slot is no way, choose another device."


def _acs(old: Sequence[Function]) -> str:
    if old:
        return "ACS does not help behind a bridge to conventional PCI."
    return (
        "Look for ACS in the firmware's setup. What is left is the kernel's ACS override (pcie_acs_override=, in"
        " patched kernels only): it splits groups that the hardware does not isolate, so a guest can reach the others'"
        " memory; vfiostate does not add it."
    )
