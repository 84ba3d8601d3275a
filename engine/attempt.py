"""One step, whole or not at all: probed, planned, carried out, verified, and only then taken."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine import effects, heads, images, packages, restore, signals
from engine.back import undo
from engine.back.decide import decide
from engine.codec import describe, finding_data
from engine.effects import files_of
from engine.machine import Lifecycle
from engine.perform import perform
from engine.session import Session
from engine.setup import Attempt, Setup
from engine.space import refuse_full
from engine.states import Move
from engine.ways import step_to
from journal.errors import FAULT_HINT, ActionFailedError, Exit, VfiostateError
from journal.events import Kind
from steps.actions import RequestReboot
from steps.base import Finding, Plan, Severity, State, Step

# Actions that belong to no attempt of a step, and are not taken back with one.
NO_ATTEMPT = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the exit code, the state the setup is in now, and what the user should know."""

    exit: Exit
    state: State
    findings: tuple[Finding, ...] = ()
    said: tuple[str, ...] = ()


def fire(session: Session, move: Move, data: dict[str, Any], step: State | None = None) -> None:
    """Make a move of the machine; its event is durable before the state changes."""
    setup = session.setup

    def record(made: Move) -> None:
        kind, said = telling(made)
        event = session.scribe.now(
            session.scribe.note(kind, said | data, step=step.value if step else None, attempt=setup.attempts)
        )[0]
        line = heads.line(setup.id, made.target.value, event.seq, event.hash)
        session.host.system_log(line, **heads.fields(setup.id, made.target.value, event.step))

    Lifecycle(setup.state, record).fire(move.trigger)


def telling(move: Move) -> tuple[Kind, dict[str, Any]]:
    """What the event of a move is and says."""
    kind = Kind.HOST_REBOOTED if move.trigger == "host_rebooted" else Kind.TRANSITION
    return kind, {"from": move.source.value, "to": move.target.value, "trigger": move.trigger}


def take_step(session: Session, move: Move, *, reboot: bool) -> Outcome:
    """One step, whole or not at all."""
    step = step_to(move.target)
    session.reporter.step(move.target.value)
    plan = _planned(session, step)
    if (attempt := _carried_out(session.setup, move.target)) is not None:
        done = Plan(notes=plan.notes, remember=attempt.remember)
        with _whole(session, move.target, attempt.number):
            return _conclude(session, step, move, done, verify=True)
    if refusals := _refusals(plan):
        return _refused(session, move, plan, refusals, reboot)
    for note in plan.notes:
        session.reporter.say(f"- {note}")
    number = session.setup.attempts + 1
    with _whole(session, move.target, number):
        begin(session, move, plan, number)
        perform(session, move.target, number, plan.actions)
        return _conclude(session, step, move, plan, verify=bool(plan.actions))


def _planned(session: Session, step: Step[Any]) -> Plan:
    """What a step does on the host as it is, while no package manager makes the same files."""
    while True:
        plan = step.plan(session.brief(), _probe(session, step))
        if _refusals(plan) or not packages.waited_for(session, plan.actions):
            return plan


def _refusals(plan: Plan) -> list[Finding]:
    return [finding for finding in plan.findings if finding.severity is Severity.REFUSAL]


@contextlib.contextmanager
def _whole(session: Session, target: State, number: int) -> Iterator[None]:
    """Whatever is raised within is journaled as the attempt's failure, and what the attempt did is taken back.

    Not once the step is taken: then it is the state's, and `rollback` alone takes it back.
    """
    try:
        yield
    except Exception as error:
        known = error if isinstance(error, VfiostateError) else _known(error)
        if session.setup.state is not target:
            fail(session, target, number, known)
        if isinstance(error, OSError):
            raise known from error
        raise


def _known(error: Exception) -> VfiostateError:
    if isinstance(error, OSError):
        return effects.failure(error)
    # A fault of ours leaves nothing half done either.
    return VfiostateError(f"Internal error: {type(error).__name__}: {error}.", hint=FAULT_HINT)


def _carried_out(setup: Setup, target: State) -> Attempt | None:
    """The attempt of a step to `target` that was cut short after its last action: what is missing is the verification
    and the transition."""
    attempt = setup.attempt
    whole = attempt is not None and attempt.actions and attempt.target is target and complete(setup)
    return attempt if whole else None


