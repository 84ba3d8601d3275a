"""The step `checked`: everything that stands against a set-up is found, all at once, before anything is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from steps import (
    boot,
    by_address,
    cmdline,
    devices,
    groups,
    guards,
    host_checks,
    initramfs,
    iommu,
    kmod,
    modules,
    resets,
    softdeps,
    stub_checks,
    topology,
    variants,
)
from steps.base import Brief, Finding, Host, Plan, Severity, State
from steps.boot.base import BootFacts
from steps.config import Config
from steps.devices import DeviceFacts
from steps.host_checks import HostFacts
from steps.iommu import IommuFacts
from steps.kmod import ModuleState
from steps.modules import ModuleStates
from steps.tuning import check as tuning
from steps.tuning import words
from steps.tuning.check import TuningFacts
from steps.tuning.words import Tuning


@dataclass(frozen=True, slots=True)
class CheckFacts:
    """What the step read. `boot` is None where the boot loader cannot be read, `modules` where kmod is missing;
    `found` are the detectors' own findings, `seen` their evidence; `variants` the variant drivers that the kernel which
    boots next has."""

    iommu: IommuFacts
    devices: DeviceFacts
    host: HostFacts
    boot: BootFacts | None
    modules: ModuleStates | None
    tuning: TuningFacts
    boot_tuning: Tuning
    found: tuple[Finding, ...]
    seen: tuple[str, ...]
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    next_release: str = ""


@dataclass(frozen=True, slots=True)
class CheckStep:
    """From `new` to `checked`."""

    name: str = "checked"
    source: State = State.NEW
    target: State = State.CHECKED

    def probe(self, host: Host, brief: Brief) -> CheckFacts:
        """Read everything that can stand against a set-up; what cannot be read is a fact too."""
        facts = iommu.read_iommu(host)
        loader = boot.detect(host, brief.config.boot_loader)
        usable = loader.loader if not loader.findings else None
        boot_facts = usable.read(host, brief.setup) if usable else None
        next_ = (boot_facts.release if boot_facts else None) or host.release
        states = None
        found = devices.read_devices(host, brief.config)
        special: Mapping[str, tuple[str, ...]] = {}
        if host.which("modprobe") is not None:
            states = modules.read_states(host, brief.config, facts.virtualization, next_)
            special = variants.read(host, found.configured(brief.config), next_)
        stub = states.next[softdeps.stub_module(brief.config.stub)] if states is not None else None
        maker = made_by(host, brief.config, boot_facts, stub, next_)
        generator = maker.generator if not maker.findings else None
        image = generator.read(host, next_, look=False).findings if generator else ()
        return CheckFacts(
            facts,
            found,
            host_checks.read_host(host, brief.config, boot_facts, kmod.loaded(host)),
            boot_facts,
            states,
            tuning.read(host, brief.config.guest, (each.address for each in brief.config.devices)),
            words.wanted(brief.config, stub_checks.read_kernel(host, next_).build),
            (*loader.findings, *(boot_facts.findings if boot_facts else ()), *maker.findings, *image),
            (
                *(f"boot loader {loader.loader.name}: {line}" for line in loader.evidence if loader.loader),
                *(f"initramfs by {generator.name}: {line}" for line in maker.evidence if generator),
            ),
            special,
            next_,
        )

    def plan(self, brief: Brief, facts: CheckFacts) -> Plan:
        """No action: the findings are the result."""
        resettable = resets.notes(facts.devices.configured(brief.config))
        notes = (f"IOMMU: {iommu.judge(facts.iommu).value}", *facts.seen, *resettable)
        return Plan(notes=notes, findings=ordered(self._judge(brief, facts)), remember=_remember(brief, facts))

    def verify(self, brief: Brief, facts: CheckFacts) -> tuple[Finding, ...]:
        """The same questions again, on new facts."""
        return ordered(self._judge(brief, facts))

    def _judge(self, brief: Brief, facts: CheckFacts) -> tuple[Finding, ...]:
        config = brief.config
        return (
            *iommu.findings(facts.iommu, allow_unsafe=config.allow.unsafe_interrupts, guest=config.guest is not None),
            *of_devices(config, facts.devices, facts.iommu),
            *facts.found,
            *(objections(facts.boot, facts.iommu) if facts.boot else ()),
            *_tuned(facts),
            *acs_override(facts.boot, facts.iommu),
            *variants.findings(facts.variants, facts.next_release),
            *(modules.absent(facts.modules) if facts.modules else ()),
            *tuning.findings(config.guest, facts.tuning),
            *host_checks.findings(config, facts.host, facts.iommu.virtualization, facts.iommu.vendor),
        )


STEP = CheckStep()


def made_by(
    host: Host, config: Config, boot_facts: BootFacts | None, stub: ModuleState | None, release: str
) -> initramfs.Detected:
    """What makes the initramfs, where the step `stubbed` will want one. Nobody where a user's own configuration says
    what is in it, nor where the stub driver is part of the kernel and no device is taken by its address.

    `stub` is what that driver is in the kernel `release`, None where it is not known.
    """
    unwanted = boot_facts is not None and boot_facts.declared is not None
    if stub is ModuleState.BUILT_IN and not unwanted:
        unwanted = not by_address.chosen(config, stub_checks.read_devices(host, config, release))
    return initramfs.Detected(None) if unwanted else initramfs.detect(host, config.initramfs)


def of_devices(config: Config, facts: DeviceFacts, found: IommuFacts) -> tuple[Finding, ...]:
    """Everything that is to be said of giving the configured devices to a guest."""
    return (
        *guards.findings(config, facts),
        *groups.findings(config, facts),
        *groups.siblings(config, facts),
        *groups.without_group(config, facts, found),
    )


def objections(facts: BootFacts, found: IommuFacts) -> tuple[Finding, ...]:
    """What the boot configuration says against it: it holds for the next boot, whatever the running kernel was told."""
    vendor = {"DMAR": "intel", "IVRS": "amd"}.get(found.table or "")
    return cmdline.objections(facts.in_force, facts.where, vendor=vendor)


def _tuned(facts: CheckFacts) -> Iterator[Finding]:
    """What the boot configuration says already of CPUs and pages that the guest's own words are about."""
    if facts.boot is not None:
        yield from words.objections(facts.boot_tuning, cmdline.parsed(facts.boot.in_force), facts.boot.where)


