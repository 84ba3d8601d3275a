"""The command line's grammar: one parser, options that mean the same everywhere, and no import that costs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from journal.errors import Exit

COMMANDS = (
    "init",
    "devices",
    "plan",
    "advance",
    "status",
    "rollback",
    "journal",
    "guest",
    "graph",
    "capture",
    "machine",
)

_DESCRIPTION = """\
Take a Linux KVM host from "nothing set up" to "a guest runs with the PCI device inside it", one journaled step at a
time, over the reboot that VFIO makes mandatory, and back again to exactly where it began."""

_EPILOG = """\
example, on a machine that is only simulated:
  vfiostate --simulate /tmp/m machine create
  vfiostate --simulate /tmp/m init --device 03:00.0 --device 03:00.1 --stub pci-stub
  vfiostate --simulate /tmp/m advance --until stubbed

exit codes: 0 done, 1 failed, 2 changes pending (plan --detailed-exitcode), 3 reboot first, 4 drift, 5 refused,
6 journal damaged, 64 usage, 75 locked, 77 needs root"""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that exits with 64 for wrong usage and knows the options that every command has."""

    def __init__(self, *, top: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)
        add_common(self, default=None if top else argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where to read more; exit with 64 (EX_USAGE)."""
        self.print_usage(sys.stderr)
        self.exit(Exit.USAGE, f"vfiostate: {message}\n  -> {self.prog} --help\n")


def add_common(parser: argparse.ArgumentParser, default: object) -> None:
    """The options of every command, before or after its name."""
    group = parser.add_argument_group("options of every command")
    place = group.add_mutually_exclusive_group()
    place.add_argument(
        "--simulate", metavar="DIR", default=default, help="work on the simulated machine that lives in DIR"
    )
    place.add_argument("--root", metavar="DIR", default=default, help="work on the system mounted at DIR")
    group.add_argument(
        "--config",
        metavar="FILE",
        default="/etc/vfiostate.toml" if default is None else default,
        help="the configuration, a path on that host (default: /etc/vfiostate.toml)",
    )
    group.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0 if default is None else default,
        help="log to stderr what is done; -vv: everything",
    )


class Version(argparse.Action):
    """--version: the installed version, looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it and exit."""
        from engine.version import VERSION

        parser.exit(Exit.DONE, f"vfiostate {VERSION}\n")


def build(commands: Sequence[str] = COMMANDS) -> Parser:
    """The parser with these commands; each is a module of engine.cli with `configure(subparsers)`."""
    parser = Parser(prog="vfiostate", top=True, description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action=Version, nargs=0, help="show the version")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name in commands:
        if not (Path(__file__).with_name(f"{name}.py")).exists():
            continue
        import_module(f"engine.cli.{name}").configure(subparsers)
    return parser
