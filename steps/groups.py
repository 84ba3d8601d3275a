"""IOMMU groups judged: everything in the group of a configured device is accounted for, or why it is not.

Source: Documentation/driver-api/vfio.rst ("viable" groups).
"""

from __future__ import annotations

from collections.abc import Sequence

from steps import cmdline, group_ways, iommu
from steps.base import Finding, Severity
from steps.config import Config
from steps.devices import DeviceFacts
from steps.group_ways import describe, kind_of
from steps.iommu import IommuFacts, IommuState
from steps.pci import Function


def findings(config: Config, facts: DeviceFacts) -> tuple[Finding, ...]:
    """For every group of a configured device: which other members keep it from being used, and what can be done."""
    found: list[Finding] = []
    for group in facts.members:
        others = [function for function in facts.others_in_group(config, group) if not function.is_bridge]
        spoilers = [function for function in others if function.spoils_group]
        idle = [function for function in others if not function.spoils_group and function.class_code >> 16 != 0x06]
        if spoilers:
            found.append(_not_viable(config, facts, group, spoilers))
        if idle:
            found.append(_unlisted(group, idle))
    return tuple(found)


def _not_viable(config: Config, facts: DeviceFacts, group: int, spoilers: Sequence[Function]) -> Finding:
    return Finding(
        "group-not-viable",
        Severity.REFUSAL,
        f"IOMMU group {group} is not viable: {len(spoilers)} more of its members would stay with the host's drivers.",
        group_ways.evidence(config, facts, group),
        group_ways.hint(config, facts, group, spoilers),
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


def _virtual(facts: DeviceFacts, address: str) -> bool:
    full = facts.functions.get(address)
    return full is not None and full.physfn is not None


def siblings(config: Config, facts: DeviceFacts) -> tuple[Finding, ...]:
    """The functions beside a configured one, in a graphics card's slot, that were left out and are in no configured
    group. Other cards are taken by the function: a port of a network card, a controller of the chipset."""
    own = {device.address for device in config.devices}
    graphics = {function.slot for function in facts.listed if function.is_display}
    # Virtual functions share slots with strangers: each is a card of its own.
    slots = graphics & {function.slot for function in facts.configured(config) if function.physfn is None}
    left = [
        function
        for function in facts.listed
        if function.slot in slots
        and function.address not in own
        and function.group not in facts.members
        and function.class_code >> 16 != 0x06
        and not _virtual(facts, function.address)
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


def without_group(config: Config, facts: DeviceFacts, found: IommuFacts) -> tuple[Finding, ...]:
    """Configured functions that no IOMMU group holds although the IOMMU is on."""
    if iommu.judge(found) is not IommuState.ON:
        return ()
    told = "on" in cmdline.options(found.words, "intel_iommu")
    alone = (each for each in facts.configured(config) if each.group is None and not each.is_bridge)
    return tuple(_ungrouped(function, told=told) for function in alone)


def _ungrouped(function: Function, *, told: bool) -> Finding:
    # Kernels built with INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF leave this one out until they are told.
    later = function.is_display and function.vendor == "8086" and not told
    message = f"{function.address} is in no IOMMU group: the IOMMU does not cover it"
    return Finding(
        "no-group",
        Severity.WARNING if later else Severity.REFUSAL,
        f"{message} yet, and may after the reboot with intel_iommu=on."
        if later
        else f"{message}; it cannot be given to a guest.",
        (f"/sys/bus/pci/devices/{function.address}/iommu_group does not exist",),
        "It is checked again after the reboot." if later else "Use another device, or another slot for this one.",
    )
