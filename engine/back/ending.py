"""The end of a rollback: called finished only when the running kernel is without our command line."""

from __future__ import annotations

from engine import signals
from engine.back import decide_commands, undo
from engine.hosts.base import OFFLINE
from engine.promises import promised_boot
from engine.session import Session
from engine.setup import Deed, Setup
from journal.errors import DriftError, RebootNeededError, RefusedError, sentence
from journal.events import Kind
from steps import topology
from steps.base import State


def finish_rollback(session: Session) -> None:
    """Call a rollback finished. Raises RebootNeededError where that is left to a boot, DriftError as refuse_early."""
    refuse_early(session)
    make_at_home(session)
    deeds = list(session.setup.deeds.values())
    as_before, differs = undo.compare(session, deeds)
    # Where all is as before, nothing is left to restore, and a script that did would take away what the user edits from
    # now on. So it goes first: a crash before the event leaves a rollback that is finished by the next run, whereas
    # nobody would come back to a script that outlived it.
    script = f"{session.state_dir}/restore.sh"
    session.host.tidy(script)
    if not differs and session.host.lstat(script) is not None:
        session.host.remove_file(script)
    session.scribe.now(
        session.scribe.note(
            Kind.ROLLBACK_FINISHED,
            {
                "to": State.NEW.value,
                "as_before": as_before,
                "differs": list(differs),
                topology.KEY: topology.now(session.host) if session.host.booted else "",
            },
        )
    )


def refuse_unfinished(session: Session) -> None:
    """Nothing is begun before a rollback is finished. Raises RefusedError, and as refuse_early does."""
    setup = session.setup
    if setup.rolling_back_to is not None:
        raise RefusedError(
            f"A rollback to `{setup.rolling_back_to.value}` was begun and not finished.",
            hint="`vfiostate rollback` finishes it.",
        )
    if setup.rolled_back and setup.state is State.NEW and not setup.finished:
        refuse_early(session)


def refuse_early(session: Session) -> None:
    """Raise RebootNeededError while the running kernel still has our command line, and on a host that does not run
    where something was made anew in its place; DriftError where a boot since has not brought another command line."""
    if token_running(session, session.setup):
        for left in promised_boot.command_line_left(session.host, session.brief(), session.setup):
            raise DriftError(f"{left.where}: {left.found}.", evidence=left.evidence, hint=sentence(left.hint))
        raise RebootNeededError(
            "The rollback is finished by the next boot: the running kernel still has vfiostate's command line.",
            evidence=("/proc/cmdline",),
            hint="Reboot, then run the command again.",
        )
    if provisional(session.setup) and not session.host.booted:
        raise RebootNeededError(
            "The rollback is finished by the host's own next boot: what was made anew here is made once more there.",
            hint="Boot it, then run `vfiostate rollback` in it.",
        )


def provisional(setup: Setup) -> list[Deed]:
    """Deeds whose products a rescue system made anew: by its view of the disks and with its devices in sight."""
    return [deed for deed in setup.deeds.values() if deed.undone == "regenerated" and OFFLINE in deed.undone_in]


def make_at_home(session: Session) -> None:
    """Make once more, on the host itself, what a rescue system made anew in its place. Raises ActionFailedError.

    A crash within it leaves an undo without an outcome, and the next rollback decides about its deed anew.
    """
    deeds = provisional(session.setup)
    if deeds and session.host.booted:
        why = "a rescue system made it; this host makes it as it was"
        with signals.held():
            undo.take_back(session, [decide_commands.again(session, deed, why) for deed in reversed(deeds)])


def token_running(session: Session, setup: Setup) -> bool:
    """Whether the running kernel was booted with the setup's token."""
    if not session.host.booted:
        return False
    return f"vfiostate.setup={setup.id}" in session.host.read("/proc/cmdline").decode(errors="replace").split()
