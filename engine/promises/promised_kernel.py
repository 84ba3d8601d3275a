"""What the journal promises of the running kernel: the devices at their addresses, their drivers, and the guest; held
against the host. Reads only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from engine.hosts.base import ChangeableHost
from engine.promises.difference import Difference
from engine.promises.drift import again
from engine.promises.holders import guest_process, strangers, way_to_run
from engine.setup import Setup
from steps import sriov
from steps.base import Host, State
from steps.by_address import KEPT
from steps.guest.base import called
from steps.pci import DEVICES, Function, list_functions, read_function

VFIO = "vfio-pci"
STUBS = frozenset({"vfio-pci", "pci-stub"})


def remembered(setup: Setup) -> Mapping[str, Mapping[str, Any]]:
    """What `checked` saw of each device, by address; empty where it does not say."""
    try:
        found = json.loads(setup.remembered.get(State.CHECKED.value, {}).get("devices", "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def devices(host: Host, setup: Setup, reached: Mapping[State, int]) -> Iterator[Difference]:
    """Each device at its address, with its id, under its driver, and wanted by no other tool."""
    seen = remembered(setup)
    for device in setup.config["devices"]:
        address, wanted = device["address"], device["id"].lower()
        function = read_function(host, address)
        if function is None or function.id != wanted:
            yield _misplaced(host, function, address, wanted, reached)
            continue
        was = seen.get(address, {})
        if was.get("subsystem") not in (None, function.subsystem):
            yield _subsystem(function, was["subsystem"], reached)
        yield from _driver(setup, function, reached)
        yield from _override(setup, function, was.get("driver_override"), reached)


def _misplaced(
    host: Host, function: Function | None, address: str, wanted: str, reached: Mapping[State, int]
) -> Difference:
    listed = list_functions(host)
    elsewhere = [each.address for each in listed if each.id == wanted]
    physical = sriov.idle_maker(sriov.read(host, listed), wanted) if not elsewhere else None
    there = f"{function.id} is there" if function else "nothing is there"
    now = f"{wanted} is at {', '.join(elsewhere)} now" if elsewhere else f"{wanted} is nowhere on this host"
    code = "device-id" if function else "device-absent"
    hint = "put the card back, or `vfiostate rollback`, correct the configuration and begin anew"
    if physical is not None:
        now = f"it is a virtual function of {physical.address}, which has none in this boot"
        hint = f"make them: `echo N > {physical.attribute}`, at every boot by a udev rule or a unit"
    since = reached.get(State.CHECKED, 0)
    return Difference(code, address, f"the device {wanted}", f"{there}; {now}", hint, since, grave=True)


def _subsystem(function: Function, was: str, reached: Mapping[State, int]) -> Difference:
    found = f"its subsystem is {function.subsystem or 'none'}: another card of the kind, or new firmware"
    hint = "make sure that it is the card that is meant"
    since = reached.get(State.CHECKED, 0)
    return Difference("device-subsystem", function.address, f"the subsystem {was}", found, hint, since)


def _driver(setup: Setup, function: Function, reached: Mapping[State, int]) -> Iterator[Difference]:
    if setup.state.rank >= State.BOUND.rank or setup.lost is not None:
        if function.driver != VFIO:
            found = f"it is under {function.driver}" if function.driver else "it has no driver"
            hint = f"`dmesg | grep vfio`; {again(State.BOUND)}"
            since = reached.get(State.BOUND, 0)
            yield Difference("not-bound", function.address, f"it is under {VFIO}", found, hint, since, grave=True)
    elif setup.state is State.REBOOTED:
        kept = setup.remembered.get(State.STUBBED.value, {})
        if (
            function.physfn is None
            and function.driver not in {*STUBS, None}
            and f"built_in.{function.address}" not in kept
        ):
            found = f"{function.driver} has it"
            hint = f"see whether the initramfs lacks the stub; {again(State.STUBBED)}"
            since = reached.get(State.REBOOTED, 0)
            yield Difference("native-driver-won", function.address, "it is under the stub driver", found, hint, since)


def _override(
    setup: Setup, function: Function, before: str | None, reached: Mapping[State, int]
) -> Iterator[Difference]:
    """Another tool's choice of a driver. Ours is vfio-pci, from `bound` on, and the stub driver from the boot on where
    the device is taken by its address; what was set before we came is known."""
    kept = setup.remembered.get(State.STUBBED.value, {})
    early = kept.get("stub") if function.address in kept.get(KEPT, "").split() else None
    allowed = {None, before, early, *([VFIO] if setup.state.rank >= State.REBOOTED.rank else [])}
    if function.driver_override in allowed:
        return
    path = f"{DEVICES}/{function.address}/driver_override"
    promised = f"driver_override is {before or 'not set'}, or {VFIO}"
    hint = f"another tool set it (driverctl, libvirt, a script): undo it there, or `echo > {path}`"
    since = reached.get(State.CHECKED, 0)
    found = f"driver_override is {function.driver_override}"
    yield Difference("driver-override", function.address, promised, found, hint, since)


def guest(host: ChangeableHost, setup: Setup, reached: Mapping[State, int]) -> Iterator[Difference]:
    """The guest runs, or does not, as the journal says; and nobody else has the devices."""
    wanted = setup.config.get("guest")
    name = str(wanted["name"]) if wanted else ""
    since = reached.get(setup.state, 0)
    if setup.state is State.RUNNING and setup.boot == host.boot_id and guest_process(host, setup) is None:
        found = f"it does not run (any more); its last words: {way_to_run(setup).log(name)}"
        hint = "`vfiostate advance` starts it; `vfiostate guest stop` agrees with it"
        yield Difference("guest-stopped", called(name), "it runs", found, hint, since)
    for holder in strangers(host, setup, groups(host, setup)):
        promised = "only a guest that the journal knows of has the devices"
        found = f"{holder} was started by hand or by another tool"
        hint = "end it (`vfiostate guest stop`, where it bears the guest's name): until then the devices are its own"
        own = holder.name == name
        yield Difference("guest-by-hand", holder.name, promised, found, hint, since, grave=not own)


def groups(host: Host, setup: Setup) -> set[int]:
    """The IOMMU groups of the configured devices that are there."""
    found = (read_function(host, device["address"]) for device in setup.config["devices"])
    return {one.group for one in found if one is not None and one.group is not None}


def reboot(host: ChangeableHost, setup: Setup, reached: Mapping[State, int]) -> Iterator[Difference]:
    """A reboot takes `bound` and `running` away: known, not done by us, and `advance` comes back from it."""
    if setup.state.rank >= State.BOUND.rank and setup.boot != host.boot_id:
        promised = f"`{setup.state.value}`, reached in the boot {setup.boot[:8]}"
        found = "the host was rebooted since"
        hint = f"`vfiostate advance` comes back to `{setup.state.value}`"
        yield Difference("host-rebooted", "host", promised, found, hint, reached.get(setup.state, 0))
