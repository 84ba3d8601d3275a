"""The way there: one step, or several, each probed, planned, carried out, verified and only then taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine import config as configuration
from engine import effects, heads, images, restore, signals, undo
from engine.codec import describe, finding_data
from engine.decide import Decision, conflicts, decide
from engine.effects import files_of
from engine.machine import Lifecycle
from engine.perform import perform
from engine.recovery import recover
from engine.session import Session
from engine.setup import Setup
from engine.space import refuse_full
from engine.states import Move, forward_from
from engine.ways import step_to
from journal.errors import (
    ActionFailedError,
    DriftError,
    Exit,
    RebootNeededError,
    RefusedError,
    VfiostateError,
)
from journal.events import Kind
from steps.actions import RequestReboot
from steps.base import Finding, Plan, Severity, State, Step


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the exit code, the state the setup is in now, and what the user should know."""

    exit: Exit
    state: State
    findings: tuple[Finding, ...] = ()
    said: tuple[str, ...] = ()


def advance(session: Session, until: State | None = None, *, reboot: bool = False) -> Outcome:
    """Take the next step, or all up to `until`; after a reboot that took `bound` or `running` away, all up to there.

    With `reboot`, ask the host to reboot where that comes next. Raises VfiostateError; the journal then says why.
    """
    with session.scribe.witness():
        return _advance(session, until, reboot)


def _advance(session: Session, until: State | None, reboot: bool) -> Outcome:
    prepare(session)
    said = settle(session)
    notice_config(session)
    goal = until or session.setup.lost
    findings: list[Finding] = []
    if goal is not None and session.setup.state.rank >= goal.rank:
        return Outcome(Exit.DONE, session.setup.state, said=(*said, f"already `{session.setup.state.value}`"))
    while True:
        move = forward_from(session.setup.state)
        if move is None:
            return _at_the_end(session, said, findings)
        outcome = take_step(session, move, reboot=reboot)
        findings += outcome.findings
        done = goal is None or outcome.state.rank >= goal.rank
        if outcome.exit is not Exit.DONE or done:
            return Outcome(outcome.exit, outcome.state, tuple(findings), (*said, *outcome.said))


def _at_the_end(session: Session, said: Sequence[str], findings: Sequence[Finding]) -> Outcome:
    """Nothing comes after `running`; but whether it still is what it says is looked at every time."""
    setup = session.setup
    step = step_to(setup.state)
    brief = session.brief()
    found = step.verify(brief, step.probe(session.host, brief))
    if any(finding.severity is Severity.REFUSAL for finding in found):
        session.scribe.now(
            session.scribe.note(Kind.DRIFT_FOUND, {"findings": [finding_data(finding) for finding in found]})
        )
        fire(session, Move("guest_stopped", State.RUNNING, State.BOUND), {})
        outcome = take_step(session, Move("run", State.BOUND, State.RUNNING), reboot=False)
        return Outcome(outcome.exit, outcome.state, (*found, *outcome.findings), (*said, "the guest had ended"))
    return Outcome(Exit.DONE, setup.state, tuple(findings), (*said, "nothing comes after `running`"))


def prepare(session: Session) -> None:
    """See that there is a setup to go on with; begin one where the last one is finished."""
    setup = session.scribe.setup
    if setup is not None and setup.rolling_back_to is not None:
        raise RefusedError(
            f"a rollback to `{setup.rolling_back_to.value}` was begun and not finished",
            hint="`vfiostate rollback` finishes it",
        )
    if setup is not None and setup.rolled_back and setup.state is State.NEW and not setup.finished:
        finish_rollback(session)
        setup = session.setup
    if setup is None or setup.finished:
        session.begin_setup(session.read_config())


