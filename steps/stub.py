"""The step `stubbed`: the next boot gives the devices to the stub driver, and only that one until it has proved itself.

The kernel command line says which ids the stub takes, softdeps and the initramfs see to it that it comes first, and
what was generated is looked into before anybody reboots.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from steps import boot, by_address, cmdline, initramfs, kmod, modprobe_d, own_devices, softdeps, stub_checks, trial
from steps.actions import Action, RunCommand
from steps.base import Brief, Finding, Host, Plan, Severity, State
from steps.boot import refind, unreplayed
from steps.boot.base import BootFacts, BootLoader
from steps.boot.declaration import Declaration, missing
from steps.boot.entry_image import elsewhere
from steps.boot.generated import check, lacking
from steps.cmdline import Merged, Wanted
from steps.initramfs.base import Generator, InitramfsFacts
from steps.insertion import new_file
from steps.kmod import ModuleState
from steps.modprobe_d import Softdep
from steps.softdeps import CONF, FORMER, STUB_MODULES
from steps.stub_checks import DeviceFacts, KernelFacts
from steps.tuning import words
from steps.tuning.words import Tuning


@dataclass(frozen=True, slots=True)
class StubFacts:
    """What the step read. `loader` and `boot` are None where no boot loader can be driven, `generator` and `initramfs`
    likewise; `release` is the kernel that will boot; `conf` our file in modprobe.d, None where there is none, and
    `conf_path` where it lies; `softdeps` are those of the native modules without ours, `heeded` with it; `own` are
    the devices that the host must still have afterwards; `heed` is what to heed of the boot configuration's disk, and
    of what is started before the boot loader; `elsewhere` what stands against the initramfs that the entry loads."""

    release: str
    kernel: KernelFacts
    devices: tuple[DeviceFacts, ...]
    loader: BootLoader | None = None
    boot: BootFacts | None = None
    generator: Generator | None = None
    initramfs: InitramfsFacts | None = None
    modules: Mapping[str, ModuleState] | None = None
    module_ids: tuple[str, ...] = ()
    conf: bytes | None = None
    conf_path: str = CONF
    softdeps: Mapping[str, Softdep] = field(default_factory=dict)
    heeded: Mapping[str, Softdep] = field(default_factory=dict)
    boot_findings: tuple[Finding, ...] = ()
    image_findings: tuple[Finding, ...] = ()
    own: Mapping[str, str] = field(default_factory=dict)
    heed: tuple[Finding, ...] = ()
    elsewhere: tuple[Finding, ...] = ()

    def state(self, module: str) -> ModuleState:
        """What a module of the stub driver is in the kernel that will boot."""
        return (self.modules or {}).get(module, ModuleState.ABSENT)


@dataclass(frozen=True, slots=True)
class StubStep:
    """From `modules_loaded` to `stubbed`."""

    name: str = "stubbed"
    source: State = State.MODULES_LOADED
    target: State = State.STUBBED

    def probe(self, host: Host, brief: Brief) -> StubFacts:
        """Read the boot configuration, the initramfs and what the kernel that will boot makes of the devices."""
        config = brief.config
        loader = boot.detect(host, config.boot_loader)
        usable = loader.loader if not loader.findings else None
        boot_facts = usable.read(host, brief.setup) if usable else None
        release = (boot_facts.release if boot_facts else None) or host.release
        conf_path, conf = _conf(host)
        maker = initramfs.detect(host, config.initramfs)
        generator = maker.generator if not maker.findings else None
        # With no file of ours the image is rebuilt anyway: looking into it would be time wasted.
        image = generator.read(host, release, look=conf is not None) if generator else None
        if generator is not None and image is not None and conf is None and image.early_files:
            image = generator.read(host, release, look=True)
        module = softdeps.stub_module(config.stub)
        module_ids = modprobe_d.option(host, module, "ids", besides=(CONF, FORMER))
        devices = stub_checks.read_devices(host, config, release)
        twins = {twin for device in by_address.chosen(config, devices) for twin in device.twins}
        return StubFacts(
            release,
            stub_checks.read_kernel(host, release),
            devices,
            usable,
            boot_facts,
            generator,
            image,
            {name: kmod.ask(host, name, release) for name in STUB_MODULES[config.stub]},
            cmdline.split_ids(module_ids[0]) if module_ids else (),
            conf,
            conf_path,
            softdeps.in_force(host, _natives(devices), release),
            softdeps.in_force(host, _natives(devices), release, besides=()),
            loader.findings,
            maker.findings,
            own_devices.remembered(host, {device.address for device in config.devices}, twins),
            _ahead(host, boot_facts) if boot_facts else (),
            elsewhere(host, usable, boot_facts, image) if usable and boot_facts and image else (),
        )

    def plan(self, brief: Brief, facts: StubFacts) -> Plan:
        """The edits, then the initramfs, then the boot configuration: until the last of them the old boot stays."""
        findings = _findings(brief, facts)
        if any(finding.severity is Severity.REFUSAL for finding in findings) or facts.boot is None:
            return Plan(findings=findings)
        if facts.boot.declared is not None:
            return _declared(brief, facts, facts.boot, findings)
        merged = _merge(brief, facts)
        image, image_notes = _image_actions(brief, facts)
        line, line_notes = _line_actions(brief, facts, merged)
        edits = [action for action, late in (*image, *line) if not late]
        commands = [action for action, late in (*image, *line) if late]
        notes = (*image_notes, *line_notes, *_notes(brief, facts, merged))
        return Plan((*edits, *commands), notes, findings, _remember(brief, facts, merged))

    def verify(self, brief: Brief, facts: StubFacts) -> tuple[Finding, ...]:
        """Whether sh's value, the generated configuration and the initramfs say what was meant."""
        found = [*facts.boot_findings, *(facts.boot.findings if facts.boot else ())]
        if facts.boot is not None and not found:
            found += _check_value(brief, facts, facts.boot)
        if _wants_image(brief, facts) and not _is_declared(facts):
            found += _check_image(brief, facts)
            stub, natives = brief.config.stub, _natives(facts.devices) if _loadable(brief, facts) else ()
            if alone := softdeps.not_after(stub, natives, facts.heeded):
                found.append(stub_checks.conf_differs(stub, alone, facts.heeded))
        return tuple(found)


