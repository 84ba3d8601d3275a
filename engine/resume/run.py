"""Going on by itself over the reboot: asked for at the terminal, carried out after the boot, where nobody can answer.

Three things keep it from a loop. Each run is counted, durably, before it does anything, and only a state further than
ever gives new runs. What is refused or fails parks it at once. And it never reboots the host: that is done once, by the
`advance --resume --reboot` that staged the trial.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from engine import signals
from engine.advance import advance
from engine.attempt import Outcome
from engine.recovery import recover
from engine.resume import unit
from engine.resume.resumption import LIMIT, What
from engine.signals import InterruptedByUser
from journal.errors import Exit, JournalError, VfiostateError
from steps.base import Severity, State
from steps.nics import default_interfaces
from steps.resume_service import OFF, UNIT_NAME

if TYPE_CHECKING:
    from engine.session import Session

# What is refused soon after a boot and perhaps not a minute later (steps.own_devices).
PASSING = {"host-lost-network"}
# Seconds: DHCP gives up sooner.
ROUTE_WAIT = 120.0


def advance_and_resume(session: Session, until: State | None = None, *, reboot: bool = False) -> Outcome:
    """Advance up to `until`, by default to the end; where a reboot comes first, see that the boot goes on by itself.

    Raises what `advance` does; RefusedError, with nothing changed, where no unit can be installed.
    """
    with session.scribe.witness():
        unit.refuse_unable(session)
        goal = until or the_end(session)
        outcome = advance(session, goal)
        if outcome.exit is not Exit.REBOOT:
            return outcome
        unit.arm(session, goal)
        said = (
            f"after the reboot it goes on by itself up to `{goal.value}` ({UNIT_NAME}); "
            f"the word {OFF} on the kernel command line keeps it from that",
        )
        if reboot:
            outcome = advance(session, goal, reboot=True)
        return Outcome(outcome.exit, outcome.state, outcome.findings, (*outcome.said, *said))


def the_end(session: Session) -> State:
    """The last state that this configuration leads to."""
    setup = session.scribe.setup
    config = session.read_config() if setup is None or setup.finished else session.config
    return State.BOUND if config.guest is None else State.RUNNING


def resume(session: Session) -> Outcome:
    """What the unit does after the boot. Raises what `advance` does, once it is parked for that."""
    setup = session.scribe.setup
    if setup is None or setup.finished or setup.rolling_back_to is not None:
        state = setup.state if setup is not None else State.NEW
        return Outcome(Exit.DONE, state, said=("there is nothing to go on with",))
    if unit.stopped_by_word(session):
        return Outcome(Exit.DONE, setup.state, said=(f"kept from going on by {OFF} on the kernel command line",))
    asked = setup.resume
    if asked is None:
        return Outcome(Exit.DONE, setup.state, said=_not_asked(session))
    if asked.parked is not None:
        return Outcome(Exit.DONE, setup.state, said=(f"parked: {asked.parked}",))
    if asked.exhausted:
        reason = f"{LIMIT} boots in a row brought nothing new; the state still is `{setup.state.value}`"
        return Outcome(Exit.REFUSED, setup.state, said=(unit.park(session, reason),))
    # From here on this boot counts, whatever happens next: a run that takes the host down is not repeated for ever.
    unit.note(session, What.BEGUN, number=asked.tries + 1, state=setup.state.value)
    return _go_on(session, asked.until)


def _go_on(session: Session, until: State) -> Outcome:
    try:
        outcome = advance(session, until)
        if _may_pass(outcome) and _routed_at_last(session):
            outcome = advance(session, until)
    except (JournalError, InterruptedByUser):
        # It could not be recorded; or the host is shut down meanwhile. The boot is counted.
        raise
    except VfiostateError as error:
        unit.park(session, error.message)
        raise
    if outcome.exit in (Exit.DONE, Exit.REBOOT):
        return outcome
    grave = [found.message for found in outcome.findings if found.severity is Severity.REFUSAL]
    said = unit.park(session, " ".join(grave) or "it was refused")
    return Outcome(outcome.exit, outcome.state, outcome.findings, (*outcome.said, said))


def _may_pass(outcome: Outcome) -> bool:
    """Whether it was refused for nothing but what a boot that is young yet brings by itself."""
    return {found.code for found in outcome.findings if found.severity is Severity.REFUSAL} == PASSING


def _routed_at_last(session: Session) -> bool:
    """Wait for a default route, which may come long after the targets: nobody waits for the network on many hosts."""
    deadline = time.monotonic() + ROUTE_WAIT
    while not default_interfaces(session.host):
        if time.monotonic() > deadline:
            return False
        signals.check()
        time.sleep(1.0)
    return True


def _not_asked(session: Session) -> tuple[str, ...]:
    """A run that was cut short may have left the unit where nothing is asked for (any more)."""
    if not unit.standing(session):
        return ("it was not asked to go on by itself",)
    with session.scribe.witness():
        recover(session)
        unit.remove(session)
    return (f"it was not asked to go on by itself: {UNIT_NAME} was removed",)


def withdraw(session: Session) -> Outcome:
    """No longer go on by itself: take the unit out. Raises DriftError, having changed nothing, for an edited one."""
    setup = session.setup
    if setup.rolling_back_to is not None or (setup.resume is None and not unit.standing(session)):
        return Outcome(Exit.DONE, setup.state, said=("it was not asked to go on by itself",))
    with session.scribe.witness():
        recover(session)
        unit.remove(session)
        if setup.resume is not None:
            unit.note(session, What.OVER, why="withdrawn")
    return Outcome(Exit.DONE, setup.state, said=(f"{UNIT_NAME} was removed",))
