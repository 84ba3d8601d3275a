"""The trial boot: the new command line is booted once, and becomes the default only when that boot has proved itself.

A boot that panics, or whose initramfs gives up (steps.initramfs.base: `unattended`), is followed by the old command
line without anybody's help; one that hangs, or waits at a prompt, when the machine is switched off and on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from journal.errors import Exit
from steps import cmdline
from steps.actions import Action
from steps.base import Brief, Finding, Severity, State
from steps.boot.base import BootFacts, BootLoader, Curable

# What `stubbed` remembers, where it staged a trial.
STAGED, LINE = "trial", "line_before"
# What an earlier boot was refused for where it was another entry's, and what is said of the boots after it.
TAKEN_INSTEAD = frozenset({"recovery-entry-booted", "other-kernel-booted", "trial-not-made"})
# What else is no word of a boot that was the trial. Any other refusal is: of a trial that came up, and was not good.
_NO_TRIAL = TAKEN_INSTEAD | {
    *("not-rebooted", "trial-not-taken", "trial-entry-gone", "trial-interrupted", "trial-again", "trial-failed"),
    "trial-unseen",
}
RETRY = "Try it once more: `vfiostate advance --again`, reboot, and run `vfiostate advance` in that very boot."
BACK = "Or take it back: `vfiostate rollback --to modules_loaded`; `vfiostate advance` then tries anew."


def wanted(brief: Brief, tokens: Sequence[str]) -> bool:
    """Whether there is something to be tried, and the user wants it tried first."""
    return brief.trial and bool(tokens)


def staged(brief: Brief) -> bool:
    """Whether the state `stubbed` was reached with a trial boot."""
    return bool(brief.remembered.get(State.STUBBED.value, {}).get(STAGED))


def untold(facts: BootFacts) -> bool:
    """Whether nothing is known of a trial before what is refused is mended: no entry could be read."""
    return not facts.entries and any(found.severity is Severity.REFUSAL for found in facts.findings)


def objections(facts: BootFacts, way_out: str) -> Iterator[Finding]:
    """Why no trial can be staged; nothing where that is not known yet: to do without a trial would mend nothing."""
    trial = facts.trial
    if untold(facts):
        return
    if trial.obstacles:
        yield _refusal(
            "trial-impossible",
            f"No trial boot can be made on this host: {trial.obstacles[0]}.",
            trial.obstacles,
            f"{_cured(trial.obstacles)} `vfiostate advance --no-trial` makes the new command line the default at once, "
            f"{way_out}; restore.sh beside the journal takes it back from a rescue system.",
        )
    elif trial.in_the_way:
        yield _refusal(
            "trial-entry-exists",
            "The file for the trial's boot entry is there already, and not from this setup.",
            (f"{trial.place} is there",),
            f"It may be left from an earlier setup: move {trial.place} away, then try again.",
        )
    elif facts.newest is not None:
        yield _refusal(
            "generated-outdated",
            f"{facts.generated} does not know the kernel {facts.newest} yet, which would boot next.",
            (f"/boot/vmlinuz-{facts.newest} is there; no entry of {facts.generated} boots it",),
            f"To begin with, {facts.remake}, then try again.",
        )


def hopeless(facts: BootFacts) -> bool:
    """Whether no trial can be staged whatever the user does: to do without it is a choice, and mends nothing."""
    return not all(isinstance(each, Curable) for each in facts.trial.obstacles)


def _cured(obstacles: Sequence[str]) -> str:
    """How the user can have a trial after all. Where one obstacle would stay, the others need not be taken away."""
    cures = [each.cure for each in obstacles if isinstance(each, Curable)]
    if len(cures) < len(obstacles):
        return "The choice is yours:"
    return f"Take away what stands in its way ({'; '.join(cures)}), then try again. Or do without it:"


def actions(loader: BootLoader, facts: BootFacts, tokens: Sequence[str], setup: str) -> list[tuple[Action, bool]]:
    """What stages the trial: its entry, the generated configuration, and the choice for the next boot, last of all.
    `tokens` are for its entry; what becomes the default is what `stubbed` remembers."""
    edits = ((edit, False) for edit in loader.stage(facts, tokens, setup))
    return [*edits, *((each, True) for each in (*loader.commit(facts), *loader.choose(facts)))]


def check(facts: BootFacts, tokens: Sequence[str]) -> Iterator[Finding]:
    """Whether what was generated boots ours once, and the old command line by default."""
    words = facts.trial.words or ()
    missing = [token for token in tokens if token not in words]
    if missing:
        message = f"The trial's entry in {facts.generated} lacks {cmdline.shown(missing)}."
        yield _refusal("trial-entry-incomplete", message, (f"its words: {cmdline.shown(words)}",), _look(facts))
    if facts.default is not None and any(token in facts.default.words for token in tokens):
        message = f"The default entry of {facts.generated} has the new words already."
        yield _refusal("default-entry-changed", message, (cmdline.shown(facts.default.words),), _look(facts))
    if not facts.trial.pending:
        hint = (
            "Did a boot in between take it, as the end of a hibernation does, or has something else been chosen? "
            "`vfiostate rollback --to modules_loaded`, then `vfiostate advance`, choose it anew."
        )
        yield _refusal("trial-not-chosen", "The next boot does not take the trial's entry.", (), hint)


def judge(brief: Brief, boot_id: str, facts: BootFacts | None, log: Sequence[str]) -> Finding:
    """Why this boot, which came without our token, is not the trial that was staged; or why that cannot be told."""
    if facts is not None and untold(facts):
        found = next(each for each in facts.findings if each.severity is Severity.REFUSAL)
        evidence = (*found.evidence, "what became of the trial cannot be told before that")
        return replace(found, code="trial-unseen", evidence=evidence)
    there = facts is not None and facts.trial.words is not None
    if facts is not None and facts.trial.pending:
        return _still_chosen(facts, again=brief.acted == boot_id)
    if not there:
        return _refusal(
            "trial-entry-gone",
            "The trial's boot entry is not there any more, and the host was booted with the old command line.",
            (f"{facts.generated}: no such entry",) if facts else ("the boot configuration cannot be read now",),
            f"See what has generated {facts.generated if facts else 'it'} anew. {BACK}",
        )
    if State.REBOOTED.value in brief.begun:
        return _reboot(
            "trial-interrupted",
            "The trial boot had proved itself; its command line was not made the default, or not for good.",
            ("the trial is chosen for the next boot once more",),
        )
    if brief.again:
        # Also of a trial that came up, and was not good enough.
        return _reboot("trial-again", "The trial boot is made once more.", ("it is chosen for the next boot",))
    if brief.refused & TAKEN_INSTEAD:
        return _refusal(
            "trial-not-made",
            "The trial boot was not made: another entry of the boot menu was taken in its place, and it was chosen for"
            " one boot only. The host is back on the old command line, which is still the default.",
            ("it was seen in an earlier boot", *log),
            f"{RETRY} {BACK}",
        )
    if brief.refused - _NO_TRIAL:
        return _refusal(
            "trial-refused",
            "The trial boot came up, and was refused in that boot. The host is back on the old command line, which is"
            " still the default.",
            ("it was seen in an earlier boot",),
            f"`vfiostate journal explain` says for what: mend that first, or one more is refused too. {RETRY} {BACK}",
        )
    return _refusal(
        "trial-failed",
        "The trial boot failed: it never came as far as vfiostate. The host is back on the old command line, which is"
        " still the default.",
        tuple(log),
        f"{RETRY} Look at the screen meanwhile: a picture that stands still is often the display that went. {BACK}",
    )


def _still_chosen(facts: BootFacts, *, again: bool) -> Finding:
    if again:
        evidence = ("the trial is chosen for the next boot",)
        return _reboot("not-rebooted", "The host has not been rebooted since the trial was staged again.", evidence)
    return _refusal(
        "trial-not-taken",
        f"The host was rebooted, and the boot loader has not looked at what {facts.loader} was told.",
        ("the trial is still chosen for the next boot",),
        "Reboot once more, if the power was cut. Another boot loader, or another copy of it, may boot this host: "
        f"find out which (`efibootmgr -v`). {BACK}",
    )


def before_reboot(loader: BootLoader | None, facts: BootFacts | None, found: Sequence[Finding]) -> tuple[Action, ...]:
    """What stages the trial again, where that is the answer."""
    if loader is None or facts is None or not any(each.code in ("trial-interrupted", "trial-again") for each in found):
        return ()
    return tuple(loader.choose(facts))


def commit(
    loader: BootLoader, facts: BootFacts, kept: Mapping[str, str]
) -> tuple[tuple[Action, ...], tuple[Finding, ...]]:
    """What makes the tried command line the default and takes the entry away; or why not."""
    before = kept.get(LINE, "")
    now = cmdline.shown(facts.in_force)
    if before != now:
        message = (
            f"The command line in {facts.where} was changed since the trial was staged: what was tried is another."
        )
        hint = "Take it back and try the new one: `vfiostate rollback --to modules_loaded`, then `vfiostate advance`."
        evidence = (f"tried with {before!r}", f"now {now!r}")
        return (), (*facts.findings, _refusal("line-changed-since-trial", message, evidence, hint))
    tokens = kept.get("tokens", "").split()
    return (*loader.edits(facts, tokens), *loader.unstage(facts), *loader.commit(facts)), facts.findings


def _look(facts: BootFacts) -> str:
    return f"Look at {facts.generated} and at what makes it ({facts.trial.place}), then try again."


def _reboot(code: str, message: str, evidence: tuple[str, ...]) -> Finding:
    hint = "Reboot, then run `vfiostate advance` again; or let it reboot: `vfiostate advance --reboot`."
    return Finding(code, Severity.REFUSAL, message, evidence, hint, exit=Exit.REBOOT)


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)
