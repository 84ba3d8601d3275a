"""What the journal promises of the boots to come: the command line as sh computes it and as it was generated, the
kernel, and the initramfs; held against the host. Reads only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from engine.promises.difference import Difference
from engine.promises.drift import again
from engine.setup import Setup
from engine.ways import step_to
from journal.errors import VfiostateError
from steps import boot, cmdline, initramfs, kmod, softdeps
from steps.base import Brief, Finding, Host, Severity, State
from steps.boot.base import BootFacts
from steps.boot.generated import check
from steps.cmdline import shown
from steps.stub_checks import check_image


@dataclass(frozen=True, slots=True)
class BootPromise:
    """What was promised, and what it is asked of: `tokens` are our words, `kernel` the release that was looked into
    last, `since` the event of the state that promises it."""

    tokens: tuple[str, ...]
    kernel: str
    state: State
    since: int


def promise(setup: Setup, reached: dict[State, int]) -> BootPromise:
    """What the states reached so far promise of the next boot."""
    kept = setup.remembered.get(State.STUBBED.value, {})
    tokens = tuple(kept.get("tokens", "").split()) or (f"{cmdline.SETUP}={setup.id}",)
    kernel = ""
    for state in State:
        if state.rank <= setup.state.rank:
            kernel = setup.remembered.get(state.value, {}).get("release") or kernel
    state = min(setup.state, State.REBOOTED, key=lambda one: one.rank)
    return BootPromise(tokens, kernel, state, reached.get(state, 0))


def read(host: Host, brief: Brief) -> BootFacts | None:
    """What the boot loader says; None where none can be driven, which was so before a step was taken."""
    found = boot.detect(host, brief.config.boot_loader)
    return None if found.loader is None or found.findings else found.loader.read(host, brief.setup)


def of_finding(finding: Finding, promised: str, since: int) -> Difference:
    """What a step finds when it is asked again whether its work still stands."""
    found = finding.message.rstrip(".") + (f" ({finding.evidence[0]})" if finding.evidence else "")
    return Difference(finding.code, _where(finding), promised, found, finding.hint.rstrip("."), since, finding.evidence)


def _where(finding: Finding) -> str:
    first = finding.message.partition(" ")[0]
    return first if first.startswith("/") else "boot configuration"


def line(facts: BootFacts, asked: BootPromise) -> Iterator[Difference]:
    """The command line of the next boot, from `rebooted` on: our words in the value and on the entries."""
    promised = f"the next boot's command line has {shown(asked.tokens)}"
    if facts.findings:
        for finding in facts.findings:
            yield replace(of_finding(finding, promised, asked.since), grave=True)
        return
    missing = [token for token in asked.tokens if token not in facts.in_force]
    if missing:
        yield _overridden(facts, asked, missing, promised)
    for finding in check(facts, asked.tokens):
        yield replace(of_finding(finding, promised, asked.since), where=facts.generated)


def _overridden(facts: BootFacts, asked: BootPromise, missing: Sequence[str], promised: str) -> Difference:
    """The value lacks our words: the file was changed, or one read after it assigns anew."""
    found = f"its value is {shown(facts.words)!r}, without {shown(missing)}"
    if facts.later:
        found += f"; {', '.join(facts.later)} is read later and assigns it"
    where = facts.later[-1] if facts.later else facts.where
    hint = f"let {where} add to the value instead of replacing it, then {facts.remake}"
    return Difference(
        "command-line-overridden", where, promised, found, f"{hint}; or {again(State.STUBBED)}", asked.since, grave=True
    )


def staged(facts: BootFacts, asked: BootPromise) -> Iterator[Difference]:
    """Before the reboot: whether some entry still has our words, default or trial."""
    entries = facts.entries or ()
    if any(set(asked.tokens) <= set(words) for words in (*(entry.words for entry in entries), facts.trial.words or ())):
        return
    promised = f"a boot entry with {shown(asked.tokens)}"
    found = f"none of the {len(entries)} entries has them" if entries else "it cannot be read"
    hint = f"see what has changed it, then {facts.remake}; or {again(State.STUBBED)}"
    yield Difference("entry-without-tokens", facts.generated, promised, found, hint, asked.since, grave=True)


def kernels(host: Host, facts: BootFacts | None, asked: BootPromise, booted: bool) -> Iterator[Difference]:
    """The kernel that was looked into, the one that boots next, and the one that runs."""
    coming = facts.release if facts is not None else None
    running = host.release if booted else None
    if not asked.kernel:
        return
    if coming not in (None, asked.kernel) and coming != running:
        promised = f"the next boot takes the kernel {asked.kernel}, which was looked into"
        found = f"a new kernel was installed: {coming} boots next"
        hint = "what else is said here tells what it lacks; nothing else: reboot when it suits, and this is settled"
        yield Difference("new-kernel", f"/boot/vmlinuz-{coming}", promised, found, hint, asked.since)
    if running not in (None, asked.kernel, coming) and asked.state.rank >= State.REBOOTED.rank:
        promised = f"the kernel {asked.kernel} runs"
        found = f"{running} was booted, which is not the default either"
        yield Difference("other-kernel", "kernel", promised, found, "reboot into the default entry", asked.since)
    elif running not in (None, asked.kernel) and running == coming and asked.state.rank >= State.REBOOTED.rank:
        promised = f"the kernel {asked.kernel} runs"
        yield Difference("newer-kernel", "kernel", promised, f"{running} runs and is the default", "-", note=True)


def cmdline_now(host: Host, asked: BootPromise) -> Iterator[Difference]:
    """The running kernel's command line."""
    words = cmdline.split(host.read("/proc/cmdline"))
    missing = [token for token in asked.tokens if token not in words]
    if missing:
        promised = f"the kernel was started with {shown(asked.tokens)}"
        found = f"it was started without {shown(missing)}: another entry was booted, or it was overwritten"
        hint = "reboot into the default entry; see what else is said here of the boot configuration"
        evidence = (f"/proc/cmdline: {shown(words)}",)
        yield Difference("token-missing", "/proc/cmdline", promised, found, hint, asked.since, evidence)


