"""The generated boot configuration held against what was meant: checked, not assumed."""

from __future__ import annotations

from collections.abc import Sequence

from steps import cmdline
from steps.base import Finding, Severity
from steps.boot.base import BootFacts, Entry


def lacking(facts: BootFacts, tokens: Sequence[str]) -> tuple[Entry, ...]:
    """The normal entries made from the configuration that lack one of the tokens."""
    normal = (entry for entry in facts.entries or () if entry.ours and not entry.recovery)
    return tuple(entry for entry in normal if not set(tokens) <= set(entry.words))


def check(facts: BootFacts, tokens: Sequence[str]) -> tuple[Finding, ...]:
    """Whether every normal entry and the default one have the tokens, and no recovery entry has the setup's."""
    found: list[Finding] = []
    if facts.entries is None:
        return (_refusal("generated-missing", f"{facts.generated} cannot be read after it was written.", (), facts),)
    if without := lacking(facts, tokens):
        message = f"{facts.generated} was generated without {cmdline.shown(tokens)} on {len(without)} entries."
        found.append(_refusal("entry-without-tokens", message, _lines(without), facts))
    default = facts.default
    if default is None or not set(tokens) <= set(default.words):
        title = repr(default.title) if default else "none"
        message = f"The default boot entry ({title}) does not have {cmdline.shown(tokens)}."
        found.append(_refusal("default-entry-without-tokens", message, _lines((default,) if default else ()), facts))
    ours = {token for token in tokens if cmdline.name_of(token) == cmdline.SETUP}
    spoilt = tuple(entry for entry in facts.entries if entry.recovery and entry.ours and ours & set(entry.words))
    if spoilt:
        message = f"{len(spoilt)} recovery entries have the new words too: recovery mode would be no way out."
        found.append(_refusal("recovery-entry-changed", message, _lines(spoilt), facts))
    return tuple(found)


def _lines(entries: Sequence[Entry]) -> tuple[str, ...]:
    return tuple(f"{cmdline.shown((entry.title,))}: {cmdline.shown(entry.words)}" for entry in entries)


def _refusal(code: str, message: str, evidence: tuple[str, ...], facts: BootFacts) -> Finding:
    besides = f" ({facts.besides})" if facts.besides else ""
    hint = f"Look at what decides over the entries besides {facts.where}{besides}, then try again."
    return Finding(code, Severity.REFUSAL, message, evidence, hint)