STEP = StubStep()


def _ahead(host: Host, facts: BootFacts) -> tuple[Finding, ...]:
    return (*unreplayed.warning(host, facts.generated), *refind.warning(host, facts.where))


# An action, and whether it comes after all edits.
Placed = tuple[Action, bool]


def _conf(host: Host) -> tuple[str, bytes | None]:
    for path in (CONF, FORMER):
        with contextlib.suppress(FileNotFoundError):
            return path, host.read(path)
    return CONF, None


def _natives(devices: Sequence[DeviceFacts]) -> tuple[str, ...]:
    return softdeps.needed([native for device in devices for native in device.natives])


def _wanted(brief: Brief, facts: StubFacts) -> Wanted:
    early = {device.id.lower() for device in (*_early(brief, facts), *by_address.late(brief.config, facts.devices))}
    ids = tuple(dict.fromkeys(id_ for device in brief.config.devices if (id_ := device.id.lower()) not in early))
    return Wanted(
        brief.setup,
        brief.config.stub,
        ids,
        facts.kernel.needs_intel_iommu(facts.devices),
        brief.config.iommu_pt,
        facts.module_ids,
        _tuning(brief, facts),
    )


def _tuning(brief: Brief, facts: StubFacts) -> Tuning:
    return words.wanted(brief.config, facts.kernel.build)


def _merge(brief: Brief, facts: StubFacts) -> Merged:
    return cmdline.merge(facts.boot.in_force if facts.boot else (), _wanted(brief, facts))


def _findings(brief: Brief, facts: StubFacts) -> tuple[Finding, ...]:
    found = [*facts.boot_findings, *stub_checks.about_devices(brief.config, facts.devices)]
    found += stub_checks.about_modules(brief.config.stub, facts.modules or {}, facts.release)
    found += stub_checks.about_natives(brief.config.stub, facts.modules or {}, facts.devices)
    if facts.boot is not None:
        found += (*facts.boot.findings, *facts.heed)
        found += cmdline.objections(facts.boot.in_force, facts.boot.where, vendor=facts.kernel.vendor)
        found += stub_checks.about_words(brief, facts.boot)
        found += words.objections(_tuning(brief, facts), cmdline.parsed(facts.boot.in_force), facts.boot.where)
        tokens = _merge(brief, facts).tokens
        if not cmdline.fits(facts.boot.in_force, tokens):
            found.append(stub_checks.too_long(facts.boot))
        if facts.boot.declared is not None and tokens:
            found.append(_undeclared(brief, facts, facts.boot.declared, tokens))
        elif trial.wanted(brief, tokens):
            found += trial.objections(facts.boot, _way_out(facts))
    early = _early(brief, facts)
    found += by_address.objections(brief, early, facts.boot, facts.module_ids, facts.generator, facts.initramfs)
    if _wants_image(brief, facts) and not _is_declared(facts):
        found += (*facts.image_findings, *(facts.initramfs.findings if facts.initramfs else ()), *facts.elsewhere)
        if facts.conf is not None and facts.conf != _conf_wanted(brief, facts):
            found.append(stub_checks.conf_in_the_way(facts.conf_path, facts.conf))
        found += softdeps.about_order(brief.config.stub, facts.softdeps) if _loadable(brief, facts) else ()
    return tuple(found)


