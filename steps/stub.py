"""The step `stubbed`: the next boot gives the devices to the stub driver, and only that one until it has proved itself.

The kernel command line says which ids the stub takes, softdeps and the initramfs see to it that it comes first, and
what was generated is looked into before anybody reboots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from steps import by_address, cmdline, softdeps, stub_checks, stub_facts, trial
from steps.actions import Action, RunCommand
from steps.base import Brief, Finding, Host, Plan, Severity, State
from steps.boot.base import PANIC, BootFacts
from steps.boot.declaration import Declaration, missing
from steps.boot.generated import check, lacking
from steps.insertion import new_file
from steps.softdeps import CONF
from steps.stub_facts import StubFacts, natives
from steps.stub_wants import Wants, wants
from steps.tuning import words


@dataclass(frozen=True, slots=True)
class StubStep:
    """From `modules_loaded` to `stubbed`."""

    name: str = "stubbed"
    source: State = State.MODULES_LOADED
    target: State = State.STUBBED

    def probe(self, host: Host, brief: Brief) -> StubFacts:
        """Read the boot configuration, the initramfs and what the kernel that will boot makes of the devices."""
        return stub_facts.read(host, brief)

    def plan(self, brief: Brief, facts: StubFacts) -> Plan:
        """The edits, then the initramfs, then the boot configuration: until the last of them the old boot stays."""
        want = wants(brief, facts)
        findings = _findings(brief, facts, want)
        if any(finding.severity is Severity.REFUSAL for finding in findings) or facts.boot is None:
            return Plan(findings=findings)
        if want.declared:
            return _declared(brief, facts, want, facts.boot, findings)
        image, image_notes = _image_actions(brief, facts, want)
        line, line_notes = _line_actions(brief, facts, want)
        edits = [action for action, late in (*image, *line) if not late]
        commands = [action for action, late in (*image, *line) if late]
        notes = (*image_notes, *line_notes, *_notes(brief, facts, want))
        return Plan((*edits, *commands), notes, findings, _remember(brief, facts, want, want.merged.tokens))

    def verify(self, brief: Brief, facts: StubFacts) -> tuple[Finding, ...]:
        """Whether sh's value, the generated configuration and the initramfs say what was meant."""
        want = wants(brief, facts)
        found = [*facts.boot_findings, *(facts.boot.findings if facts.boot else ())]
        if facts.boot is not None and not found:
            found += _check_value(brief, facts, want, facts.boot)
        if want.image and not want.declared:
            found += _check_image(facts, want)
            needed = natives(facts.devices) if want.loadable else ()
            if alone := softdeps.not_after(brief.config.stub, needed, facts.heeded):
                found.append(stub_checks.conf_differs(brief.config.stub, alone, facts.heeded))
        return tuple(found)


STEP = StubStep()

# An action, and whether it comes after all edits.
Placed = tuple[Action, bool]


def _findings(brief: Brief, facts: StubFacts, want: Wants) -> tuple[Finding, ...]:
    stub, modules = brief.config.stub, facts.modules or {}
    found = [*facts.boot_findings, *stub_checks.about_devices(brief.config, facts.devices)]
    found += stub_checks.about_modules(stub, modules, facts.release)
    found += stub_checks.about_natives(stub, modules, facts.devices)
    if facts.boot is not None:
        found += (*facts.boot.findings, *facts.heed, *_about_line(brief, facts, want, facts.boot))
    found += by_address.objections(brief, want.early, facts.boot, facts.module_ids, facts.generator, facts.initramfs)
    if want.image and not want.declared:
        found += (*facts.image_findings, *(facts.initramfs.findings if facts.initramfs else ()), *facts.elsewhere)
        if facts.conf is not None and facts.conf != want.conf:
            found.append(stub_checks.conf_in_the_way(facts.conf_path, facts.conf))
        found += softdeps.about_order(stub, facts.softdeps) if want.loadable else ()
    return tuple(found)


def _about_line(brief: Brief, facts: StubFacts, want: Wants, boot_facts: BootFacts) -> list[Finding]:
    in_force, where, tokens = boot_facts.in_force, boot_facts.where, want.merged.tokens
    found = [*cmdline.objections(in_force, where, vendor=facts.kernel.vendor)]
    found += stub_checks.about_words(brief, boot_facts)
    found += words.objections(want.tuning, cmdline.parsed(in_force), where)
    if not cmdline.fits(in_force, (*want.tried, PANIC) if want.tried else tokens):
        found.append(stub_checks.too_long(boot_facts))
    if boot_facts.declared is not None and tokens:
        found.append(_undeclared(facts, want, boot_facts.declared))
    elif want.tried:
        found += trial.objections(boot_facts, _way_out(facts))
    return found


def _undeclared(facts: StubFacts, want: Wants, declared: Declaration) -> Finding:
    tokens = want.merged.tokens
    lines = declared.lines(tokens, want.modules if want.image else (), want.conf or b"")
    return missing(facts.loader.name if facts.loader else "", declared, tokens, lines)


def _declared(
    brief: Brief, facts: StubFacts, want: Wants, boot_facts: BootFacts, findings: tuple[Finding, ...]
) -> Plan:
    """The user has written all that is needed: there is nothing to do, and what is there is remembered as ours."""
    there = (*boot_facts.fixed, *boot_facts.words)
    tokens = tuple(each for each in cmdline.merge((), want.line).tokens if each in there)
    notes = (
        f"{boot_facts.where} has all that is needed, and was built: nothing is changed",
        "the initramfs is not looked into: the reboot shows whether the stub driver comes first",
    )
    return Plan((), notes, findings, {**_remember(brief, facts, want, tokens), trial.STAGED: ""})


