"""`vfiostate advance`: the next step, or several."""

from __future__ import annotations

import argparse

from engine.cli.common import add_command, session_options, show_findings, state
from journal.errors import Exit


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


def run(args: argparse.Namespace) -> int:
    """Take it."""
    from engine import signals
    from engine.advance import advance
    from engine.console import BOLD, clean, out, paint
    from engine.progress import reporter
    from engine.session import Choice, open_session
    from engine.status import next_words

    options = session_options(args)
    signals.listen()
    with open_session(options, reporter(), write=True, create=True) as session:
        session.choice = Choice(trial=not args.no_trial, again=args.again)
        if args.resume:
            from engine.resume import advance_and_resume  # only where it is asked for

            outcome = advance_and_resume(session, args.until, reboot=args.reboot)
        else:
            outcome = advance(session, args.until, reboot=args.reboot)
    for line in outcome.said:
        out(clean(line))
    show_findings(outcome.findings)
    out(f"state: {paint(outcome.state.value, BOLD)}")
    if outcome.exit is Exit.DONE:
        out(f"next: {next_words(outcome.state)}")
    if outcome.exit is Exit.REBOOT and args.resume and args.reboot and options.simulate is not None:
        from engine.cli.resume import on_simulated  # its systemd is a model

        return on_simulated(options)
    return outcome.exit