def _is_declared(facts: StubFacts) -> bool:
    return facts.boot is not None and facts.boot.declared is not None


def _undeclared(brief: Brief, facts: StubFacts, declared: Declaration, tokens: Sequence[str]) -> Finding:
    modules = _image_modules(brief, facts) if _wants_image(brief, facts) else ()
    lines = declared.lines(tokens, modules, _conf_wanted(brief, facts) or b"")
    return missing(facts.loader.name if facts.loader else "", declared, tokens, lines)


def _declared(brief: Brief, facts: StubFacts, boot_facts: BootFacts, findings: tuple[Finding, ...]) -> Plan:
    """The user has written all that is needed: there is nothing to do, and what is there is remembered as ours."""
    there = (*boot_facts.fixed, *boot_facts.words)
    tokens = tuple(each for each in cmdline.merge((), _wanted(brief, facts)).tokens if each in there)
    notes = (
        f"{boot_facts.where} has all that is needed, and was built: nothing is changed",
        "the initramfs is not looked into: the reboot shows whether the stub driver comes first",
    )
    return Plan((), notes, findings, {**_remember(brief, facts, Merged(tokens)), trial.STAGED: ""})


def _early(brief: Brief, facts: StubFacts) -> tuple[DeviceFacts, ...]:
    return by_address.chosen(brief.config, facts.devices)


def _wants_image(brief: Brief, facts: StubFacts) -> bool:
    """Whether the initramfs matters: a stub driver that is part of the kernel is there before any module, and takes by
    their ids what it is to take."""
    return _loadable(brief, facts) or bool(_early(brief, facts))


def _loadable(brief: Brief, facts: StubFacts) -> bool:
    return softdeps.loadable(facts.state(softdeps.stub_module(brief.config.stub)))


def _image_modules(brief: Brief, facts: StubFacts) -> tuple[str, ...]:
    return tuple(name for name in STUB_MODULES[brief.config.stub] if softdeps.loadable(facts.state(name)))


def _check_image(brief: Brief, facts: StubFacts) -> tuple[Finding, ...]:
    conf, early = CONF if _loadable(brief, facts) else "", bool(_early(brief, facts))
    return stub_checks.check_image(facts.initramfs, _image_modules(brief, facts), conf, early=early)


def _conf_wanted(brief: Brief, facts: StubFacts) -> bytes | None:
    """Our file in modprobe.d; None where there is no module that could come before another."""
    if not _loadable(brief, facts):
        return None
    return softdeps.conf(brief.setup, brief.config.stub, _natives(facts.devices), facts.softdeps)


def _image_actions(brief: Brief, facts: StubFacts) -> tuple[list[Placed], tuple[str, ...]]:
    if facts.generator is None or facts.initramfs is None or not _wants_image(brief, facts):
        stub = brief.config.stub.value
        return [], (f"{stub} is built into {facts.release}: no softdeps and no initramfs are needed",)
    modules = _image_modules(brief, facts)
    script = by_address.script(brief, _early(brief, facts))
    edits = list(facts.generator.edits(facts.initramfs, modules, brief.setup, script))
    conf = _conf_wanted(brief, facts)
    if facts.conf is None and conf is not None:
        why = f"let {brief.config.stub.value} come before the native drivers"
        edits.append(new_file(CONF, conf, why))
    if not edits and not _check_image(brief, facts):
        return [], ("the initramfs has all that is needed: it is not rebuilt",)
    rebuild = (_with_copies(command, facts.boot) for command in facts.generator.commit(facts.initramfs))
    return [*((edit, False) for edit in edits), *((command, True) for command in rebuild)], ()


def _with_copies(command: Action, boot_facts: BootFacts | None) -> Action:
    """The rebuild with all that it changes: what hooks copy for the boot loader is put back with the images."""
    if boot_facts is None or not isinstance(command, RunCommand):
        return command
    return replace(command, produces=tuple(dict.fromkeys((*command.produces, *boot_facts.copies))))


