"""Systems deployed by ostree (Fedora's atomic desktops, CoreOS, IoT): the command line belongs to a deployment.

`rpm-ostree kargs` makes a new deployment with other words; it is the default at once, and the former one stays in the
menu. So does its undo: a rollback is one more deployment, with our words taken out, and takes effect with the next boot
(rpm-ostree(1), "kargs"). On a booted system the new one is staged and becomes a boot entry as the host shuts down, so
what boots next is asked of rpm-ostree and not read from /boot.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steps import cmdline
from steps.actions import Action, Inverse, RunCommand
from steps.base import Finding, Host, Severity
from steps.boot.base import BootFacts, BootLoader, Entry, Trial
from steps.boot.recognised import Trace, evidence
from steps.boot.untried import Untried

TRACES = (Trace("/run/ostree-booted"), Trace("/ostree/deploy"))
DEPLOYMENTS = "the deployments (`rpm-ostree status`)"
_TRIAL = Trial(("rpm-ostree makes a new deployment the default at once, and has none that is only tried",))
# Seconds: downloads are not part of it, copying /etc and asking SELinux are.
_LIMIT = 1800.0


class OstreeUnreadable(Exception):
    """rpm-ostree does not answer; carries the finding that says so."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Ostree(Untried):
    """A system of deployments, through rpm-ostree."""

    name: str = "ostree"
    precedence: int = 11
    supported: bool = True
    manual: str = "The command line belongs to the deployment: `rpm-ostree kargs --append-if-missing=WORD` adds to it."

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """What ostree's generator leaves in /run at boot, or its deployments."""
        return evidence(host, TRACES)

    def read(self, host: Host, setup: str) -> BootFacts:
        """The words of each deployment, the one that boots next first."""
        try:
            entries = _entries(host)
        except OstreeUnreadable as unreadable:
            findings = (unreadable.finding,)
            return BootFacts(self.name, DEPLOYMENTS, generated=DEPLOYMENTS, findings=findings, trial=_TRIAL)
        return BootFacts(
            self.name,
            DEPLOYMENTS,
            entries[0].words,
            entries=entries,
            default=entries[0],
            generated=DEPLOYMENTS,
            trial=_TRIAL,
            besides="an update or a rebase in between",
            defaulting="`rpm-ostree rollback` puts the other deployment first",
        )

    def edits(self, facts: BootFacts, tokens: Sequence[str]) -> tuple[Action, ...]:
        """A new deployment with these words too.

        libostree's append-if-missing goes by the name alone, so a word whose name the user has given too is appended
        outright: what is run again after a crash was taken back before.

        Raises ValueError for a token that needs quoting.
        """
        if not tokens:
            return ()
        unsafe = [token for token in tokens if not cmdline.is_safe(token)]
        if unsafe:
            raise ValueError(f"tokens that need quoting cannot be added: {unsafe}")
        why = (
            "make a deployment with the new kernel command line; the present one stays in the menu, and taking this "
            "back makes one more"
        )
        names = {cmdline.name_of(word) for word in facts.words}
        given = (f"--append{'' if cmdline.name_of(token) in names else '-if-missing'}={token}" for token in tokens)
        taken = (f"--delete-if-present={token}" for token in tokens)
        undo = Inverse(("rpm-ostree", "kargs", *taken), timeout=_LIMIT, lasting=True)
        return (RunCommand(("rpm-ostree", "kargs", *given), why, undo, timeout=_LIMIT),)

    def commit(self, facts: BootFacts) -> tuple[Action, ...]:
        """Nothing: the deployment is the boot configuration."""
        return ()


LOADERS: tuple[BootLoader, ...] = (Ostree(),)


def _entries(host: Host) -> tuple[Entry, ...]:
    """The deployments in the order of the menu. Raises OstreeUnreadable."""
    try:
        found: list[dict[str, Any]] = json.loads(_ask(host, "status", "--json"))["deployments"]
        names = [(str(each["osname"]), f"{each['checksum']}.{each['serial']}") for each in found]
        booted = [each.get("booted") is True for each in found]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = "`rpm-ostree status --json` says something that vfiostate does not understand."
        raise _unreadable(message, f"{type(error).__name__}: {error}") from error
    if not names:
        raise _unreadable("rpm-ostree knows of no deployment.", "`rpm-ostree status --json`: an empty list")
    # Without an index, what boots next; with one, that deployment.
    which = [(), *((f"--deploy-index={number}",) for number in range(1, len(names)))]
    lines = [_ask(host, "kargs", *each) for each in which]
    return tuple(
        Entry(
            f"{osname} {checksum[:12]}{' (booted)' if running else ''}",
            _release(host, osname, checksum),
            _words(line),
            recovery=number > 0,
            ours=number == 0,
        )
        for number, ((osname, checksum), running, line) in enumerate(zip(names, booted, lines, strict=True))
    )


def _words(line: str) -> tuple[str, ...]:
    """The words of a deployment but `ostree=`, which names the deployment itself and is made anew for each."""
    found = cmdline.split(line.encode("utf-8", "surrogateescape"))
    return tuple(word for word in found if cmdline.name_of(word) != "ostree")


def _release(host: Host, osname: str, checksum: str) -> str | None:
    """The kernel of a deployment: there is one in each (ostree-prepare-root(1), /usr/lib/modules)."""
    try:
        found = host.list(f"/ostree/deploy/{osname}/deploy/{checksum}/usr/lib/modules")
    except OSError:
        return None
    return found[0] if len(found) == 1 else None


def _ask(host: Host, *words: str) -> str:
    try:
        done = host.query(("rpm-ostree", *words), timeout=120.0)
    except TimeoutError:
        raise _unreadable(f"`rpm-ostree {' '.join(words)}` did not end within 120 seconds.", "no answer") from None
    if not done.ok:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        evidence = said[-1] if said else f"exit status {done.status}"
        raise _unreadable(f"`rpm-ostree {' '.join(words)}` does not say what boots next.", evidence)
    return done.stdout.decode("utf-8", "surrogateescape")


def _unreadable(message: str, evidence: str) -> OstreeUnreadable:
    hint = "See `rpm-ostree status` and `systemctl status rpm-ostreed`, mend what they name, then try again."
    return OstreeUnreadable(Finding("deployments-unreadable", Severity.REFUSAL, message, (evidence,), hint))