def finish_rollback(session: Session) -> None:
    """Call a rollback finished, unless the running kernel still has our command line. Raises RebootNeededError then."""
    if token_running(session, session.setup):
        raise RebootNeededError(
            "the rollback is finished by the next boot: the running kernel still has vfiostate's command line",
            evidence=("/proc/cmdline",),
            hint="reboot, then run the command again",
        )
    deeds = list(session.setup.deeds.values())
    as_before, differs = undo.compare(session, deeds)
    session.scribe.now(
        session.scribe.note(
            Kind.ROLLBACK_FINISHED, {"to": State.NEW.value, "as_before": as_before, "differs": list(differs)}
        )
    )
    # Nothing is left to restore; a script that did would take away what the user edits from now on. A crash before
    # this line leaves it lying; the next setup replaces it.
    script = f"{session.state_dir}/restore.sh"
    if session.host.lstat(script) is not None:
        session.host.remove_file(script)


def token_running(session: Session, setup: Setup) -> bool:
    """Whether the running kernel was booted with the setup's token."""
    if not session.host.booted:
        return False
    return f"vfiostate.setup={setup.id}" in session.host.read("/proc/cmdline").decode(errors="replace").split()


def settle(session: Session) -> list[str]:
    """Bring the journal up to what is true on the host: open intents, a step cut short, a reboot; and say so."""
    said: list[str] = []
    if found := recover(session):
        said.append(f"the last run was cut short: {found} action(s) looked up on the host")
    attempt = session.setup.attempt
    if attempt is not None:
        standing = [deed for deed in session.setup.standing() if deed.attempt == attempt.number]
        if standing and not _complete(session.setup):
            take_back(session, attempt.number)
            said.append(f"the unfinished step to `{attempt.target.value}` was taken back")
    move = next((move for move in _lost_moves(session)), None)
    if move is not None:
        said.append(f"the host was rebooted: `{move.source.value}` was lost, now `{move.target.value}`")
        fire(session, move, {"boot_before": session.setup.boot, "boot_now": session.host.boot_id})
    return said


def _complete(setup: Setup) -> bool:
    """Whether every action that the attempt planned was carried out: only its verification is missing then."""
    assert setup.attempt is not None
    deeds = [deed for deed in setup.deeds.values() if deed.attempt == setup.attempt.number]
    return (
        not setup.attempt.failed
        and len(deeds) == setup.attempt.actions
        and all(deed.result == "done" for deed in deeds)
    )


def _lost_moves(session: Session) -> list[Move]:
    setup, host = session.setup, session.host
    if setup.state in (State.BOUND, State.RUNNING) and host.booted and setup.boot != host.boot_id:
        return [Move("host_rebooted", setup.state, State.REBOOTED)]
    return []


def fire(session: Session, move: Move, data: dict[str, Any], step: State | None = None) -> None:
    """Make a move of the machine; its event is durable before the state changes."""
    setup = session.setup
    kind = Kind.HOST_REBOOTED if move.trigger == "host_rebooted" else Kind.TRANSITION

    def record(made: Move) -> None:
        said = {"from": made.source.value, "to": made.target.value, "trigger": made.trigger} | data
        event = session.scribe.now(
            session.scribe.note(kind, said, step=step.value if step else None, attempt=setup.attempts)
        )[0]
        session.host.system_log(heads.line(setup.id, made.target.value, event.seq, event.hash))

    Lifecycle(setup.state, record).fire(move.trigger)


def notice_config(session: Session) -> None:
    """A configuration changed after `checked` is not what was checked. That of the guest may change until it starts."""
    config, setup = session.read_config(), session.setup
    if configuration.sha256(config) == setup.config_sha256:
        return
    encoded = configuration.encode(config)
    changed = sorted(key for key in encoded.keys() | setup.config.keys() if encoded.get(key) != setup.config.get(key))
    if setup.state is not State.NEW and changed != ["guest"]:
        raise RefusedError(
            f"the configuration changed after `checked`: {', '.join(changed)}",
            evidence=(session.options.config,),
            hint="change it back, or `vfiostate rollback` first and begin with the new one",
        )
    session.scribe.now(
        session.scribe.note(
            Kind.CONFIG_CHANGED,
            {"config": encoded, "config_sha256": configuration.sha256(config), "changed": changed},
        )
    )


