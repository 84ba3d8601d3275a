"""The way there: what the last run left is settled first, then one step is taken, or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine import config as configuration
from engine import packages, signals
from engine.attempt import Outcome, complete, fire, take_back, take_step
from engine.back.ending import finish_rollback, refuse_unfinished
from engine.codec import finding_data
from engine.hosts.base import ChangeableHost
from engine.promises.holders import guest_process
from engine.promises.noticed import before_advance
from engine.recovery import recover
from engine.session import Session
from engine.states import Move, forward_from
from engine.ways import step_to
from journal.errors import Exit, UsageError
from journal.events import Kind
from steps import trial
from steps.base import Brief, Finding, Severity, State


def advance(session: Session, until: State | None = None, *, reboot: bool = False) -> Outcome:
    """Take the next step, or all up to `until`; after a reboot that took `bound` or `running` away, all up to there.

    With `reboot`, ask the host to reboot where that comes next. Raises VfiostateError; the journal then says why.
    """
    with session.scribe.witness():
        outcome = _advance(session, until, reboot)
        if session.setup.resume is None:
            return outcome
        from engine.resume.unit import settled  # only where it was asked to go on by itself

        return settled(session, outcome)


def _advance(session: Session, until: State | None, reboot: bool) -> Outcome:
    _refuse_misplaced(session)
    prepare(session)
    said = settle(session)
    notice_config(session)
    goal = until or session.setup.lost
    findings = list(before_advance(session))
    if goal is not None and session.setup.state.rank >= goal.rank:
        if goal is State.RUNNING and (again := _started_anew(session, said)) is not None:
            return again
        state = session.setup.state
        said.append(f"already `{state.value}`" + f": `{goal.value}` lies behind" * (state is not goal))
        return Outcome(Exit.DONE, session.setup.state, tuple(findings), tuple(said))
    # Who asks for a guest that is not configured is refused.
    guest = until is State.RUNNING or session.setup.has_guest
    while True:
        move = forward_from(session.setup.state, guest=guest)
        if move is None:
            return _at_the_end(session, said, findings)
        outcome = take_step(session, move, reboot=reboot)
        findings += outcome.findings
        done = goal is None or outcome.state.rank >= goal.rank
        if outcome.exit is not Exit.DONE or done:
            return Outcome(outcome.exit, outcome.state, tuple(findings), (*said, *outcome.said))


def _refuse_misplaced(session: Session) -> None:
    """See that what was chosen for this run has a meaning where the setup is. Raises UsageError."""
    setup, choice = session.scribe.setup, session.choice
    staged = setup is not None and setup.state is State.STUBBED and trial.staged(session.brief())
    if choice.again and not staged:
        state = setup.state if setup is not None and not setup.finished else State.NEW
        raise UsageError(
            f"`--again` is for a trial boot that failed, and in `{state.value}` none is staged.",
            hint="`vfiostate advance` takes the next step.",
        )
    if not choice.trial and staged and session.setup.boot == session.host.boot_id:
        raise UsageError(
            "`--no-trial` comes too late: a trial boot is staged already, and the next boot makes it.",
            hint="To do without: `vfiostate rollback --to modules_loaded`, then `vfiostate advance --no-trial`.",
        )


def _at_the_end(session: Session, said: Sequence[str], findings: Sequence[Finding]) -> Outcome:
    """Nothing comes after `running`, but whether it still is what it says is looked at every time; nor after `bound`
    without a guest."""
    state = session.setup.state
    if state is State.RUNNING and (again := _started_anew(session, said)) is not None:
        return again
    why = "" if state is State.RUNNING else ": the configuration has no [guest]"
    return Outcome(Exit.DONE, state, tuple(findings), (*said, f"nothing comes after `{state.value}`{why}"))


def _started_anew(session: Session, said: Sequence[str]) -> Outcome | None:
    """In `running`, what came of starting the guest that is not as it should be any more; None where it is. One that
    runs is left to the user: paused or hanging, it may have work in it."""
    runs = _guest_runs(session)
    found = _in_its_way(session) if runs else amiss(session.host, session.brief())
    if not found:
        return None
    session.scribe.now(
        session.scribe.note(Kind.DRIFT_FOUND, {"findings": [finding_data(finding) for finding in found]})
    )
    if runs:
        return Outcome(found[0].exit, State.RUNNING, found, tuple(said))
    fire(session, Move("guest_stopped", State.RUNNING, State.BOUND), {})
    outcome = take_step(session, Move("run", State.BOUND, State.RUNNING), reboot=False)
    if outcome.exit is not Exit.DONE:
        return Outcome(outcome.exit, outcome.state, (*found, *outcome.findings), (*said, "the guest had ended"))
    # Its last words are for reading: nothing is left to mend.
    notes = (replace(finding, severity=Severity.NOTE, hint="") for finding in found)
    end = (*said, "the guest had ended, and was started anew")
    return Outcome(outcome.exit, outcome.state, (*notes, *outcome.findings), end)


def _guest_runs(session: Session) -> bool:
    """Whether the process of the guest is there; where nobody can tell, it counts as running."""
    try:
        return guest_process(session.host, session.setup) is not None
    except ConnectionError:
        return True


def _in_its_way(session: Session) -> tuple[Finding, ...]:
    """What keeps a guest that runs from being as it should be, as a start of it would be refused."""
    step, brief = step_to(State.RUNNING), session.brief()
    plan = step.plan(brief, step.probe(session.host, brief))
    return tuple(finding for finding in plan.findings if finding.severity is Severity.REFUSAL)


def amiss(host: ChangeableHost, brief: Brief) -> tuple[Finding, ...]:
    """What is wrong with the guest in `running`; empty where it is as it should be, or nobody can tell. Reads only."""
    if not host.booted:
        return ()
    step = step_to(State.RUNNING)
    found = step.verify(brief, step.probe(host, brief))
    return found if any(finding.severity is Severity.REFUSAL for finding in found) else ()


def prepare(session: Session) -> None:
    """See that there is a setup to go on with; begin one where the last one is finished."""
    setup = session.scribe.setup
    if setup is not None:
        refuse_unfinished(session)
    if setup is not None and setup.rolled_back and setup.state is State.NEW and not setup.finished:
        finish_rollback(session)
        setup = session.setup
    if setup is None or setup.finished:
        session.begin_setup(session.read_config())


def settle(session: Session) -> list[str]:
    """Bring the journal up to what is true on the host: open intents, a step cut short, a reboot; and say so."""
    said: list[str] = []
    if found := recover(session):
        said.append(f"the last run was cut short: {found} action{'s' * (found != 1)} looked up on the host")
    attempt = session.setup.attempt
    if attempt is not None:
        standing = [deed for deed in session.setup.standing() if deed.attempt == attempt.number]
        if standing and not complete(session.setup):
            packages.waited_for_undoing(session, standing)
            with signals.held():
                take_back(session, attempt.number)
            said.append(f"the unfinished step to `{attempt.target.value}` was taken back")
    signals.check()
    return said + notice_reboot(session)


def notice_reboot(session: Session) -> list[str]:
    """Journal that a reboot took `bound` or `running` away, where one did; and say so."""
    move = lost(session)
    if move is None:
        return []
    fire(session, move, {"boot_before": session.setup.boot, "boot_now": session.host.boot_id})
    return [f"the host was rebooted: `{move.source.value}` was lost, now `{move.target.value}`"]


def lost(session: Session) -> Move | None:
    """The move that a reboot made behind our back, where it did: runtime state is gone."""
    setup, host = session.setup, session.host
    if setup.state in (State.BOUND, State.RUNNING) and host.booted and setup.boot != host.boot_id:
        return Move("host_rebooted", setup.state, State.REBOOTED)
    return None


def notice_config(session: Session) -> None:
    """A configuration that was changed, and may be, is journaled. Raises RefusedError as Session.config_now does."""
    config, changed = session.config_now()
    if changed:
        session.scribe.now(
            session.scribe.note(
                Kind.CONFIG_CHANGED,
                {
                    "config": configuration.encode(config),
                    "config_sha256": configuration.sha256(config),
                    "changed": list(changed),
                },
            )
        )
