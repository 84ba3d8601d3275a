"""What must not be given to a guest, and what has to be said before it is: one answer per device and reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from steps import keyboards, resets, sriov
from steps.base import Finding, Severity
from steps.config import Config
from steps.devices import DeviceFacts
from steps.group_ways import describe
from steps.guest.vfio import not_vga
from steps.pci import DEVICES, Function

ADOPTED = "adopted-binding"
"""What is under a stub driver, or to be, before any setup of ours: it is so after the way back too."""


def findings(config: Config, facts: DeviceFacts) -> tuple[Finding, ...]:
    """Everything that is to be said about the configured devices themselves, all at once."""
    own = frozenset(device.address for device in config.devices)
    mine = facts.configured(config)
    found: list[Finding] = [
        *_identity(config, facts),
        *_identical(config, facts),
        *_headless(config, facts),
        *_x_vga(config, facts),
        *keyboards.findings(config, facts.keyboards, mine),
        *sriov.about_virtual(facts.sriov, mine),
        *sriov.about_physical(facts.sriov, facts.listed, own),
        *resets.findings(mine, facts.listed, own),
    ]
    for function in mine:
        found.extend(_bridge(function))
        found.extend(_boot_vga(config, function))
        found.extend(_disks(facts, function))
        found.extend(_networks(facts, function))
        found.extend(_framebuffer(facts, function))
        found.extend(_held(function))
    return tuple(found)


def _identity(config: Config, facts: DeviceFacts) -> Iterator[Finding]:
    for address, times in Counter(device.address for device in config.devices).items():
        if times > 1:
            yield Finding(
                "device-twice",
                Severity.REFUSAL,
                f"{address} is in the configuration {times} times.",
                hint="Leave one of them.",
            )
    if not config.devices:
        yield Finding(
            "no-devices",
            Severity.REFUSAL,
            "The configuration names no device.",
            hint="`vfiostate devices` lists them; `vfiostate init --device ADDRESS` writes the configuration.",
        )
    for device in dict.fromkeys(config.devices):
        there = facts.functions.get(device.address)
        if there is not None and there.id == device.id.lower():
            continue
        yield _misplaced(config, facts, device.address, device.id.lower(), there)


def _misplaced(config: Config, facts: DeviceFacts, address: str, id_: str, there: Function | None) -> Finding:
    own = {device.address for device in config.devices}
    now = [function.address for function in facts.listed if function.id == id_ and function.address not in own]
    where = f"{id_} is at {', '.join(now)} now" if now else f"{id_} is nowhere on this host"
    hint = (
        f"It sits in another slot, or addresses were renumbered: change {address} to {now[0]} in the configuration."
        if len(now) == 1
        else ""
    )
    physical = sriov.idle_maker(facts.sriov, id_)
    if there is None and not now and physical is not None:
        return sriov.gone(address, id_, physical)
    if there is None:
        return Finding(
            "device-absent",
            Severity.REFUSAL,
            f"There is no PCI function at {address}; {where}.",
            (f"{DEVICES}/{address} does not exist",),
            hint or "Is the card seated and switched on? `vfiostate devices` lists what is there.",
        )
    return Finding(
        "device-id",
        Severity.REFUSAL,
        f"{address} is {there.id}, expected {id_}; {where}.",
        (describe(there), f"subsystem {there.subsystem or 'none'}"),
        hint or "A new card or a firmware update may have moved it: correct the configuration (`vfiostate devices`).",
    )


def _identical(config: Config, facts: DeviceFacts) -> Iterator[Finding]:
    own = {device.address for device in config.devices}
    for id_ in dict.fromkeys(function.id for function in facts.configured(config)):
        twins = [function for function in facts.listed if function.id == id_ and function.address not in own]
        if not twins:
            continue
        others = ", ".join(function.address for function in twins)
        evidence = tuple(describe(function) for function in twins)
        if id_ in config.allow.identical_ids or {f.address for f in twins} <= set(config.allow.identical_ids):
            message = f"{others} also is {id_}: the stub driver takes by id, so it would take the host's card too."
            hint = (
                "If the host is to keep it, take it out of identical_ids under [allow]; if not, nothing is to be done."
            )
            yield Finding("identical-ids", Severity.WARNING, message, evidence, hint)
        elif all(function.has_override for function in facts.configured(config) if function.id == id_):
            message = f"{others} also is {id_}: it stays with the host, and ours is taken by its address."
            yield Finding("identical-ids", Severity.NOTE, message, evidence)
        else:
            message = (
                f"{others} also is {id_}, and this kernel has no driver_override to tell them apart: both would go."
            )
            hint = f'If the host can do without it, set identical_ids = ["{id_}"] under [allow].'
            yield Finding("identical-ids", Severity.REFUSAL, message, evidence, hint)


def _bridge(function: Function) -> Iterator[Finding]:
    if function.is_bridge or function.class_code >> 16 == 0x06:
        yield Finding(
            "bridge",
            Severity.REFUSAL,
            f"{function.address} is a bridge: what is behind it would be lost, and VFIO does not take it.",
            (f"{DEVICES}/{function.address}/class: 0x{function.class_code:06x}",),
            "Name the functions behind it instead.",
        )


def _boot_vga(config: Config, function: Function) -> Iterator[Finding]:
    if not function.boot_vga:
        return
    allowed = function.address in config.allow.boot_vga
    yield Finding(
        "boot-vga",
        Severity.WARNING if allowed else Severity.REFUSAL,
        f"{function.address} is the graphics card the host boots on: its console goes dark when the guest gets it.",
        (f"{DEVICES}/{function.address}/boot_vga: 1",),
        "Make sure that the host can be reached over the network."
        if allowed
        else "Choose another card as primary in the firmware, or accept a host without a console:"
        f' [allow] boot_vga = ["{function.address}"].',
    )


def _headless(config: Config, facts: DeviceFacts) -> Iterator[Finding]:
    own = {device.address for device in config.devices}
    taken = [function for function in facts.configured(config) if function.is_display and not function.boot_vga]
    if taken and not any(function.is_display and function.address not in own for function in facts.listed):
        yield Finding(
            "no-display-left",
            Severity.WARNING,
            "No graphics card stays with the host.",
            tuple(describe(function) for function in taken),
            "Make sure that the host can be reached over the network or a serial line.",
        )


def _x_vga(config: Config, facts: DeviceFacts) -> Iterator[Finding]:
    for device in config.devices:
        if device.address in facts.functions:
            yield from not_vga(device, facts.functions[device.address].class_code)


def _disks(facts: DeviceFacts, function: Function) -> Iterator[Finding]:
    uses = facts.disks.get(function.address, ())
    if uses:
        yield Finding(
            "disk-in-use",
            Severity.REFUSAL,
            f"{function.address} holds disks that the host uses: {uses[0].name} {uses[0].what}.",
            tuple(f"{use.name} {use.what}" for use in uses),
            "Unmount them and take them out of /etc/fstab (a ZFS pool: `zpool export`), or leave this controller with"
            " the host.",
        )
    elif volumes := facts.volumes.get(function.address, ()):
        # Nothing of it is mounted: a guest may write to it, or nobody.
        yield Finding(
            "volumes-active",
            Severity.WARNING,
            f"{function.address} holds disks of which the host has made volumes or arrays: {volumes[0].name}.",
            tuple(f"{one.name} {one.what}" for one in volumes),
            "See that no guest has them, and that the host lets go of them (`vgchange -an`, `mdadm --stop`,"
            " `cryptsetup close`), or leave this controller with the host.",
        )


def _networks(facts: DeviceFacts, function: Function) -> Iterator[Finding]:
    for use in facts.networks.get(function.address, ()):
        if use.via and use.sure:
            over = f" (through {use.via})" if use.via != use.name else ""
            yield Finding(
                "default-route",
                Severity.REFUSAL,
                f"{function.address} is the network card of the default route: {use.name}{over}.",
                (f"/proc/net/route, /proc/net/ipv6_route: default by {use.via}",),
                "Move the default route to another card, or leave this one with the host.",
            )
        elif use.via:
            yield Finding(
                "default-route",
                Severity.REFUSAL,
                f"{function.address} may be the network card of the default route: {use.name} is up, and nothing shows"
                f" which card carries {use.via}.",
                (
                    f"/proc/net/route, /proc/net/ipv6_route: default by {use.via}",
                    f"/sys/class/net/{use.via}: no link to a card",
                    f"/sys/class/net/{use.name}/operstate: up",
                ),
                f"If the host does not need it, take it down first: `ip link set {use.name} down`; otherwise leave this"
                " card with the host.",
            )
        elif use.up:
            yield Finding(
                "network-up",
                Severity.WARNING,
                f"{function.address} carries the interface {use.name}, which is up: the host loses it.",
                (f"/sys/class/net/{use.name}/operstate: up",),
                "Make sure that you do not reach the host over it.",
            )


def _framebuffer(facts: DeviceFacts, function: Function) -> Iterator[Finding]:
    holder = facts.framebuffers.get(function.address)
    if holder:
        yield Finding(
            "framebuffer",
            Severity.WARNING,
            f"The firmware's framebuffer ({holder}) holds memory of {function.address}: QEMU may say that it cannot"
            " reserve the BAR.",
            (f"/proc/iomem: {holder} below {function.address}",),
            "Make another card primary in the firmware; otherwise the kernel has to be told to leave it"
            f" ({_off(holder)}). The screen of this card stays dark then until a driver of the host comes.",
        )


def _off(holder: str) -> str:
    """The word on the command line that keeps a firmware's framebuffer away: that of its driver, where it has one
    (Documentation/fb/modedb.rst), or what keeps sysfb from making its device (drivers/firmware/sysfb.c)."""
    every = "initcall_blacklist=sysfb_init"
    own = {"efifb": "video=efifb:off", "vesafb": "video=vesafb:off"}.get(holder)
    return f"{own}, or {every}" if own else every


def _held(function: Function) -> Iterator[Finding]:
    if function.driver in {"vfio-pci", "pci-stub"} or function.driver_override:
        override = f", driver_override {function.driver_override}" if function.driver_override else ""
        yield Finding(
            ADOPTED,
            Severity.NOTE,
            f"{function.address} is set up already: {function.driver or 'no driver'}{override}. It is left so on the"
            " way back.",
            (f"{DEVICES}/{function.address}/driver: {function.driver or 'none'}",),
        )