def _line_actions(brief: Brief, facts: StubFacts, merged: Merged) -> tuple[list[Placed], tuple[str, ...]]:
    if facts.loader is None or facts.boot is None:
        return [], ()
    if trial.wanted(brief, merged.tokens):
        unattended = facts.initramfs.unattended if facts.initramfs is not None else ()
        return trial.actions(facts.loader, facts.boot, (*merged.tokens, *unattended), brief.setup), ()
    edits = facts.loader.edits(facts.boot, merged.tokens)
    run = cmdline.run_of(facts.boot.words, brief.setup)
    if not edits and not lacking(facts.boot, run[1] if run else ()):
        return [], (f"{facts.boot.generated} has all that is needed: it is not generated anew",)
    return [*((edit, False) for edit in edits), *((command, True) for command in facts.loader.commit(facts.boot))], ()


def _notes(brief: Brief, facts: StubFacts, merged: Merged) -> tuple[str, ...]:
    notes = [f"{word} is there already and stays" for word in merged.adopted]
    notes += [by_address.note(device) for device in _early(brief, facts)]
    notes += [by_address.late_note(device) for device in by_address.late(brief.config, facts.devices)]
    if facts.module_ids and cmdline.ids_in_force(facts.boot.in_force if facts.boot else (), brief.config.stub) is None:
        notes.append(
            f"the ids that modprobe.d gives {brief.config.stub.value} now are carried along on the command line"
        )
    if facts.kernel.vendor == "intel" and not facts.kernel.needs_intel_iommu(facts.devices):
        notes.append(f"intel_iommu=on is not needed: {facts.kernel.why_not_needed()}")
    if trial.wanted(brief, merged.tokens):
        notes.append(
            "trial boot: the next boot, and only that one, has the new command line; it becomes the default when that "
            "boot has proved itself"
        )
    elif merged.tokens:
        notes.append(f"no trial boot: the new command line becomes the default at once, {_way_out(facts)}")
    return tuple(notes)


def _way_out(facts: StubFacts) -> str:
    entries = (facts.boot.entries or ()) if facts.boot else ()
    kept = "and the recovery entries keep the old one"
    return kept if any(entry.recovery for entry in entries) else "and there is no recovery entry that keeps the old one"


def _remember(brief: Brief, facts: StubFacts, merged: Merged) -> Mapping[str, str]:
    """What the way on and the way back need to know of the time before.

    `driver.ADDRESS` is the native driver (empty: none), `built_in.ADDRESS` one that wins every boot, `tokens` our run.
    """
    boot_facts = facts.boot
    kept = {
        "release": facts.release,
        "tokens": " ".join(merged.tokens),
        "loader": facts.loader.name if facts.loader else "",
        "where": boot_facts.where if boot_facts else "",
        "value_before": cmdline.shown(boot_facts.words) if boot_facts else "",
        "stub": brief.config.stub.value,
        trial.STAGED: "staged" if trial.wanted(brief, merged.tokens) else "",
        by_address.KEPT: " ".join(device.address for device in _early(brief, facts)),
        trial.LINE: cmdline.shown(boot_facts.in_force) if boot_facts else "",
        **facts.own,
    }
    for device in facts.devices:
        function = device.function
        native = function.driver if function and function.driver not in stub_checks.STUB_DRIVERS else None
        kept[f"driver.{device.address}"] = native or ""
        if stub_checks.wins_anyway(brief.config.stub, facts.modules or {}, device):
            kept[f"built_in.{device.address}"] = native or device.natives[0].module
    return kept


def _check_value(brief: Brief, facts: StubFacts, boot_facts: BootFacts) -> list[Finding]:
    if boot_facts.declared is not None:
        tokens = _merge(brief, facts).tokens
        return [_undeclared(brief, facts, boot_facts.declared, tokens)] if tokens else []
    run = cmdline.run_of(boot_facts.words, brief.setup)
    if run is None and boot_facts.trial.words is not None:
        return list(trial.check(boot_facts, _merge(brief, facts).tokens))
    if run is None:
        return [stub_checks.token_lost(boot_facts)]
    before, ours = run
    expected = cmdline.merge((*boot_facts.fixed, *before), _wanted(brief, facts)).tokens
    if ours != expected:
        return [stub_checks.value_differs(boot_facts, ours, expected)]
    return list(check(boot_facts, ours))
