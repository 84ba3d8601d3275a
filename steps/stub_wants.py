"""What the step `stubbed` wants of the host that it found: the words, the modules and the files."""

from __future__ import annotations

from dataclasses import dataclass

from steps import by_address, cmdline, softdeps, trial
from steps.base import Brief
from steps.cmdline import Merged, Wanted
from steps.softdeps import STUB_MODULES
from steps.stub_checks import DeviceFacts
from steps.stub_facts import StubFacts, natives
from steps.tuning import words
from steps.tuning.words import Tuning


@dataclass(frozen=True, slots=True)
class Wants:
    """`line` is what the command line has to say, and `merged` what that adds to the one that is in force; `tried` are
    the words of the trial's entry, none without a trial. `early` are the devices that are taken by their addresses.

    `image` is whether the initramfs matters: a stub driver that is part of the kernel (not `loadable`) is there before
    any module, and takes by their ids what it is to take. `modules` belong into it; `conf` is our file in modprobe.d,
    None where there is no module that could come before another. `declared` is whether the user writes all of it.
    """

    line: Wanted
    merged: Merged
    tried: tuple[str, ...]
    early: tuple[DeviceFacts, ...]
    tuning: Tuning
    loadable: bool
    image: bool
    modules: tuple[str, ...]
    conf: bytes | None
    declared: bool


def wants(brief: Brief, facts: StubFacts) -> Wants:
    """What is wanted, by the configuration and by what there is."""
    stub = brief.config.stub
    early = by_address.chosen(brief.config, facts.devices)
    tuning = words.wanted(brief.config, facts.kernel.build)
    line = _line(brief, facts, early, tuning)
    merged = cmdline.merge(facts.boot.in_force if facts.boot else (), line)
    loadable = softdeps.loadable(facts.state(softdeps.stub_module(stub)))
    conf = softdeps.conf(brief.setup, stub, natives(facts.devices), facts.softdeps) if loadable else None
    unattended = facts.initramfs.unattended if facts.initramfs is not None else ()
    return Wants(
        line=line,
        merged=merged,
        tried=(*merged.tokens, *unattended) if trial.wanted(brief, merged.tokens) else (),
        early=early,
        tuning=tuning,
        loadable=loadable,
        image=loadable or bool(early),
        modules=tuple(name for name in STUB_MODULES[stub] if softdeps.loadable(facts.state(name))),
        conf=conf,
        declared=facts.boot is not None and facts.boot.declared is not None,
    )


def _line(brief: Brief, facts: StubFacts, early: tuple[DeviceFacts, ...], tuning: Tuning) -> Wanted:
    by_no_id = {device.id.lower() for device in (*early, *by_address.late(brief.config, facts.devices))}
    ids = (device.id.lower() for device in brief.config.devices)
    return Wanted(
        setup=brief.setup,
        stub=brief.config.stub,
        ids=tuple(dict.fromkeys(each for each in ids if each not in by_no_id)),
        intel_iommu=facts.kernel.needs_intel_iommu(facts.devices),
        iommu_pt=brief.config.iommu_pt,
        module_ids=facts.module_ids,
        tuning=tuning,
    )