def _probe(session: Session, step: Step[Any]) -> Any:
    return step.probe(session.host, session.brief())


def _refused(session: Session, move: Move, plan: Plan, refusals: Sequence[Finding], reboot: bool) -> Outcome:
    scribe = session.scribe
    scribe.now(
        scribe.note(
            Kind.STEP_REFUSED,
            {"findings": [finding_data(finding) for finding in plan.findings], "seen": dict(plan.remember)},
            step=move.target.value,
            attempt=session.setup.attempts,
        )
    )
    state = session.setup.state
    reboot_only = all(finding.exit is Exit.REBOOT for finding in refusals)
    if reboot_only and plan.before_reboot:
        perform(session, move.target, NO_ATTEMPT, plan.before_reboot)
        scribe.flush()
    if reboot_only and reboot:
        action = RequestReboot("the new kernel command line takes effect at the next boot")
        perform(session, move.target, NO_ATTEMPT, [action])
        scribe.flush()
        return Outcome(Exit.REBOOT, state, said=("the host was asked to reboot",))
    exit_code = next((finding.exit for finding in refusals if finding.exit is not Exit.REBOOT), Exit.REBOOT)
    return Outcome(exit_code, state, plan.findings)


def begin(session: Session, move: Move, plan: Plan, number: int) -> None:
    """Space, restore.sh, and the event that the step begins: all before its first effect."""
    refuse_full(session, plan.actions)
    planned = []
    for path in dict.fromkeys(path for action in plan.actions for path in files_of(action)):
        planned.append((path, *images.take(session.host, session.images, path)))
    restore.write(session, planned, plan.actions)
    data: dict[str, object] = {
        "actions": len(plan.actions),
        "plan": [describe(action) for action in plan.actions],
        "notes": list(plan.notes),
        "findings": [finding_data(finding) for finding in plan.findings],
        "remember": dict(plan.remember),
    }
    session.scribe.later(session.scribe.note(Kind.STEP_STARTED, data, step=move.target.value, attempt=number))


def _conclude(session: Session, step: Step[Any], move: Move, plan: Plan, *, verify: bool) -> Outcome:
    found = step.verify(session.brief(), _probe(session, step)) if verify else ()
    refusals = [finding for finding in found if finding.severity is Severity.REFUSAL]
    if refusals:
        first = refusals[0]
        raise StepNotVerifiedError(first)
    fire(session, move, {"remember": dict(plan.remember), "notes": list(plan.notes)}, move.target)
    return Outcome(Exit.DONE, move.target, (*plan.findings, *found))


class StepNotVerifiedError(ActionFailedError):
    """Every action was carried out, and the host still is not as it should be."""

    code = "not-verified"

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message, hint=finding.hint, evidence=finding.evidence)


def fail(session: Session, target: State, attempt: int, error: VfiostateError) -> None:
    """Record why a step failed and take back what it did. Signals wait meanwhile."""
    with signals.held():
        session.scribe.now(
            session.scribe.note(
                Kind.STEP_FAILED,
                {"code": error.code, "message": error.message, "evidence": list(error.evidence), "hint": error.hint},
                step=target.value,
                attempt=attempt,
            )
        )
        error.journaled = True
        take_back(session, attempt)


def take_back(session: Session, attempt: int) -> None:
    """Undo what an attempt did, newest first. Raises DriftError, having changed nothing, where the user must decide."""
    deeds = [deed for deed in session.setup.standing() if deed.attempt == attempt]
    decisions = decide(session, deeds)
    undo.refuse_conflicts(session, decisions)
    undo.take_back(session, decisions)
    restore.renew(session)


def complete(setup: Setup) -> bool:
    """Whether every action that the attempt planned was carried out: only its verification is missing then."""
    assert setup.attempt is not None
    deeds = [deed for deed in setup.deeds.values() if deed.attempt == setup.attempt.number]
    return (
        not setup.attempt.failed
        and len(deeds) == setup.attempt.actions
        and all(deed.result == "done" for deed in deeds)
    )
