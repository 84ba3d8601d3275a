"""Devices that are taken by their addresses: those with a twin, another device of the id, that stays with the host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from steps import cmdline, early_script, twins
from steps.base import Brief, Finding, Severity, State
from steps.boot.base import BootFacts
from steps.config import Config, Device
from steps.initramfs.base import Generator, InitramfsFacts
from steps.stub_checks import DeviceFacts, twins_allowed

KEPT = "by_address"


def chosen(config: Config, devices: Sequence[DeviceFacts]) -> tuple[DeviceFacts, ...]:
    """Those that an id would take too much for. Virtual functions are not among them: see `late`."""
    return tuple(device for device in _told_apart(config, devices) if not _virtual(device))


def late(config: Config, devices: Sequence[DeviceFacts]) -> tuple[DeviceFacts, ...]:
    """Virtual functions that an id would take too much for. They come long after the initramfs, and are made to be
    taken from a driver: the step `bound` takes them, by their addresses."""
    return tuple(device for device in _told_apart(config, devices) if _virtual(device))


def _told_apart(config: Config, devices: Sequence[DeviceFacts]) -> Iterator[DeviceFacts]:
    return (device for device in devices if device.twins and not twins_allowed(config, device))


def _virtual(device: DeviceFacts) -> bool:
    return device.function is not None and device.function.physfn is not None


def script(brief: Brief, devices: Sequence[DeviceFacts]) -> bytes:
    """What takes them in the initramfs, empty where there is none to take."""
    named = tuple(Device(device.address, device.id) for device in devices)
    seen = twins.subsystems(brief)
    expected = {device.address: seen[device.address] for device in named if device.address in seen}
    return early_script.script(brief.setup, brief.config.stub, named, expected) if named else b""


def remembered(brief: Brief) -> frozenset[str]:
    """The addresses that the step `stubbed` had taken so."""
    return frozenset(brief.remembered.get(State.STUBBED.value, {}).get(KEPT, "").split())


def subsystems(brief: Brief) -> Mapping[str, str]:
    """The subsystems of these, as far as they are known: their twins are told apart by them."""
    return {address: one for address, one in twins.subsystems(brief).items() if address in remembered(brief)}


def note(device: DeviceFacts) -> str:
    """That one is taken so, and why."""
    twins = ", ".join(device.twins)
    return f"{device.address} is taken by its address, early in the initramfs: {twins} is {device.id} too and stays"


def late_note(device: DeviceFacts) -> str:
    """That one is left to its driver until it is bound, and why."""
    return (
        f"{device.address} is a virtual function, and others have its id: it is taken by its address when it is bound"
    )


def objections(
    brief: Brief,
    devices: Sequence[DeviceFacts],
    boot: BootFacts | None,
    module_ids: Sequence[str],
    maker: Generator | None,
    image: InitramfsFacts | None,
) -> Iterator[Finding]:
    """Why these devices cannot be taken by their addresses, or would not be the only ones."""
    in_force = cmdline.ids_in_force(boot.in_force if boot else (), brief.config.stub)
    ids = set(module_ids if in_force is None else in_force)
    for device in devices:
        twins = ", ".join(device.twins)
        same = f"{device.address} and {twins} are all {device.id}"
        if device.function is not None and not device.function.has_override:
            why = "this kernel has no driver_override, so it can be taken by its id only"
            yield _refusal(device, f"{why}: {twins} would be taken too", (same,))
        elif boot is not None and boot.declared is not None:
            why = (
                f"it has to be taken by its address in the initramfs, by a script that {boot.loader} cannot be told of"
            )
            yield _refusal(device, f"{why} here", (same,))
        elif maker is not None and image is not None and not image.early:
            why = image.no_early or f"{maker.name} runs no script before the devices are met"
            yield _refusal(device, f"it has to be taken by its address in the initramfs, and {why}", (same,))
        if any(each.split(":")[:2] == device.id.split(":") for each in ids):
            where = boot.where if boot is not None and in_force is not None else "modprobe.d"
            yield Finding(
                "identical-ids-given",
                Severity.REFUSAL,
                f"{where} gives {brief.config.stub.value} the id {device.id} already: it takes {twins} too.",
                (same, f"ids: {','.join(sorted(ids))}"),
                f"Take {device.id} out of {where}, then run `vfiostate advance` again.",
            )


def _refusal(device: DeviceFacts, why: str, evidence: tuple[str, ...]) -> Finding:
    hint = f'If the host can do without its own, set identical_ids = ["{device.id}"] under [allow].'
    return Finding("identical-ids", Severity.REFUSAL, f"{device.address}: {why}.", evidence, hint)


def evidence(kept: Mapping[str, str], address: str, image: InitramfsFacts | None) -> tuple[str, ...]:
    """Whether the script was in the image, for a device that was to be taken so and was not."""
    if address not in kept.get(KEPT, "").split() or image is None or image.names is None:
        return ()
    return (f"{image.image}: {image.early} is {'in it' if image.has_early() else 'not in it'}",)
