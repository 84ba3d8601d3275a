"""`vfiostate advance`: the next step, or several."""

from __future__ import annotations

import argparse

from engine.cli.common import TYPE_CHECKING, add_command, session_options, show_findings, state
from journal.errors import Exit, UsageError, VfiostateError

if TYPE_CHECKING:
    from engine.attempt import Outcome
    from engine.session import Session
    from engine.setup import Setup
    from steps.base import State


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "advance",
        "take the next step",
        run,
        text="One step is taken whole or not at all. What a run that was cut short left behind is settled first.\n"
        "After a reboot that ended `bound` or `running`, it goes on to where the setup was.",
        example="sudo vfiostate advance\nsudo vfiostate advance --until stubbed\nsudo vfiostate advance --reboot",
        repeatable=False,
    )
    parser.add_argument("--until", metavar="STATE", type=state, help="take all steps up to this state")
    parser.add_argument(
        "--no-trial", action="store_true", help="make the new command line the default without a trial boot"
    )
    parser.add_argument("--again", action="store_true", help="stage a trial boot that failed once more")
    parser.add_argument("--reboot", action="store_true", help="ask the host to reboot where that comes next")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="take all steps to the end or --until, and go on by itself after the reboot",
    )


def _comes_next(outcome: Outcome, *, reboot: bool, resume: bool) -> str | None:
    """What comes next where a step was not taken; `reboot` is whether the host was asked to, `resume` whether it goes
    on by itself after that."""
    from engine.status import AGAIN, MEND, NEXT, ONCE_MORE
    from steps.base import State

    if any(one.code in ONCE_MORE for one in outcome.findings):
        return AGAIN
    if outcome.exit is Exit.REBOOT and resume:
        do = "nothing to do by hand" if reboot else "reboot; it goes on by itself"
        return f"{do}; vfiostate status after the boot"
    if outcome.exit is Exit.REBOOT:
        return "vfiostate advance after the boot" if reboot else NEXT[State.STUBBED]
    return MEND.format(where="above", command="advance") if outcome.exit in (Exit.REFUSED, Exit.DRIFT) else None


def _tell(state: State, comes_next: str | None, session: Session) -> None:
    """Where one is, what comes next and how to go back."""
    from engine.console import BOLD, out, paint
    from engine.status import back_words, next_words

    setup = session.scribe.setup
    guest = setup is None or setup.has_guest
    out(f"state: {paint(state.value, BOLD)}")
    out(f"next: {comes_next or next_words(state, guest=guest)}")
    out(f"back: {back_words(state, token=setup is not None and _has_token(session, setup))}")


def _has_token(session: Session, setup: Setup) -> bool:
    """Whether the running kernel has our command line, as far as that can be read."""
    from engine.back.ending import token_running

    try:
        return token_running(session, setup)
    except OSError:
        return False


def _tell_failed(session: Session) -> None:
    setup = session.scribe.setup
    if setup is not None:
        _tell(setup.state, "follow the hint below, then vfiostate advance", session)


def run(args: argparse.Namespace) -> int:
    """Take it."""
    from engine import signals
    from engine.advance import advance
    from engine.console import clean, out
    from engine.progress import reporter
    from engine.session import Choice, open_session

    if args.no_trial and args.again:
        raise UsageError("`--no-trial` and `--again` exclude each other.", hint="Leave one of them out.")
    options = session_options(args)
    signals.listen()
    with open_session(options, reporter(), write=True, create=True) as session:
        session.choice = Choice(trial=not args.no_trial, again=args.again)
        try:
            if args.resume:
                from engine.resume.run import advance_and_resume  # only where it is asked for

                outcome = advance_and_resume(session, args.until, reboot=args.reboot)
            else:
                outcome = advance(session, args.until, reboot=args.reboot)
        except VfiostateError:
            # Where one is comes before what went wrong, which `main` says last.
            _tell_failed(session)
            raise
    for line in outcome.said:
        out(clean(line))
    show_findings(outcome.findings)
    _tell(outcome.state, _comes_next(outcome, reboot=args.reboot, resume=args.resume), session)
    if outcome.exit is Exit.REBOOT and args.resume and args.reboot and options.simulate is not None:
        from engine.cli.resume import on_simulated  # its systemd is a model

        return on_simulated(options)
    return outcome.exit
