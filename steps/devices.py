"""The configured devices as the host has them: read once, then judged by the guards."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from steps import keyboards, sriov
from steps.base import Host
from steps.config import Config
from steps.disks import Use, disk_uses, disk_volumes
from steps.keyboards import Keyboard
from steps.nics import NetworkUse, network_uses
from steps.pci import DEVICES, Function, Listed, group_members, list_functions, read_function, slot_of, sort_key
from steps.sriov import SriovFacts

# efidrm and vesadrm since 6.16.
_FRAMEBUFFERS = re.compile(
    r"^(efifb|efidrm|simplefb|simpledrm|simple-framebuffer|simple-framebuffer\.\d+|vesafb|vesadrm|BOOTFB)$"
)
_RESOURCE = re.compile(r"^( *)[0-9a-f]+-[0-9a-f]+ : (.*)$")


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """All functions as listed; in full those that matter (configured, in their groups, in their slots, displays);
    the members of the groups that matter; what hangs on functions; which framebuffer holds memory of which one; the
    host's keyboards; its physical functions of SR-IOV; whether the kernel shows the links of PCI Express; which volumes
    are active on the disks behind functions."""

    listed: tuple[Listed, ...]
    functions: Mapping[str, Function]
    members: Mapping[int, tuple[str, ...]]
    disks: Mapping[str, tuple[Use, ...]]
    networks: Mapping[str, tuple[NetworkUse, ...]]
    framebuffers: Mapping[str, str]
    keyboards: tuple[Keyboard, ...] = ()
    sriov: SriovFacts = field(default_factory=SriovFacts)
    shows_links: bool = False
    volumes: Mapping[str, tuple[Use, ...]] = field(default_factory=dict)

    def configured(self, config: Config) -> tuple[Function, ...]:
        """The configured functions that are there, each once."""
        addresses = dict.fromkeys(device.address for device in config.devices)
        return tuple(self.functions[address] for address in addresses if address in self.functions)

    def others_in_group(self, config: Config, group: int) -> tuple[Function, ...]:
        """The members of a group that are not configured."""
        own = {device.address for device in config.devices}
        members = self.members.get(group, ())
        return tuple(self.functions[each] for each in members if each not in own and each in self.functions)


def read_devices(host: Host, config: Config) -> DeviceFacts:
    """Read everything that is to be known of the configured devices and of what shares something with them."""
    listed = list_functions(host)
    own = {device.address for device in config.devices}
    members = read_members(host, listed, own)
    slots = {slot_of(address) for address in own}
    wanted = own | {address for group in members.values() for address in group}
    wanted |= {function.address for function in listed if function.is_display or function.slot in slots}
    functions = read_all(host, wanted)
    return DeviceFacts(
        listed,
        functions,
        members,
        disk_uses(host),
        network_uses(host),
        framebuffers(host),
        keyboards.read(host),
        sriov.read(host, listed),
        any(host.lstat(f"{DEVICES}/{function.address}/max_link_speed") is not None for function in listed),
        disk_volumes(host),
    )


def read_members(host: Host, listed: Sequence[Listed], own: set[str]) -> Mapping[int, tuple[str, ...]]:
    """The groups of these functions, with their members."""
    groups = {function.group for function in listed if function.address in own and function.group is not None}
    return {group: group_members(host, group) for group in sorted(groups)}


def read_all(host: Host, addresses: set[str]) -> Mapping[str, Function]:
    """These functions in full, those that are there, in order."""
    found = ((address, read_function(host, address)) for address in sorted(addresses, key=sort_key))
    return {address: function for address, function in found if function is not None}


def framebuffers(host: Host) -> Mapping[str, str]:
    """PCI address -> the firmware's framebuffer that claims memory of it, from /proc/iomem.

    The tree shows even without root, when all numbers read as zero.
    """
    try:
        text = host.read("/proc/iomem").decode("ascii", errors="replace")
    except OSError:
        return {}
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = _RESOURCE.match(line)
        if match is None:
            continue
        depth, name = len(match[1]), match[2].strip()
        above = [(level, owner) for level, owner in above if level < depth]
        if _FRAMEBUFFERS.match(name):
            # The innermost function is the one whose BAR it is; those further out are the bridges above it.
            owners = [
                owner for _, owner in above if re.fullmatch(r"[0-9a-f]{4,5}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", owner)
            ]
            found |= {owners[-1]: name} if owners else {}
        above.append((depth, name))
    return found


def remembered_override(text: str, address: str) -> str | None:
    """The driver_override that `checked` saw of a function, from what it remembered (JSON); None for none."""
    try:
        seen = json.loads(text or "{}")
    except ValueError:
        return None
    one = seen.get(address, {}) if isinstance(seen, dict) else {}
    value = one.get("driver_override") if isinstance(one, dict) else None
    return value if isinstance(value, str) else None
