"""What `advance` would do, without doing it: the very plans that it would carry out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine import config as configuration
from engine.advance import amiss, lost
from engine.attempt import telling
from engine.back.ending import refuse_unfinished
from engine.durations import Durations, learn
from engine.hosts.base import ChangeableHost
from engine.progress import Reporter
from engine.session import Session, another_host, host_identity, open_session, other_host
from engine.setup import fold_into
from engine.states import Move, forward
from engine.target import SessionOptions, open_host
from engine.ways import step_to
from journal.errors import Exit, JournalMissingError
from journal.events import Event
from steps.base import Brief, Plan, State
from steps.config import Config

# Stands for the id that the setup will get when it is begun.
UNBORN = "000000000000"


@dataclass(frozen=True, slots=True)
class Preview:
    """One step to come: the state it leads to and its plan, made from what is true on the host now. `reboots` is
    whether the host has to reboot right before it; `awaits` is the state that must be reached first, where its plan
    cannot hold before: `rebooted` where a reboot is still to come, `bound` where the guest's devices are not bound."""

    target: State
    plan: Plan
    reboots: bool = False
    awaits: State | None = None


@dataclass(frozen=True, slots=True)
class Previews:
    """The steps to come, the host they were planned for, and how long its commands took before."""

    host: ChangeableHost
    steps: tuple[Preview, ...]
    durations: Durations


def preview(options: SessionOptions, reporter: Reporter, *, all_steps: bool, trial: bool = True) -> Previews:
    """The plan of the next step, of all that are left, or of those to a state that was lost, as `advance` takes them.
    What a later step finds may differ once the earlier are done. Without `trial` the new command line is planned as the
    default at once.

    Changes nothing and journals nothing. Raises ConfigurationError and its kin, and what `advance` would refuse: to go
    on with the configuration as it is now, or before a rollback is finished.
    """
    host, state, back_to, brief, durations = _now(options, reporter)
    brief = replace(brief, trial=trial)
    moves = [move for move in forward(guest=brief.config.guest is not None) if move.source.rank >= state.rank]
    if not all_steps:
        moves = moves[:1] if back_to is None else [move for move in moves if move.target.rank <= back_to.rank]
    previews: list[Preview] = []
    for move in moves:
        step = step_to(move.target)
        plan = step.plan(brief, step.probe(host, brief))
        # The plan of `rebooted` is itself what says whether there was a reboot.
        waits = any(finding.exit is Exit.REBOOT for finding in plan.findings)
        reboots = move.target is State.REBOOTED and (waits or bool(previews))
        previews.append(Preview(move.target, plan, reboots, _awaits(move, previews, reboots=reboots)))
    return Previews(host, tuple(previews), durations)


def _awaits(move: Move, before: Sequence[Preview], *, reboots: bool) -> State | None:
    if reboots or any(one.reboots for one in before):
        return State.REBOOTED
    binds = move.source is State.BOUND and any(one.target is State.BOUND and one.plan.actions for one in before)
    return State.BOUND if binds else None


def _now(options: SessionOptions, reporter: Reporter) -> tuple[ChangeableHost, State, State | None, Brief, Durations]:
    """The host, the state that `advance` will go on from, the one it comes back to, what it will tell its steps."""
    durations = Durations()
    try:
        with open_session(options, reporter, write=False) as session:
            setup = session.scribe.setup
            durations = learn(session.journal.events(), host_identity(session.host))
            if setup is not None and not setup.finished:
                if (other := other_host(session.host, setup)) is not None:
                    raise another_host(session.host, options, other)
                refuse_unfinished(session)
                config, _ = session.config_now()
                _foresee(session, config)
                return session.host, setup.state, setup.lost, replace(session.brief(), config=config), durations
    except JournalMissingError:
        pass
    host = open_host(options)
    return host, State.NEW, None, Brief(configuration.load(host, options.config), UNBORN, host.boot_id), durations


def _foresee(session: Session, config: Config) -> None:
    """Fold what `advance` would settle first, a reboot or the end of the guest, into this run's memory alone."""
    setup, move = session.setup, lost(session)
    if setup.state is State.RUNNING and move is None and amiss(session.host, replace(session.brief(), config=config)):
        move = Move("guest_stopped", State.RUNNING, State.BOUND)
    if move is not None:
        kind, said = telling(move)
        event = Event(0, setup.since, session.host.boot_id, "", kind, setup.id, None, setup.attempts, said, "", "")
        fold_into(session.scribe.setups, event)
