"""`vfiostate resume`: what goes on by itself after the boot."""

from __future__ import annotations

import argparse

from engine.cli.common import TYPE_CHECKING, add_command, session_options, show_findings
from journal.errors import Exit, VfiostateError

if TYPE_CHECKING:
    from engine.target import SessionOptions


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "resume",
        "go on after the boot, as `advance --resume` asked for",
        run,
        text="vfiostate-resume.service calls it at every boot until the state asked for is reached. Each call counts;\n"
        "three without a new state, a refusal or a failure park it: `vfiostate status` says why, and `advance`\n"
        "or `advance --resume` sets it going again. It never reboots the host. The word vfiostate.resume=off on\n"
        "the kernel command line keeps it from doing anything in that boot.",
        example="sudo vfiostate advance --resume --reboot\nsudo vfiostate resume --off",
        repeatable=False,
    )
    parser.add_argument("--off", action="store_true", help="do not go on by itself any more: remove the service")


def run(args: argparse.Namespace) -> int:
    """Go on, or withdraw."""
    return go_on(session_options(args), off=args.off)


def go_on(options: SessionOptions, *, off: bool = False) -> int:
    """Go on after the boot; or with `off` no more."""
    from engine import signals
    from engine.console import BOLD, clean, err, out, paint
    from engine.progress import reporter
    from engine.resume.run import resume, withdraw
    from engine.session import open_session

    signals.listen()
    with open_session(options, reporter(), write=True) as session:
        outcome = withdraw(session) if off else resume(session)
    for line in outcome.said:
        out(clean(line))
    show_findings(outcome.findings)
    out(f"state: {paint(outcome.state.value, BOLD)}")
    if outcome.exit is Exit.REBOOT:
        err("  -> reboot, then it goes on")
    return outcome.exit


def on_simulated(options: SessionOptions) -> int:
    """What the unit calls, where the model of systemd started it in this boot. Its exit code; 0 where it did not."""
    from engine.console import complain, out
    from engine.hosts.simulated import SimulatedHost, services
    from steps.resume_service import UNIT_NAME

    assert options.simulate is not None
    machine = SimulatedHost(options.simulate).machine
    if not services.active(machine, UNIT_NAME):
        return Exit.DONE
    # Ended, as far as systemd is concerned: it runs once in a boot.
    machine.unlink(f"/run/systemd/active/{UNIT_NAME}")
    out(f"systemd starts {UNIT_NAME}: vfiostate resume")
    try:
        return go_on(options)
    except VfiostateError as error:
        complain(error)
        return error.exit
