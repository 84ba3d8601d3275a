"""IOMMU groups judged: everything in the group of a configured device is accounted for, or why it is not.

Source: Documentation/driver-api/vfio.rst ("viable" groups).
"""

from __future__ import annotations

from collections.abc import Sequence

from steps.base import Finding, Severity
from steps.config import Config
from steps.devices import DeviceFacts
from steps.pci import Function, Listed

# The functions that come with a graphics card, by class: PCI Code and ID Assignment Specification.
_KINDS = {0x0403: "audio", 0x0C03: "USB controller", 0x0C80: "USB-C (UCSI) controller", 0x0300: "graphics"}


def kind_of(function: Listed) -> str:
    """What a function is, in a word or two, by its class."""
    return _KINDS.get(function.class_code >> 8, f"class {function.class_code >> 8:04x}")


def describe(function: Listed) -> str:
    """A function on one line: address, id, kind, driver."""
    return f"{function.address} [{function.id}] {kind_of(function)}, {held_by(function)}"


def held_by(function: Listed) -> str:
    """Which driver holds it, in words."""
    return f"driver {function.driver}" if function.driver else "no driver"


def findings(config: Config, facts: DeviceFacts) -> tuple[Finding, ...]:
    """For every group of a configured device: which other members keep it from being used, and what can be done."""
    found: list[Finding] = []
    for group in facts.members:
        others = [function for function in facts.others_in_group(config, group) if not function.is_bridge]
        spoilers = [function for function in others if function.spoils_group]
        idle = [function for function in others if not function.spoils_group and function.class_code >> 16 != 0x06]
        if spoilers:
            found.append(_not_viable(facts, group, spoilers))
        if idle:
            found.append(_unlisted(group, idle))
    return tuple(found)


def _not_viable(facts: DeviceFacts, group: int, spoilers: Sequence[Function]) -> Finding:
    needed = [function for function in spoilers if in_use(facts, function)]
    if needed:
        names = ", ".join(function.address for function in needed)
        way = (
            f"The host needs {names}: plug the device into another slot (its group changes with it), or look for ACS in"
            " the firmware's setup. The group cannot be used as it is."
        )
    elif any(function.class_code >> 16 == 0x06 for function in spoilers):
        way = "A part of the chipset is in the group: plug the device into another slot; the group cannot be used."
    else:
        listed = ", ".join(f'"{function.address}" (id "{function.id}")' for function in spoilers)
        way = f"Give the whole group to the guest by adding {listed} to the devices, or use another slot."
    return Finding(
        "group-not-viable",
        Severity.REFUSAL,
        f"IOMMU group {group} is not viable: {len(spoilers)} more of its members would stay with the host's drivers.",
        tuple(f"group {group}: {describe(function)}{in_use(facts, function)}" for function in spoilers),
        way,
    )


def _unlisted(group: int, idle: Sequence[Function]) -> Finding:
    return Finding(
        "group-member-unlisted",
        Severity.WARNING,
        f"IOMMU group {group} has members that are not in the configuration. No driver of the host holds them now;"
        " if one takes them later, the guest will not start.",
        tuple(f"group {group}: {describe(function)}" for function in idle),
        "Add them to the devices, so that they are kept free.",
    )


def in_use(facts: DeviceFacts, function: Listed) -> str:
    """What of the host hangs on a function, empty when nothing does."""
    whats = [f"{use.name} {use.what}" for use in facts.disks.get(function.address, ())]
    whats += [f"{use.name} carries the default route" for use in facts.networks.get(function.address, ()) if use.via]
    return f": {'; '.join(whats)}" if whats else ""


def siblings(config: Config, facts: DeviceFacts) -> tuple[Finding, ...]:
    """The functions beside a configured one, in its slot, that were left out and are in no configured group."""
    own = {device.address for device in config.devices}
    slots = {function.slot for function in facts.configured(config)}
    left = [
        function
        for function in facts.listed
        if function.slot in slots
        and function.address not in own
        and function.group not in facts.members
        and function.class_code >> 16 != 0x06
    ]
    if not left:
        return ()
    return (
        Finding(
            "sibling-left-out",
            Severity.WARNING,
            "Functions of the same card are left with the host: "
            + ", ".join(f"{kind_of(function)} {function.address}" for function in left)
            + ".",
            tuple(describe(function) for function in left),
            "A graphics card's audio, USB and USB-C functions go to the guest with it: add them to the devices.",
        ),
    )
