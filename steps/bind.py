"""The step `bound`: every configured function under vfio-pci, now and at every boot.

All are unbound before any is bound. The actions are in the order whose reverse works: taken from vfio-pci, the override
cleared, given to the driver that had it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from journal.errors import Exit
from steps import bind_service, by_address, cmdline, devices, group_ways, groups, guards, twins
from steps.actions import Action, Keep, RunCommand, Write, WriteAttribute
from steps.base import Brief, Finding, Host, Plan, Severity, State
from steps.bind_service import ServiceFacts
from steps.config import Device, Stub
from steps.devices import DeviceFacts
from steps.pci import DEVICES, DRIVERS, Function

VFIO = "vfio-pci"
PROBE = "/sys/bus/pci/drivers_probe"
NODES = "/dev/vfio"

# What of the guards still matters when the devices are about to be bound: addresses may have been renumbered.
_GUARDS = frozenset(
    {
        "device-absent",
        "device-id",
        "device-twice",
        "no-devices",
        "bridge",
        "disk-in-use",
        "default-route",
        "physical-function-in-use",
        "virtual-function-gone",
    }
)
# Said once, before: a firmware's framebuffer stays on a card whose native driver never came.
_WARNINGS = frozenset({"framebuffer"})


@dataclass(frozen=True, slots=True)
class BindFacts:
    """What the step read: the devices, whether the driver vfio-pci is there, the nodes in /dev/vfio, what is installed
    to bind at boot, the running kernel's command line, and where devices are whose addresses are their twins' now."""

    devices: DeviceFacts
    driver: bool
    nodes: tuple[str, ...]
    service: ServiceFacts
    words: tuple[str, ...]
    moved: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BindStep:
    """From `rebooted` to `bound`."""

    name: str = "bound"
    source: State = State.REBOOTED
    target: State = State.BOUND

    def probe(self, host: Host, brief: Brief) -> BindFacts:
        """Read the devices, their groups and what is installed."""
        try:
            nodes = host.list(NODES)
        except FileNotFoundError:
            nodes = ()
        found = devices.read_devices(host, brief.config)
        driver = host.lstat(f"{DRIVERS}/{VFIO}") is not None
        return BindFacts(found, driver, nodes, bind_service.read(host), _words(host), twins.moved(host, brief))

    def plan(self, brief: Brief, facts: BindFacts) -> Plan:
        """Unbind all, bind all, then make it permanent."""
        findings = _findings(brief, facts)
        if any(finding.severity is Severity.REFUSAL for finding in findings):
            return Plan(findings=findings)
        actions: list[Action] = [] if facts.driver else [_load()]
        ours = bind_service.installed(brief.setup, facts.service)
        functions = facts.devices.configured(brief.config)
        for function in functions:
            actions.extend(_own_again(function, brief) if ours else ())
        todo = [function for function in functions if function.driver != VFIO]
        actions.extend(_unbind(function, brief.config.unbind_timeout) for function in todo if function.driver)
        actions.extend(_override(function) for function in todo if function.has_override and not _overridden(function))
        actions.extend(action for function in todo for action in _bind(function))
        actions.extend(bind_service.plan(*_service(brief, facts)))
        return Plan(tuple(actions), _notes(functions, facts, ours), findings)

    def verify(self, brief: Brief, facts: BindFacts) -> tuple[Finding, ...]:
        """Whether vfio-pci has them, their groups are viable and open to a guest, and it will be so after a boot."""
        found = [*_guarded(brief, facts), *groups.findings(brief.config, facts.devices)]
        for function in facts.devices.configured(brief.config):
            found.extend(_verified(function, facts))
        lines = bind_service.missing(*_service(brief, facts))
        if lines:
            found.append(
                Finding(
                    "not-permanent",
                    Severity.REFUSAL,
                    "What binds the devices at every boot is not in place.",
                    lines,
                    "Find out what else changes these files, then run `vfiostate advance` again.",
                )
            )
        return tuple(found)


STEP = BindStep()


def _words(host: Host) -> tuple[str, ...]:
    try:
        return cmdline.split(host.read("/proc/cmdline"))
    except FileNotFoundError:
        return ()


def _service(brief: Brief, facts: BindFacts) -> tuple[str, Sequence[Device], float, ServiceFacts, Mapping[str, str]]:
    config = brief.config
    return brief.setup, config.devices, config.unbind_timeout, facts.service, by_address.subsystems(brief)


def _guarded(brief: Brief, facts: BindFacts, codes: frozenset[str] = _GUARDS) -> tuple[Finding, ...]:
    return tuple(found for found in guards.findings(brief.config, facts.devices) if found.code in codes)


def _findings(brief: Brief, facts: BindFacts) -> tuple[Finding, ...]:
    config = brief.config
    found = [*_guarded(brief, facts, _GUARDS | _WARNINGS), *groups.findings(config, facts.devices)]
    found += _tokens_missing(brief, facts)
    found += (*twins.findings(brief, facts.moved), *bind_service.in_the_way(*_service(brief, facts)))
    ours = bind_service.installed(brief.setup, facts.service)
    for function in facts.devices.configured(config):
        if function.group is None:
            found.append(_no_group(function))
        if not function.has_override:
            found.extend(_new_id_takes_more(brief, function, facts))
        if _overridden(function) and not ours and function.address not in by_address.remembered(brief):
            found.append(_adopted_override(function))
        found.extend(_foreign_override(brief, function))
    return tuple(found)


def _overridden(function: Function) -> bool:
    return function.driver_override == VFIO


def _attribute(function: Function) -> str:
    return f"{DEVICES}/{function.address}/driver_override"


def _load() -> RunCommand:
    undo = Keep("a loaded module holds nothing by itself, and is gone with the next boot")
    return RunCommand(("modprobe", VFIO), "the driver vfio-pci is not there", undo, timeout=120.0)


def _unbind(function: Function, seconds: float) -> WriteAttribute:
    driver = f"{DRIVERS}/{function.driver}"
    undo = Write(f"{driver}/bind", function.address)
    why = f"take {function.address} from {function.driver}"
    # ENODEV: it was let go in between, by the end of an unbind that hung.
    return WriteAttribute(f"{driver}/unbind", function.address, why, undo, seconds, ("ENODEV",))


def _override(function: Function) -> WriteAttribute:
    # A newline clears it; an empty write would do nothing (drivers/base/driver.c, driver_set_override).
    undo = Write(_attribute(function), function.driver_override or "\n")
    return WriteAttribute(_attribute(function), VFIO, f"let no driver but vfio-pci have {function.address}", undo)


def _bind(function: Function) -> Iterator[WriteAttribute]:
    release = Write(f"{DRIVERS}/{VFIO}/unbind", function.address)
    why = f"give {function.address} to vfio-pci"
    if function.has_override:
        yield WriteAttribute(PROBE, function.address, why, release)
        return
    # Kernels before 3.16. The id binds what is unbound at once; EBUSY and ENODEV then say that it is bound already.
    ids = f"{function.vendor} {function.device}"
    known = Write(f"{DRIVERS}/{VFIO}/remove_id", ids)
    yield WriteAttribute(f"{DRIVERS}/{VFIO}/new_id", ids, f"{why}, by its id", known, tolerate=("EEXIST",))
    yield WriteAttribute(f"{DRIVERS}/{VFIO}/bind", function.address, why, release, tolerate=("EBUSY", "ENODEV"))


def _own_again(function: Function, brief: Brief) -> Iterator[WriteAttribute]:
    """What our script did at this boot is made the journal's: the same write once more, for the sake of the way back.

    In reverse: taken from vfio-pci, the override (or the id) cleared, given to the stub that the command line names.
    """
    stub_holds = brief.config.stub is Stub.VFIO_PCI
    if function.driver != VFIO or (function.has_override and not _overridden(function)):
        return
    if not function.has_override and stub_holds:
        return  # The command line's ids bound it, and not the script.
    why = f"{function.address} was bound at boot; keep how it is given back"
    path, value, clear = _attribute(function), VFIO, Write(_attribute(function), "\n")
    if not function.has_override:
        path, value = f"{DRIVERS}/{VFIO}/new_id", f"{function.vendor} {function.device}"
        clear = Write(f"{DRIVERS}/{VFIO}/remove_id", value)
    stub = Write(f"{DRIVERS}/{brief.config.stub.value}/bind", function.address)
    release = Write(f"{DRIVERS}/{VFIO}/unbind", function.address)
    # Where vfio-pci is the stub itself, it keeps the device and only the override goes.
    for undo in (clear,) if stub_holds else (stub, clear, release):
        yield WriteAttribute(path, value, why, undo, tolerate=("EEXIST",))


def _notes(functions: tuple[Function, ...], facts: BindFacts, ours: bool) -> tuple[str, ...]:
    notes = [f"{each.address} is under vfio-pci already" for each in functions if each.driver == VFIO]
    notes += [f"{each.address} had no driver" for each in functions if each.driver is None]
    if ours:
        notes.append("what binds at every boot is installed already")
    elif facts.service.start is not None:
        notes.append(f"no systemd here: {facts.service.start.path} binds at every boot")
    return tuple(notes)


def _verified(function: Function, facts: BindFacts) -> Iterator[Finding]:
    if function.driver != VFIO:
        yield Finding(
            "not-bound",
            Severity.REFUSAL,
            f"{function.address} is not under vfio-pci: {group_ways.held_by(function)}.",
            (
                f"{DEVICES}/{function.address}/driver: {function.driver or 'none'}",
                f"driver_override: {function.driver_override or 'not set'}",
            ),
            "`dmesg | grep vfio` says why the driver did not take it; mend that, then run `vfiostate advance` again.",
        )
    elif function.group is None:
        yield _no_group(function)
    elif str(function.group) not in facts.nodes:
        yield Finding(
            "no-vfio-node",
            Severity.REFUSAL,
            f"{function.address} is under vfio-pci, and {NODES}/{function.group} does not exist.",
            (f"{NODES}: {', '.join(facts.nodes) or 'empty'}",),
            "Is devtmpfs mounted on /dev and udev running? `udevadm settle`, then run `vfiostate advance` again.",
        )


def _tokens_missing(brief: Brief, facts: BindFacts) -> Iterator[Finding]:
    """A later boot than the one that was judged may have lost what `stubbed` put on the command line."""
    tokens = brief.remembered.get(State.STUBBED.value, {}).get("tokens", "").split()
    missing = [token for token in tokens if token not in facts.words]
    if missing:
        yield Finding(
            "token-missing",
            Severity.WARNING,
            f"The kernel was started without {cmdline.shown(missing)}, which an earlier boot had: something has"
            " overwritten the boot configuration, or another entry was booted.",
            (f"/proc/cmdline: {cmdline.shown(facts.words)}",),
            "`vfiostate status` names the files that changed; `vfiostate rollback --to modules_loaded`, then `vfiostate"
            " advance`, puts the words back.",
        )


def _no_group(function: Function) -> Finding:
    return Finding(
        "no-group",
        Severity.REFUSAL,
        f"{function.address} is in no IOMMU group: the IOMMU is off or does not cover it.",
        (f"{DEVICES}/{function.address}/iommu_group does not exist",),
        "Look at /proc/cmdline and the firmware's setup: the IOMMU has to be on.",
    )


def _new_id_takes_more(brief: Brief, function: Function, facts: BindFacts) -> Iterator[Finding]:
    """Without driver_override only new_id is left, and that takes every unbound function of the id."""
    twins = [other.address for other in facts.devices.listed if other.id == function.id and other.driver is None]
    own = {device.address for device in brief.config.devices}
    more = [address for address in twins if address not in own]
    if more:
        yield Finding(
            "new-id-takes-more",
            Severity.REFUSAL,
            f"This kernel has no driver_override, and binding {function.id} by id would take {', '.join(more)} too.",
            tuple(f"{address} [{function.id}]: no driver" for address in more),
            "Use a kernel from 3.16 on, or load the other card's driver first.",
        )


def _foreign_override(brief: Brief, function: Function) -> Iterator[Finding]:
    """Another tool's choice of a driver, made since `checked` looked: it is not overwritten."""
    if function.driver_override in (None, VFIO) or function.driver == VFIO:
        return
    if function.driver_override == brief.config.stub.value and function.address in by_address.remembered(brief):
        return
    checked = brief.remembered.get(State.CHECKED.value, {})
    was = devices.remembered_override(checked.get("devices", ""), function.address)
    if not checked or function.driver_override == was:
        return
    yield Finding(
        "override-foreign",
        Severity.REFUSAL,
        f"driver_override of {function.address} was set to {function.driver_override} by somebody else since it was"
        " checked.",
        (f"{_attribute(function)}: {function.driver_override}", f"when it was checked: {was or 'not set'}"),
        "Undo it where it was set (driverctl, libvirt, a script of your own), or "
        f"`echo > {_attribute(function)}`, then run `vfiostate advance` again.",
        exit=Exit.DRIFT,
    )


def _adopted_override(function: Function) -> Finding:
    return Finding(
        "override-adopted",
        Severity.WARNING,
        f"driver_override of {function.address} was set to vfio-pci by somebody else; it stays so on the way back.",
        (f"{_attribute(function)}: {VFIO}",),
        "Nothing is to be done; driverctl, libvirt or a script of your own may have set it.",
    )
