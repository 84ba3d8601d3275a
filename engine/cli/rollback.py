"""`vfiostate rollback`: the way back."""

from __future__ import annotations

import argparse

from engine.cli.common import STATES, add_command, session_options, state
from journal.errors import Exit, JournalMissingError


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "rollback",
        "take back what was done, to the beginning or to a state",
        run,
        text="Files that you changed since keep your changes and lose ours; where the two cannot be told apart,\n"
        "nothing is changed at all. All the way back, exit code 3 says to reboot while the running kernel still has\n"
        "our command line.",
        example="sudo vfiostate rollback\nsudo vfiostate rollback --to checked",
        repeatable=False,
    )
    parser.add_argument(
        "--to", metavar="STATE", type=state, default=STATES[0], help="the state to go back to (default: new)"
    )


def run(args: argparse.Namespace) -> int:
    """Go back."""
    from engine import signals
    from engine.console import BOLD, clean, err, out, paint
    from engine.progress import reporter
    from engine.rollback import NOTHING, rollback
    from engine.session import open_session

    options = session_options(args)
    signals.listen()
    try:
        with open_session(options, reporter(), write=True) as session:
            result = rollback(session, args.to)
    except JournalMissingError:
        result = NOTHING
    for line in result.said:
        out(clean(line))
    for path in result.as_before:
        out(f"{'gone again' if path in result.gone else 'as before'}: {clean(path)}")
    for path, why in result.differs:
        out(f"differs:   {clean(path)}: {clean(why)}")
    out(f"state: {paint(result.state.value, BOLD)}")
    if result.exit is Exit.REBOOT:
        err("  -> reboot, then: vfiostate rollback")
    return result.exit
