"""The step `rebooted`: what the new boot made of it; and where it was a trial, its command line becomes the default.

Proof that it happened is a new boot id and our token on the kernel's command line; proof that it worked is every device
under a stub driver, and the host's own devices as they were. Each way it can go wrong has an answer of its own
(steps.reboot_checks, steps.trial).
"""

from __future__ import annotations

from dataclasses import dataclass

from steps import (
    boot,
    boot_log,
    cmdline,
    initramfs,
    kmod,
    next_kernel,
    own_devices,
    reboot_checks,
    sriov,
    topology,
    trial,
    twins,
)
from steps.actions import Action
from steps.base import Brief, Finding, Host, Plan, Severity, State
from steps.boot.generated import check
from steps.initramfs.base import InitramfsFacts
from steps.pci import group_members, list_functions, read_function, read_groups
from steps.reboot_checks import Placed, RebootFacts
from steps.tuning import check as tuning


@dataclass(frozen=True, slots=True)
class RebootStep:
    """From `stubbed` to `rebooted`."""

    name: str = "rebooted"
    source: State = State.STUBBED
    target: State = State.REBOOTED

    def probe(self, host: Host, brief: Brief) -> RebootFacts:
        """Read what the present boot is; the boot configuration and the initramfs only where they explain something."""
        again = host.boot_id == brief.boot
        devices = tuple(_placed(host, each.address, each.id) for each in brief.config.devices)
        late = any(reboot_checks.is_native(device) for device in devices)
        groups = {each.function.group for each in devices if each.function is not None}
        members = (member for group in groups if group is not None for member in group_members(host, group))
        found = (read_function(host, member) for member in members)
        words = cmdline.split(host.read("/proc/cmdline"))
        kept = brief.remembered.get(State.STUBBED.value, {})
        loader = None if again else boot.detect(host, brief.config.boot_loader)
        usable = loader.loader if loader is not None and not loader.findings else None
        tried = not again and trial.staged(brief)
        came = f"{cmdline.SETUP}={brief.setup}" in words
        boot_facts = usable.read(host, brief.setup) if usable is not None else None
        return RebootFacts(
            boot_id=host.boot_id,
            release=host.release,
            words=words,
            devices=devices,
            members=tuple(member for member in found if member is not None),
            groups=len(read_groups(host)),
            loader=usable,
            boot=boot_facts,
            own=own_devices.read(host, kept),
            log=boot_log.left_since(host, brief.boot) if tried and not came else (),
            following=next_kernel.read(host, brief, boot_facts.release) if boot_facts and tried and came else None,
            image=_image(host, brief) if late and not again else None,
            moved=twins.moved(host, brief),
            tuning=tuning.read(host, brief.config.guest, (each.address for each in brief.config.devices)),
        )

    def plan(self, brief: Brief, facts: RebootFacts) -> Plan:
        """The findings say what this boot is and what to do next; a trial that has proved itself is made permanent."""
        findings = reboot_checks.judge(brief, facts)
        actions, more = _commit(brief, facts, findings)
        notes = tuple(
            f"{each.address} [{each.id}] is under {each.function.driver}"
            for each in facts.devices
            if each.function is not None and reboot_checks.is_stubbed(each)
        )
        return Plan(
            actions,
            notes=notes,
            findings=(*findings, *more),
            remember={"boot": facts.boot_id, "release": facts.release, topology.KEY: _topology(facts)},
            before_reboot=trial.before_reboot(facts.loader, facts.boot, findings),
        )

    def verify(self, brief: Brief, facts: RebootFacts) -> tuple[Finding, ...]:
        """The same question again, on new facts; and whether a trial's command line is the default now."""
        found = reboot_checks.judge(brief, facts)
        if not trial.staged(brief) or facts.boot is None or _refused(found):
            return found
        return (*found, *facts.boot.findings, *check(facts.boot, _tokens(brief)))


STEP = RebootStep()


def _placed(host: Host, address: str, ident: str) -> Placed:
    function = read_function(host, address)
    elsewhere: tuple[str, ...] = ()
    maker = None
    if function is None or function.id != ident:
        everything = list_functions(host)
        elsewhere = tuple(each.address for each in everything if each.id == ident)
        maker = sriov.idle_maker(sriov.read(host, everything), ident) if not elsewhere else None
    driver = function.driver if function is not None else None
    module = kmod.module_of_driver(host, driver) if driver is not None else None
    return Placed(address, ident, function, elsewhere, module, maker)


def _topology(facts: RebootFacts) -> str:
    placed = (each.function for each in facts.devices)
    functions = {one.address: one for one in (*placed, *facts.members) if one is not None}
    return topology.encode(functions.values(), functions)


def _tokens(brief: Brief) -> list[str]:
    return brief.remembered.get(State.STUBBED.value, {}).get("tokens", "").split()


def _refused(findings: tuple[Finding, ...]) -> bool:
    return any(finding.severity is Severity.REFUSAL for finding in findings)


def _commit(
    brief: Brief, facts: RebootFacts, findings: tuple[Finding, ...]
) -> tuple[tuple[Action, ...], tuple[Finding, ...]]:
    if not trial.staged(brief) or _refused(findings):
        return (), ()
    if facts.loader is None or facts.boot is None:
        return (), (reboot_checks.unreadable_boot(),)
    ahead = tuple(next_kernel.judge(facts.release, facts.following))
    actions, more = trial.commit(facts.loader, facts.boot, brief.remembered.get(State.STUBBED.value, {}))
    return (() if _refused(ahead) else actions), (*ahead, *more)


def _image(host: Host, brief: Brief) -> InitramfsFacts | None:
    found = initramfs.detect(host, brief.config.initramfs)
    return None if found.generator is None or found.findings else found.generator.read(host, host.release, look=True)