def take_step(session: Session, move: Move, *, reboot: bool) -> Outcome:
    """One step, whole or not at all."""
    step = step_to(move.target)
    session.reporter.step(move.target.value)
    plan = step.plan(session.brief(), _probe(session, step))
    attempt = session.setup.attempt
    if attempt is not None and attempt.actions and attempt.target is move.target and _complete(session.setup):
        # Cut short after the last action: what is missing is the verification and the transition.
        return _conclude(session, step, move, plan)
    refusals = [finding for finding in plan.findings if finding.severity is Severity.REFUSAL]
    if refusals:
        return _refused(session, move, plan, refusals, reboot)
    number = session.setup.attempts + 1
    _start(session, move, plan, number)
    try:
        perform(session, move.target, number, plan.actions)
        return _conclude(session, step, move, plan)
    except VfiostateError as error:
        fail(session, move.target, number, error)
        raise
    except OSError as error:
        known = effects.failure(error)
        fail(session, move.target, number, known)
        raise known from error
    except Exception as error:
        # A fault of ours leaves nothing half done either.
        fail(session, move.target, number, VfiostateError(f"internal error: {type(error).__name__}: {error}"))
        raise


def _probe(session: Session, step: Step[Any]) -> Any:
    return step.probe(session.host, session.brief())


def _refused(session: Session, move: Move, plan: Plan, refusals: Sequence[Finding], reboot: bool) -> Outcome:
    scribe = session.scribe
    scribe.now(
        scribe.note(
            Kind.STEP_REFUSED,
            {"findings": [finding_data(finding) for finding in plan.findings]},
            step=move.target.value,
            attempt=session.setup.attempts,
        )
    )
    state = session.setup.state
    reboot_only = all(finding.exit is Exit.REBOOT for finding in refusals)
    if reboot_only and reboot:
        action = RequestReboot("the new kernel command line takes effect at the next boot")
        number = session.setup.attempts + 1
        _start(session, move, Plan(actions=(action,)), number)
        perform(session, move.target, number, [action])
        scribe.flush()
        return Outcome(Exit.REBOOT, state, said=("the host was asked to reboot; then `vfiostate advance`",))
    exit_code = next((finding.exit for finding in refusals if finding.exit is not Exit.REBOOT), Exit.REBOOT)
    return Outcome(exit_code, state, plan.findings)


def _start(session: Session, move: Move, plan: Plan, number: int) -> None:
    """Space, restore.sh, and the event that the step begins: all before its first effect."""
    planned = []
    for path in dict.fromkeys(path for action in plan.actions for path in files_of(action)):
        planned.append((path, *images.take(session.host, session.images, path)))
    refuse_full(session, plan.actions)
    restore.write(session, planned)
    data: dict[str, object] = {
        "actions": len(plan.actions),
        "plan": [describe(action) for action in plan.actions],
        "notes": list(plan.notes),
        "findings": [finding_data(finding) for finding in plan.findings],
    }
    session.scribe.later(session.scribe.note(Kind.STEP_STARTED, data, step=move.target.value, attempt=number))


def _conclude(session: Session, step: Step[Any], move: Move, plan: Plan) -> Outcome:
    found = step.verify(session.brief(), _probe(session, step)) if plan.actions else ()
    refusals = [finding for finding in found if finding.severity is Severity.REFUSAL]
    if refusals:
        first = refusals[0]
        raise StepNotVerifiedError(first)
    fire(session, move, {"remember": dict(plan.remember), "notes": list(plan.notes)}, move.target)
    return Outcome(Exit.DONE, move.target, (*plan.findings, *found), plan.notes)


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
    refuse_conflicts(session, decisions)
    undo.take_back(session, decisions)


def refuse_conflicts(session: Session, decisions: Sequence[Decision]) -> None:
    """Stop before anything is changed when a file cannot be told apart; the journal keeps the difference."""
    found = conflicts(decisions)
    if not found:
        return
    findings = [
        finding_data(Finding("cannot-tell-apart", Severity.REFUSAL, one.detail, tuple(one.diff), one.hint, Exit.DRIFT))
        for one in found
    ]
    session.scribe.now(session.scribe.note(Kind.ROLLBACK_STOPPED, {"findings": list(findings)}))
    error = DriftError(found[0].detail, evidence=tuple(found[0].diff), hint=found[0].hint)
    error.journaled = True
    raise error