def _check_image(facts: StubFacts, want: Wants) -> tuple[Finding, ...]:
    conf = CONF if want.loadable else ""
    return stub_checks.check_image(facts.initramfs, want.modules, conf, early=bool(want.early))


def _image_actions(brief: Brief, facts: StubFacts, want: Wants) -> tuple[list[Placed], tuple[str, ...]]:
    stub = brief.config.stub.value
    if facts.generator is None or facts.initramfs is None or not want.image:
        return [], (f"{stub} is built into {facts.release}: no softdeps and no initramfs are needed",)
    script = by_address.script(brief, want.early)
    edits = list(facts.generator.edits(facts.initramfs, want.modules, brief.setup, script))
    if facts.conf is None and want.conf is not None:
        edits.append(new_file(CONF, want.conf, f"let {stub} come before the native drivers"))
    if not edits and not _check_image(facts, want):
        return [], ("the initramfs has all that is needed: it is not rebuilt",)
    rebuild = (_with_copies(command, facts.boot) for command in facts.generator.commit(facts.initramfs))
    return [*((edit, False) for edit in edits), *((command, True) for command in rebuild)], ()


def _with_copies(command: Action, boot_facts: BootFacts | None) -> Action:
    """The rebuild with all that it changes: what hooks copy for the boot loader is put back with the images."""
    if boot_facts is None or not isinstance(command, RunCommand):
        return command
    return replace(command, produces=tuple(dict.fromkeys((*command.produces, *boot_facts.copies))))


def _line_actions(brief: Brief, facts: StubFacts, want: Wants) -> tuple[list[Placed], tuple[str, ...]]:
    if facts.loader is None or facts.boot is None:
        return [], ()
    if want.tried:
        return trial.actions(facts.loader, facts.boot, want.tried, brief.setup), ()
    edits = facts.loader.edits(facts.boot, want.merged.tokens)
    run = cmdline.run_of(facts.boot.words, brief.setup)
    if not edits and not lacking(facts.boot, run[1] if run else ()):
        return [], (f"{facts.boot.generated} has all that is needed: it is not generated anew",)
    return [*((edit, False) for edit in edits), *((command, True) for command in facts.loader.commit(facts.boot))], ()


def _notes(brief: Brief, facts: StubFacts, want: Wants) -> tuple[str, ...]:
    stub = brief.config.stub
    notes = [f"{word} is there already and stays" for word in want.merged.adopted]
    notes += [by_address.note(device) for device in want.early]
    notes += [by_address.late_note(device) for device in by_address.late(brief.config, facts.devices)]
    if facts.module_ids and cmdline.ids_in_force(facts.boot.in_force if facts.boot else (), stub) is None:
        notes.append(f"the ids that modprobe.d gives {stub.value} now are carried along on the command line")
    if facts.kernel.vendor == "intel" and not facts.kernel.needs_intel_iommu(facts.devices):
        notes.append(f"intel_iommu=on is not needed: {facts.kernel.why_not_needed()}")
    if want.tried:
        notes.append(
            "trial boot: the next boot, and only that one, has the new command line; it becomes the default when that "
            "boot has proved itself"
        )
    elif want.merged.tokens:
        notes.append(f"no trial boot: the new command line becomes the default at once, {_way_out(facts)}")
    return tuple(notes)


def _way_out(facts: StubFacts) -> str:
    entries = (facts.boot.entries or ()) if facts.boot else ()
    kept = "and the recovery entries keep the old one"
    return kept if any(entry.recovery for entry in entries) else "and there is no recovery entry that keeps the old one"


def _remember(brief: Brief, facts: StubFacts, want: Wants, tokens: tuple[str, ...]) -> Mapping[str, str]:
    """What the way on and the way back need to know of the time before.

    `driver.ADDRESS` is the native driver (empty: none), `built_in.ADDRESS` one that wins every boot, `tokens` our run.
    """
    boot_facts, stub = facts.boot, brief.config.stub
    kept = {
        "release": facts.release,
        "tokens": " ".join(tokens),
        "loader": facts.loader.name if facts.loader else "",
        "where": boot_facts.where if boot_facts else "",
        "value_before": cmdline.shown(boot_facts.words) if boot_facts else "",
        "stub": stub.value,
        trial.STAGED: "staged" if want.tried else "",
        by_address.KEPT: " ".join(device.address for device in want.early),
        trial.LINE: cmdline.shown(boot_facts.in_force) if boot_facts else "",
        **facts.own,
    }
    for device in facts.devices:
        function = device.function
        native = function.driver if function and function.driver not in stub_checks.STUB_DRIVERS else None
        kept[f"driver.{device.address}"] = native or ""
        if stub_checks.wins_anyway(stub, facts.modules or {}, device):
            kept[f"built_in.{device.address}"] = native or device.natives[0].module
    return kept


def _check_value(brief: Brief, facts: StubFacts, want: Wants, boot_facts: BootFacts) -> list[Finding]:
    tokens = want.merged.tokens
    if boot_facts.declared is not None:
        return [_undeclared(facts, want, boot_facts.declared)] if tokens else []
    run = cmdline.run_of(boot_facts.words, brief.setup)
    if run is None and boot_facts.trial.words is not None:
        return list(trial.check(boot_facts, tokens))
    if run is None:
        return [stub_checks.token_lost(boot_facts)]
    before, ours = run
    expected = cmdline.merge((*boot_facts.fixed, *before), want.line).tokens
    if ours != expected:
        return [stub_checks.value_differs(boot_facts, ours, expected)]
    return list(check(boot_facts, ours))
