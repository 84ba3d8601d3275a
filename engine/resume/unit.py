"""The unit that goes on after the boot: put in place, taken out again, parked; each journaled like any change.

Its actions belong to no attempt of a step, and to the state furthest along, so that every rollback takes it out: who
goes back does not want to go on by himself.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from engine import images, restore, signals
from engine.attempt import NO_ATTEMPT, Outcome
from engine.back import undo
from engine.back.decide import decide
from engine.config.safety import Files, foreign
from engine.effects import files_of
from engine.heads import fields
from engine.perform import perform
from engine.resume.resumption import What
from engine.setup import Deed
from engine.space import refuse_full
from journal.errors import DriftError, Exit, RefusedError
from journal.events import Kind
from steps import resume_service
from steps.base import Finding, Severity, State
from steps.insertion import sha256
from steps.resume_service import LINK, OFF, UNIT, UNIT_NAME, Order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.session import Session

PROGRAM = "vfiostate"
# Where the program lies on a simulated machine, which is no place of ours to look into.
SIMULATED_PROGRAM = "/usr/local/bin/vfiostate"
# The state that its actions are told of.
OWNER = State.RUNNING


def refuse_unable(session: Session) -> None:
    """Raise RefusedError where the unit could not be installed; nothing was changed then."""
    if not session.host.booted:
        raise RefusedError(
            f"`--resume` is for a host that runs, and {session.host.label} is only mounted.",
            hint="Boot it, then run `vfiostate advance --resume`.",
        )
    order, facts = _order(session, "0" * 12), resume_service.read(session.host)
    if facts.unit is not None:
        # What stands there is looked at when the setup is known: it may be this one's own.
        facts = resume_service.ServiceFacts(facts.systemd, facts.folder, None, facts.enabled)
    _refuse(resume_service.findings(order, facts))


def arm(session: Session, until: State) -> None:
    """Install the unit and record up to where it goes on. Raises RefusedError, ActionFailedError.

    A crash before the record leaves a unit that was not asked for: its run takes it out again.
    """
    order = _order(session, session.setup.id)
    if session.setup.written.get(UNIT) not in (None, sha256(resume_service.text(order))):
        remove(session)  # of an earlier call, by another path
    facts = resume_service.read(session.host)
    _refuse(resume_service.findings(order, facts))
    actions = resume_service.plan(order, facts)
    if actions:
        refuse_full(session, actions)
        paths = [path for action in actions for path in files_of(action)]
        restore.write(session, [(path, *images.take(session.host, session.images, path)) for path in paths])
        session.reporter.step(UNIT_NAME)
        try:
            perform(session, OWNER, NO_ATTEMPT, actions)
        except Exception:  # whatever it was: half a unit, which nobody asked for yet, must not stay; it is raised on
            with signals.held():
                session.scribe.flush()
                remove(session)
            raise
    note(session, What.ASKED, until=until.value)


def remove(session: Session) -> bool:
    """Take the unit out. Whether anything of it stood. Raises DriftError, having changed nothing, for an edited one."""
    deeds = standing(session)
    if not deeds:
        return False
    decisions = decide(session, deeds)
    undo.refuse_conflicts(session, decisions)
    with signals.held():
        undo.take_back(session, decisions)
        restore.renew(session)
    return True


def standing(session: Session) -> list[Deed]:
    """What was done to install it and is not undone, newest first."""
    return [deed for deed in session.setup.standing() if deed.attempt == NO_ATTEMPT and _is_ours(deed)]


def _is_ours(deed: Deed) -> bool:
    return deed.target is OWNER and bool({UNIT, LINK} & deed.before.keys())


def over(session: Session, why: str) -> tuple[str, ...]:
    """It has come to its end: take it out and record it. What there is to say."""
    try:
        removed = remove(session)
    except DriftError as error:
        # Somebody edited the unit. It does nothing more, and `rollback` shows the difference.
        return (park(session, error.message),)
    note(session, What.OVER, why=why)
    return (f"{why}: {UNIT_NAME} was removed",) if removed else ()


def park(session: Session, reason: str) -> str:
    """It does nothing more until somebody has looked; the reason to the journal and to the system's log."""
    note(session, What.PARKED, reason=reason)
    told = fields(session.setup.id, session.setup.state.value, None)
    session.host.system_log(f"{UNIT_NAME} is parked and does nothing more: {reason}", **told)
    return f"{UNIT_NAME} is parked: {reason}"


def settled(session: Session, outcome: Outcome) -> Outcome:
    """What an `advance` means for it: over where its state is reached, unparked where there was a way on after all."""
    resume = session.setup.resume
    if resume is None or outcome.exit is not Exit.DONE:
        return outcome
    said: tuple[str, ...] = ()
    if outcome.state.rank >= resume.until.rank:
        said = over(session, f"`{resume.until.value}` is reached")
    elif resume.parked is not None:
        note(session, What.UNPARKED)
        said = (f"{UNIT_NAME} goes on again after the next boot",)
    return Outcome(outcome.exit, outcome.state, outcome.findings, (*outcome.said, *said))


def note(session: Session, what: What, **data: str | int) -> None:
    """Record it, durably."""
    session.scribe.now(session.scribe.note(Kind.RESUME, {"what": what.value, **data}))


def stopped_by_word(session: Session) -> bool:
    """Whether this boot's kernel command line has the word that keeps it from doing anything."""
    return OFF in session.host.read("/proc/cmdline").decode(errors="replace").split()


def _order(session: Session, setup: str) -> Order:
    from engine.session import journal_url  # the session imports what the undoing here does

    own = journal_url(session.host, session.options) is None
    journal = f"{session.state_dir}/journal.db" if own else session.state_dir
    program = SIMULATED_PROGRAM
    if session.options.simulate is None:
        program = installed_program()
        refuse_foreign_program(session.host, program)
    return Order(setup, program, session.options.config, journal)


def installed_program() -> str:
    """The installed program by its true path: links in the way may go. Raises RefusedError where none is installed."""
    beside = Path(sysconfig.get_path("scripts")) / PROGRAM
    called = Path(os.path.realpath(sys.argv[0])) if sys.argv else beside
    for found in (called, beside):
        if found.name == PROGRAM and found.is_file() and os.access(found, os.X_OK):
            return str(found)
    raise RefusedError(
        "No installed `vfiostate` was found that systemd could call after the boot.",
        evidence=(str(beside),),
        hint="Install it (README.md says how), then call it from there.",
    )


def refuse_foreign_program(files: Files, program: str) -> None:
    """Raise RefusedError where others than root could write what systemd would run as root at every boot."""
    for path in (program, sys.prefix, str(Path(__file__).parents[1])):
        for place, found, remedy in foreign(files, path):
            raise RefusedError(
                f"systemd would run {program} as root at every boot, and others may write it: {place} {found}.",
                evidence=(f"{place} {found}",),
                hint=f"Install it where only root may write, such as /opt/vfiostate (README.md), or run `{remedy}`.",
            )


def _refuse(findings: Sequence[Finding]) -> None:
    for finding in findings:
        if finding.severity is Severity.REFUSAL:
            raise RefusedError(finding.message, hint=finding.hint, evidence=finding.evidence)