def acs_override(facts: BootFacts | None, found: IommuFacts) -> Iterator[Finding]:
    """The user's own word for groups that the hardware does not make. Only patched kernels know it."""
    everything = (*found.words, *(facts.in_force if facts is not None else ()))
    said = dict.fromkeys(word for word in everything if cmdline.name_of(word) == "pcie_acs_override")
    if said:
        yield Finding(
            "acs-override",
            Severity.WARNING,
            "The IOMMU groups are split by the kernel's ACS override: what is in different groups is not isolated by"
            " that, and a guest may reach the host's devices and memory through its own.",
            (f"command line: {cmdline.shown(said)}",),
            "Keep it only for guests that you trust as you trust the host.",
        )


def ordered(found: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Refusals first, then warnings, then notes; the order among equals stays."""
    weight = {severity: place for place, severity in enumerate(reversed(Severity))}
    return tuple(sorted(found, key=lambda finding: weight[finding.severity]))


def _remember(brief: Brief, facts: CheckFacts) -> Mapping[str, str]:
    """What the devices were like, so that after the reboot it can be said which of it changed."""
    seen = {
        function.address: {
            "id": function.id,
            "subsystem": function.subsystem,
            "group": function.group,
            "driver": function.driver,
            "driver_override": function.driver_override,
        }
        for function in facts.devices.configured(brief.config)
    }
    return {
        "iommu": iommu.judge(facts.iommu).value,
        "boot_loader": facts.boot.loader if facts.boot else "",
        "release": facts.modules.next_release if facts.modules else "",
        "devices": json.dumps(seen, sort_keys=True),
        topology.KEY: topology.encode(facts.devices.listed, seen),
    }
