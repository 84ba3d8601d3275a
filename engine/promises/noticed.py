"""What changed behind our back, noticed before `advance` or `rollback` does anything: named, journaled, left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engine import restore
from engine.promises.audit import before_reboot, glance, record
from engine.promises.difference import Difference, drifts
from engine.promises.holders import strangers
from engine.promises.promised_kernel import groups
from engine.states import forward_from
from engine.ways import step_to
from journal.errors import DriftError, Exit, sentence
from steps.actions import WriteAttribute
from steps.base import Finding, Severity

if TYPE_CHECKING:
    from engine.back.decision import Decision
    from engine.session import Session

# Told by `advance` itself, with the guest's last words.
_TOLD = frozenset({"guest-stopped"})


def before_advance(session: Session) -> tuple[Finding, ...]:
    """What differs and does not stand in the way, as warnings.

    Raises DriftError, having changed nothing, where something of ours that the boot to come builds on is gone or cannot
    be told apart, unless the next step refuses by itself and says why.
    """
    found = [one for one in glance(session, session.setup) if one.code not in _TOLD]
    found += before_reboot(session, session.setup)
    _mend_script(session)
    record(session, found)
    grave = [one for one in found if one.stops(session.setup.state)]
    if grave and not _refuses_by_itself(session):
        raise _stopped(grave)
    return tuple(replace(one, grave=False).finding() for one in drifts(found))


def _mend_script(session: Session) -> None:
    """restore.sh is ours, and made of the journal alone: where it is not as it must be, it is written anew."""
    try:
        right = not restore.lacking(session) and not restore.needless(session)
    except OSError:
        right = False
    if not right:
        restore.renew(session)


def before_rollback(session: Session, decisions: Sequence[Decision]) -> None:
    """Record what differs; a rollback decides about each file by itself.

    Raises DriftError, having changed nothing, where a device would be taken from a guest that is not ours to end.
    """
    record(session, list(glance(session, session.setup)))
    if not session.host.booted or not any(_unbinds(decision) for decision in decisions):
        return
    found = strangers(session.host, session.setup, groups(session.host, session.setup))
    if found:
        raise DriftError(
            f"{found[0]} was not started by vfiostate: taking the devices from it would hang until it ends.",
            evidence=tuple(str(holder) for holder in found),
            hint="End it (`vfiostate guest stop`, where it bears the guest's name), then roll back again.",
        )


def _unbinds(decision: Decision) -> bool:
    action = decision.action
    return isinstance(action, WriteAttribute) and action.path.endswith("/unbind")


def _refuses_by_itself(session: Session) -> bool:
    """Whether the next step finds reason enough not to be taken, other than that the host is to be rebooted first."""
    move = forward_from(session.setup.state)
    if move is None:
        return False
    step, brief = step_to(move.target), session.brief()
    findings = step.plan(brief, step.probe(session.host, brief)).findings
    return any(one.severity is Severity.REFUSAL and one.exit is not Exit.REBOOT for one in findings)


def _stopped(grave: Sequence[Difference]) -> DriftError:
    first, *others = grave
    evidence = [f"promised by event {first.since}: {first.promised}" if first.since else f"promised: {first.promised}"]
    evidence += [*first.evidence, *(f"{one.where}: {one.found}" for one in others)]
    error = DriftError(
        f"{first.where}: {first.found}.",
        evidence=tuple(evidence),
        hint=f"{sentence(first.hint)} `vfiostate audit` lists all of it.",
    )
    error.journaled = True
    return error
