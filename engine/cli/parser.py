"""The command line's grammar: one parser, options that mean the same everywhere, and no import that costs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from engine.cli.common import TYPE_CHECKING
from engine.console import out
from journal.errors import Exit, sentence

if TYPE_CHECKING:
    from typing import NoReturn, TypedDict, Unpack

    class Words(TypedDict, total=False):
        """What a parser is made of, besides its options."""

        prog: str
        description: str
        epilog: str


# Every command with its summary. Only the module of the command that is asked for is imported, and `--help` pays for
# none; a test holds the summaries equal to theirs.
COMMANDS: Mapping[str, str] = {
    "doctor": "say what stands in the way of passthrough on this host",
    "init": "write the configuration for these devices",
    "devices": "list the PCI functions by IOMMU group",
    "rom": "read a card's ROM into a file",
    "plan": "show what `advance` would do, and how each of it is undone",
    "advance": "take the next step",
    "status": "show the state, what has drifted and what comes next",
    "audit": "compare every promise of the journal with the host",
    "rollback": "take back what was done, to the beginning or to a state",
    "journal": "show, explain, check or export the journal",
    "resume": "go on after the boot, as `advance --resume` asked for",
    "guest": "start, stop and look at the guest",
    "graph": "draw the state machine",
    "capture": "describe this machine in a file that can be simulated",
    "machine": "make and reboot the simulated machine of --simulate DIR",
}

# argparse would look for a translation of each of its words, in files that it searches for each: a tenth of `--help`.
# This program speaks English.
# Not str(): argparse also translates a description that is not there, and would print `None`.
argparse._ = lambda text: text  # type: ignore[attr-defined]  # the module's own name for gettext

_DESCRIPTION = """\
Take a Linux KVM host from "nothing set up" to "a guest runs with the PCI device inside it", one journaled step at a
time, over the reboot that VFIO makes mandatory, and back again to exactly where it began."""

_EPILOG = """\
example, on a machine that is only simulated:
  vfiostate --simulate /tmp/m machine create
  vfiostate --simulate /tmp/m init --device 03:00.0 --device 03:00.1 --stub pci-stub
  vfiostate --simulate /tmp/m advance --until stubbed

exit codes: 0 done, 1 failed, 2 changes pending (plan --detailed-exitcode), 3 reboot first, 4 drift, 5 refused,
6 journal damaged, 64 usage, 75 locked, 77 needs root;
130, 143, 129 ended by Ctrl-C, SIGTERM, SIGHUP"""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, at most 118 columns. argparse itself would import shutil to ask how wide it is."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=min(terminal_width(), 120) - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Paragraphs as they are written where that fits, else filled anew; what is indented stays as it is."""
        paragraphs = text.split("\n\n")
        return super()._fill_text("\n\n".join(_fitted(each, width) for each in paragraphs), width, indent)


def _fitted(paragraph: str, width: int) -> str:
    lines = paragraph.splitlines()
    if all(len(line) <= width for line in lines) or any(line.startswith(" ") for line in lines):
        return paragraph
    import textwrap  # where argparse does, too

    return textwrap.fill(paragraph, width, break_long_words=False, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that exits with 64 for wrong usage and knows the options that every command has."""

    def __init__(self, *, top: bool = False, common: bool = True, **words: Unpack[Words]) -> None:
        super().__init__(formatter_class=Formatter, allow_abbrev=False, **words)
        if common:
            add_common(self, default=None if top else argparse.SUPPRESS)

    def parse_known_args(  # type: ignore[override]  # argparse's overloads are for namespaces of other types
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, but a command speaks for itself: its parent would answer a mistyped option with its own."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"{_UNKNOWN}{' '.join(unknown)}")
        return known, unknown

    def print_help(self, file: object = None) -> None:
        """As argparse's, always on stdout: argparse itself would keep to itself that it could not be written."""
        out(self.format_help().removesuffix("\n"))

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where to read more; exit with 64 (EX_USAGE)."""
        self.print_usage(sys.stderr)
        meant = _meant(message, tuple(self._option_string_actions))
        self.exit(Exit.USAGE, f"vfiostate: {sentence(message)}\n  -> {meant}`{self.prog} --help` explains it.\n")


_UNKNOWN = "unrecognized arguments: "


def _meant(message: str, options: Sequence[str]) -> str:
    """The nearest of the choices that argparse names in its message, or of the options, where one was mistyped."""
    typed, found, choices = message.partition("invalid choice: '")[2].partition("' (choose from ")
    if found:
        options = [name.strip("'") for name in choices.rstrip(")").split(", ")]
    elif message.startswith(_UNKNOWN):
        typed = message.removeprefix(_UNKNOWN).split()[0].partition("=")[0]
    if not typed:
        return ""
    from difflib import get_close_matches  # paid for by a typing error only

    return "".join(f"Did you mean `{name}`? " for name in get_close_matches(typed, options, 1))


def terminal_width() -> int:
    """COLUMNS, or what the terminal says, or 80."""
    try:
        return int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        pass
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (AttributeError, OSError, ValueError):
        return 80


def add_common(parser: argparse.ArgumentParser, default: object) -> None:
    """The options of every command, before or after its name."""
    group = parser.add_argument_group("options of every command")
    place = group.add_mutually_exclusive_group()
    place.add_argument(
        "--simulate",
        metavar="DIR",
        default=default,
        help="work on the simulated machine that lives in DIR; where there is none yet, any command makes it",
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
        help="log to stderr each change and each event of the journal; -vv: also what the host is asked",
    )


class Version(argparse.Action):
    """--version: the installed version, looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it and exit."""
        from engine.version import VERSION

        out(f"vfiostate {VERSION}")
        parser.exit(Exit.DONE)


def build(*wanted: str) -> Parser:
    """The parser; only the wanted commands (all by default) know their options, the others just their names.

    Each command is a module of engine.cli with `configure(subparsers)`.
    """
    parser = Parser(prog="vfiostate", top=True, description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action=Version, nargs=0, help="show the version")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, summary in COMMANDS.items():
        if name in (wanted or COMMANDS):
            import_module(f"engine.cli.{name}").configure(subparsers)
        else:
            subparsers.add_parser(name, help=summary, common=False, add_help=False)
    return parser


def command_of(argv: Sequence[str]) -> str:
    """The command that a command line names: its first word that is neither an option nor one's value. Else empty."""
    words = iter(argv)
    for word in words:
        if not word.startswith("-"):
            return word
        if word in ("--simulate", "--root", "--config"):
            next(words, None)
    return ""
