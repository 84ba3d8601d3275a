"""scripts/crash: the program killed, or given an error, at every system call by which it changes something."""

from __future__ import annotations

import argparse
import math
import sys
import time
from typing import Any

from tests.kill.traced import faulting, killing, tracer
from tests.kill.traced.machines import MACHINES


def main() -> int:
    """0 when every promise was kept, 1 when one was not, 77 where nothing can be traced."""
    options = _options()
    if why := tracer.missing():
        _say(f"scripts/crash: {why}")
        return 77
    began = time.monotonic()
    code = _kills(options) if options.command == "kills" else _faults(options)
    _say(f"\n{time.monotonic() - began:.0f} s; again: scripts/crash {' '.join(sys.argv[1:])}")
    return code


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/crash", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    kills = commands.add_parser("kills", help="killed by strace at every changing call of every step, there and back")
    kills.add_argument("--pairs", type=int, default=0, metavar="N", help="so many pairs: killed, and again going on")
    faults = commands.add_parser("faults", help="given every error at every kind of changing call; and other faults")
    for each in (kills, faults):
        each.add_argument("--stride", type=int, default=1, metavar="N", help="only every N-th point")
        each.add_argument("--seed", type=int, default=1, help="of all that is chosen by chance")
        each.add_argument("--jobs", type=int, default=1, metavar="N", help="processes side by side")
        each.add_argument("--minutes", type=float, default=math.inf, help="nothing is begun after these")
        each.add_argument("--machine", action="append", choices=MACHINES, help="only this one; once for each")
    return parser.parse_args()


def _kills(options: argparse.Namespace) -> int:
    found = killing.run(options.machine or list(MACHINES), pairs=options.pairs, **_how(options))
    _say(killing.sequences(found), "", "Killed at these calls:", killing.kinds(found), "", killing.table(found))
    if found.failures:
        _say("", killing.told_failures(found.failures))
    return 1 if found.failures else 0


def _faults(options: argparse.Namespace) -> int:
    found = faulting.run(options.machine or list(MACHINES), **_how(options))
    _say(faulting.table(found), "", faulting.steps(found.answers))
    broken = faulting.told_failures(found.answers)
    if broken:
        _say("", broken)
    return 1 if broken else 0


def _how(options: argparse.Namespace) -> dict[str, Any]:
    """What both have in common."""
    return {name: getattr(options, name) for name in ("stride", "seed", "jobs", "minutes")}


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
