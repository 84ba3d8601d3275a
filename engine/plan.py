"""What `advance` would do, without doing it: the very plans that it would carry out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine import config as configuration
from engine.hosts.base import ChangeableHost
from engine.progress import Reporter
from engine.session import open_session
from engine.states import FORWARD
from engine.target import SessionOptions, open_host
from engine.ways import step_to
from journal.errors import JournalMissingError
from steps.base import Brief, Plan, State

# Stands for the id that the setup will get when it is begun.
UNBORN = "000000000000"


@dataclass(frozen=True, slots=True)
class Preview:
    """One step to come: the state it leads to and its plan, made from what is true on the host now."""

    target: State
    plan: Plan


def preview(
    options: SessionOptions, reporter: Reporter, *, all_steps: bool, trial: bool = True
) -> tuple[ChangeableHost, list[Preview]]:
    """The plan of the next step, or of all that are left. What a later step finds may differ once the earlier are done.
    Without `trial` the new command line is planned as the default at once.

    Changes nothing and journals nothing. Raises ConfigurationError and its kin.
    """
    host, state, brief = _now(options, reporter)
    brief = replace(brief, trial=trial)
    moves = [move for move in FORWARD if move.source.rank >= state.rank]
    previews = []
    for move in moves if all_steps else moves[:1]:
        step = step_to(move.target)
        previews.append(Preview(move.target, step.plan(brief, step.probe(host, brief))))
    return host, previews


def _now(options: SessionOptions, reporter: Reporter) -> tuple[ChangeableHost, State, Brief]:
    try:
        with open_session(options, reporter, write=False) as session:
            setup = session.scribe.setup
            if setup is not None and not setup.finished:
                return session.host, setup.state, session.brief()
    except JournalMissingError:
        pass
    host = open_host(options)
    return host, State.NEW, Brief(configuration.load(host, options.config), UNBORN, host.boot_id)
