"""The way back: every deed beyond a state undone in reverse, each undo journaled, and the result compared."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine import packages, restore, signals
from engine.attempt import fire
from engine.back import undo
from engine.back.decide import decide
from engine.back.decision import Decision, Way
from engine.back.ending import finish_rollback, provisional, token_running
from engine.promises.noticed import before_rollback
from engine.recovery import recover
from engine.session import Session
from engine.states import Move
from journal.errors import Exit, RefusedError, UsageError
from journal.events import Kind
from steps.base import State


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """What a rollback came to: the exit code, the state, the files compared and what else there is to say. `gone` are
    those of `as_before` that are not there, as before."""

    exit: Exit
    state: State
    as_before: tuple[str, ...] = ()
    differs: tuple[tuple[str, str], ...] = ()
    said: tuple[str, ...] = ()
    gone: frozenset[str] = frozenset()


NOTHING = RollbackResult(Exit.DONE, State.NEW, said=("nothing is set up: there is nothing to take back",))

# Said of a file that others changed since we edited it, and which keeps their change.
MERGED = " (changed since by others; only what is ours was taken out)"


def rollback(session: Session, to: State = State.NEW) -> RollbackResult:
    """Go back to a state. Raises DriftError, having changed nothing, where only the user can decide."""
    with session.scribe.witness():
        return _rollback(session, to)


def _rollback(session: Session, to: State) -> RollbackResult:
    if session.scribe.setup is None:
        return NOTHING
    setup = session.setup
    if setup.finished:
        return NOTHING
    recover(session)
    if setup.rolled_back and setup.state is State.NEW and not setup.standing():
        return _finished_already(session)
    if to.rank > setup.state.rank:
        raise UsageError(f"`{to.value}` lies ahead of `{setup.state.value}`.", hint="`vfiostate advance` goes there.")
    deeds = [deed for deed in setup.standing() if deed.target.rank > to.rank]
    if not deeds and setup.state is to is not State.NEW and setup.cut_short is None and setup.resume is None:
        return _compared(session, to, [_already(to)])
    packages.waited_for_undoing(session, deeds)
    decisions = decide(session, deeds)
    before_rollback(session, decisions)
    undo.refuse_conflicts(session, decisions)
    with signals.held():
        return _go_back(session, to, decisions)


def _finished_already(session: Session) -> RollbackResult:
    finish_rollback(session)
    return _compared(session, State.NEW, ["the running kernel is without our command line: the rollback is finished"])


def _go_back(session: Session, to: State, decisions: list[Decision]) -> RollbackResult:
    setup, scribe = session.setup, session.scribe
    start = setup.state
    scribe.now(scribe.note(Kind.ROLLBACK_STARTED, {"from": start.value, "to": to.value}))
    quiet = all(decision.way in (Way.KEEP, Way.ALREADY_GONE) for decision in decisions)
    at_it = start is to is not State.NEW
    if decisions and not (quiet and at_it):
        session.reporter.step(f"back to {to.value}")
    undo.take_back(session, decisions)
    if to is not State.NEW:
        # On the way to the beginning the end of it decides: what differs then is still in the script as it was.
        restore.renew(session)
    left = [deed for deed in setup.standing() if deed.target.rank > to.rank]
    if left:
        raise RefusedError(
            f"{len(left)} action{'s' * (len(left) != 1)} could not be taken back; the state is still `{start.value}`.",
            evidence=tuple(f"{deed.action['type']} (event {deed.seq}): {deed.undone}" for deed in left),
            hint="See `vfiostate journal show`, mend what it names, then roll back again.",
        )
    said: list[str] = [] if decisions else ["nothing was changed on the host: there is nothing to take back"]
    if quiet and at_it:
        said = [_already(to)]
    if start is not to or to is State.NEW:
        fire(session, Move(f"roll_back_to_{to.value}", start, to), {})
    if to is not State.NEW:
        return _compared(session, to, said)
    if token_running(session, setup):
        said.append(
            "the running kernel still has vfiostate's command line: a reboot is left, and a last rollback after it"
        )
        result = _compared(session, to, said)
        return replace(result, exit=Exit.REBOOT)
    if not session.host.booted and provisional(setup):
        said.append("what was made anew here is made once more by the host itself: its next boot finishes the rollback")
        result = _compared(session, to, said)
        return replace(result, exit=Exit.REBOOT)
    finish_rollback(session)
    return _compared(session, to, said)


def _already(to: State) -> str:
    return f"already `{to.value}`: nothing lies beyond it"


def _compared(session: Session, to: State, said: list[str]) -> RollbackResult:
    deeds = [deed for deed in session.setup.deeds.values() if deed.target.rank > to.rank]
    as_before, differs = undo.compare(session, deeds)
    merged = {path for deed in deeds if deed.undone == "merged" for path in deed.before}
    pairs = tuple((one["path"], one["why"] + MERGED * (one["path"] in merged)) for one in differs)
    script = f"{session.state_dir}/restore.sh"
    if pairs and to is State.NEW and session.host.lstat(script) is not None:
        place = session.host.local(script)
        said.append(f"what differs was changed by others, or could not be made the same; {place} has it as it was")
    gone = frozenset(path for path in as_before if session.host.lstat(path) is None)
    return RollbackResult(Exit.DONE, to, tuple(as_before), pairs, tuple(said), gone)