def command_line_left(host: Host, brief: Brief, setup: Setup) -> Iterator[Difference]:
    """After a way back to the beginning and a boot since: our command line, which is in no file of ours any more."""
    token = f"{cmdline.SETUP}={setup.id}"
    if setup.since_boot in ("", host.boot_id) or token not in cmdline.split(host.read("/proc/cmdline")):
        return
    promised = "the boot after the rollback is without vfiostate's command line"
    found = "the host was rebooted after the rollback, and its boot loader still gave it vfiostate's command line"
    facts = None
    with contextlib.suppress(VfiostateError, OSError):
        facts = read(host, brief)
    entries = () if facts is None else tuple(one for one in facts.entries or () if token in one.words)
    evidence = (f"/proc/cmdline: {token}", *(f"{one.title}: {shown(one.words)}" for one in entries))
    if facts is None or not (token in facts.in_force or entries):
        where = "/proc/cmdline"
        first = "reboot without choosing an entry; where it is there again, take it out of the boot loader that has it"
    else:
        where = facts.generated or facts.where
        taken = f"take what is ours out of {facts.where}, then " if token in facts.in_force else ""
        first = f"{taken}{facts.remake}, then reboot"
    hint = f"{first}; after it, `vfiostate rollback` again"
    yield Difference("command-line-left", where, promised, found, hint, 0, evidence)


def image(host: Host, brief: Brief, release: str, since: int) -> Iterator[Difference]:
    """Whether the initramfs of a kernel still holds the stub driver and its softdeps. Takes seconds."""
    stub = brief.config.stub
    if not softdeps.loadable(kmod.ask(host, softdeps.stub_module(stub), release)):
        return
    names = softdeps.STUB_MODULES[stub]
    modules = [name for name in names if softdeps.loadable(kmod.ask(host, name, release))]
    maker = initramfs.detect(host, brief.config.initramfs)
    if maker.generator is None or maker.findings:
        return
    facts = maker.generator.read(host, release, look=True)
    promised = f"the initramfs of {release} holds {', '.join(modules)} and {softdeps.CONF}"
    for finding in check_image(facts, modules, softdeps.CONF):
        yield replace(of_finding(finding, promised, since), where=facts.image, grave=True)


def stubbed(host: Host, brief: Brief, since: int) -> Iterator[Difference]:
    """What `stubbed` promised of the boot that is still to come: its own question, asked again."""
    step = step_to(State.STUBBED)
    for finding in step.verify(brief, step.probe(host, brief)):
        if finding.severity is Severity.REFUSAL:
            yield replace(of_finding(finding, "what `stubbed` made for the next boot", since), grave=True)
