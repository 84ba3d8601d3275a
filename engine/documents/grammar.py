"""The command line as data: every command and option with its words, read from the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from engine.cli.common import STATES
from engine.cli.parser import build
from journal.events import Kind

# What argparse adds by itself, and parser.add_common to each command.
COMMON = frozenset({"help", "simulate", "root", "config", "verbose"})
SIMULATED = ("--simulate", "--root")


class UndocumentedError(Exception):
    """A command or an option has no words."""


class Values(Enum):
    """What may follow an option, for a shell to offer."""

    NONE = auto()
    ANY = auto()
    CHOICES = auto()
    FILES = auto()
    DIRECTORIES = auto()
    ADDRESSES = auto()
    ACCOUNTS = auto()
    MACHINES = auto()


# By the name that the parser gives the value. What is not here is typed, not offered.
_VALUES = {
    "DIR": Values.DIRECTORIES,
    "FILE": Values.FILES,
    "PATH": Values.FILES,
    "ADDR": Values.ADDRESSES,
    "ACCOUNT": Values.ACCOUNTS,
    "NAME|FILE": Values.MACHINES,
}


# What the parser takes by a function of its own, by the name of the value.
_NAMED = {"STATE": STATES, "KIND": tuple(kind.value for kind in Kind)}


@dataclass(frozen=True, slots=True)
class Option:
    """An option (`names` as they are typed) or an argument (no names), with the name of its value and its words."""

    names: tuple[str, ...]
    value: str
    text: str
    choices: tuple[str, ...] = ()
    repeated: bool = False

    @property
    def spelling(self) -> str:
        """As it is typed: `-o, --output FILE`."""
        return " ".join(filter(None, (", ".join(self.names), self.value)))

    @property
    def values(self) -> Values:
        """What may follow it. `PATH[,KEY=VALUE...]` begins with a path: a shell offers the first part."""
        if not self.value:
            return Values.NONE
        if self.choices:
            return Values.CHOICES
        return _VALUES.get(self.value.partition("[")[0], Values.ANY)


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its words (`vfiostate journal show`), what it says of itself, its options, the commands below it."""

    words: str
    summary: str
    text: str
    example: tuple[str, ...]
    options: tuple[Option, ...]
    below: tuple[Command, ...]

    @property
    def path(self) -> str:
        """Its words without the program's."""
        return self.words.partition(" ")[2]

    @property
    def name(self) -> str:
        """Its last word."""
        return self.words.rpartition(" ")[2]

    def all(self) -> Iterator[Command]:
        """It and every command below it."""
        yield self
        for each in self.below:
            yield from each.all()

    def leaves(self) -> Iterator[Command]:
        """Every command that does something by itself."""
        yield from (each for each in self.all() if not each.below)


def read() -> Command:
    """The whole program. Raises UndocumentedError for what has no words."""
    parser = build()
    return _command(parser, "vfiostate", " ".join((parser.description or "").split()))


def common() -> tuple[Option, ...]:
    """The options of every command."""
    return tuple(_options(build(), lambda dest: dest in COMMON))


def _command(parser: argparse.ArgumentParser, words: str, summary: str) -> Command:
    if not summary:
        raise UndocumentedError(f"the command `{words}` has no summary")
    _, _, text = (parser.description or "").partition("\n\n")
    example = tuple(line.strip() for line in (parser.epilog or "").splitlines() if line.startswith("  "))
    return Command(
        words,
        summary,
        text,
        example,
        tuple(_options(parser, lambda dest: dest not in COMMON)),
        tuple(_below(parser, words)),
    )


def _below(parser: argparse.ArgumentParser, words: str) -> Iterator[Command]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, inner in action.choices.items():
                yield _command(inner, f"{words} {name}", summaries.get(name, ""))


def _options(parser: argparse.ArgumentParser, wanted: object) -> Iterator[Option]:
    assert callable(wanted)
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction) and wanted(action.dest):
            yield _option(parser, action)


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> Option:
    choices = tuple(str(choice) for choice in action.choices or ())
    value = str(action.metavar or (f"{{{','.join(choices)}}}" if choices else "")) if action.nargs != 0 else ""
    if not action.help or action.help is argparse.SUPPRESS:
        name = ", ".join(action.option_strings) or value or action.dest
        raise UndocumentedError(f"{name} of `{parser.prog}` has no words")
    repeated = isinstance(action, argparse._AppendAction | argparse._CountAction) or action.nargs in ("*", "+")
    return Option(tuple(action.option_strings), value, action.help, _NAMED.get(value, choices), repeated)
