"""What `advance` would do, without doing it: the very plans that it would carry out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine import config as configuration
from engine.back.ending import refuse_unfinished
from engine.durations import Durations, learn
from engine.hosts.base import ChangeableHost
from engine.progress import Reporter
from engine.session import host_identity, open_session
from engine.states import FORWARD
from engine.target import SessionOptions, open_host
from engine.ways import step_to
from journal.errors import Exit, JournalMissingError
from steps.base import Brief, Plan, State

# Stands for the id that the setup will get when it is begun.
UNBORN = "000000000000"


@dataclass(frozen=True, slots=True)
class Preview:
    """One step to come: the state it leads to and its plan, made from what is true on the host now. `reboots` is
    whether the host has to reboot right before it, `later` whether that or an earlier reboot is still to come: what its
    plan says then speaks of a boot that will be over."""

    target: State
    plan: Plan
    reboots: bool = False
    later: bool = False


@dataclass(frozen=True, slots=True)
class Previews:
    """The steps to come, the host they were planned for, and how long its commands took before."""

    host: ChangeableHost
    steps: tuple[Preview, ...]
    durations: Durations


def preview(options: SessionOptions, reporter: Reporter, *, all_steps: bool, trial: bool = True) -> Previews:
    """The plan of the next step, or of all that are left. What a later step finds may differ once the earlier are done.
    Without `trial` the new command line is planned as the default at once.

    Changes nothing and journals nothing. Raises ConfigurationError and its kin, and what `advance` would refuse: to go
    on with the configuration as it is now, or before a rollback is finished.
    """
    host, state, brief, durations = _now(options, reporter)
    brief = replace(brief, trial=trial)
    moves = [move for move in FORWARD if move.source.rank >= state.rank]
    previews: list[Preview] = []
    for move in moves if all_steps else moves[:1]:
        step = step_to(move.target)
        plan = step.plan(brief, step.probe(host, brief))
        # The plan of `rebooted` is itself what says whether there was a reboot.
        waits = any(finding.exit is Exit.REBOOT for finding in plan.findings)
        reboots = move.target is State.REBOOTED and (waits or bool(previews))
        later = reboots or any(one.reboots for one in previews)
        previews.append(Preview(move.target, plan, reboots, later))
    return Previews(host, tuple(previews), durations)


def _now(options: SessionOptions, reporter: Reporter) -> tuple[ChangeableHost, State, Brief, Durations]:
    durations = Durations()
    try:
        with open_session(options, reporter, write=False) as session:
            setup = session.scribe.setup
            durations = learn(session.journal.events(), host_identity(session.host))
            if setup is not None and not setup.finished:
                refuse_unfinished(session)
                config, _ = session.config_now()
                return session.host, setup.state, replace(session.brief(), config=config), durations
    except JournalMissingError:
        pass
    host = open_host(options)
    return host, State.NEW, Brief(configuration.load(host, options.config), UNBORN, host.boot_id), durations
