"""The reference part of README.md, made from the program: `python -m tests.project.reference` writes it anew."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from engine.cli.parser import build
from engine.config.commented import table_kind, toml
from engine.config.decode import encode_value, hints, required, table_name, without_none
from engine.config.keys import KEYS
from journal.errors import Exit
from tests.project.support_table import support_table

README = Path(__file__).resolve().parents[2] / "README.md"

EXITS = {
    Exit.DONE: "done",
    Exit.FAILED: "failed",
    Exit.PENDING: "`plan --detailed-exitcode`: a step is left to take",
    Exit.REBOOT: "reboot first",
    Exit.DRIFT: "drift: the host is not as the journal says, and it was not us",
    Exit.REFUSED: "refused: the host cannot or must not be set up so; nothing was changed",
    Exit.DAMAGED: "the journal is damaged or cannot be used; nothing was written to it",
    Exit.USAGE: "wrong usage, or a mistake in the configuration",
    Exit.LOCKED: "another vfiostate is at work on this host",
    Exit.NOT_ROOT: "needs root",
}


def commands() -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Every command that does something: its words, its summary and its parser."""
    yield from _below(build(), "vfiostate")


def _below(parser: argparse.ArgumentParser, words: str) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, inner in action.choices.items():
                below = list(_below(inner, f"{words} {name}"))
                yield from below or [(f"{words} {name}", summaries[name], inner)]


def options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The options and arguments of a command, without those that every command has."""
    common = {"help", "simulate", "root", "config", "verbose"}
    yield from (action for action in parser._actions if action.dest not in common)


def spelling(action: argparse.Action) -> str:
    """An option as it is typed."""
    value = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else "")
    value = str(value) if action.nargs != 0 else ""
    return " ".join(filter(None, (", ".join(action.option_strings), value)))


def command_reference() -> Iterator[str]:
    """The commands with their options."""
    for words, summary, parser in commands():
        yield f"- **`{words}`** {summary}"
        for action in options(parser):
            yield f"  - `{spelling(action)}` {action.help}"


def key_reference() -> Iterator[str]:
    """The keys of the configuration, a table for each of its tables."""
    for kind, keys in KEYS.items():
        yield f"`{table_name(kind)}`" if table_name(kind).startswith("[") else "At the top of the file"
        yield ""
        yield "| key | meaning | default |"
        yield "|---|---|---|"
        for each in dataclasses.fields(kind):
            if table_kind(kind, each.name) is None:
                yield f"| `{each.name}` | {keys[each.name].text}{_choices(kind, each.name)} | {_default(kind, each)} |"
        yield ""


def _choices(kind: type, name: str) -> str:
    values = getattr(without_none(hints(kind)[name]), "__members__", None)
    return f" One of {', '.join(f'`{value}`' for value in values.values())}." if values else ""


def _default(kind: type, each: dataclasses.Field[object]) -> str:
    if each.name in required(kind):
        return "required"
    return "not set" if each.default is None else f"`{toml(encode_value(each.default))}`"


def exit_reference() -> Iterator[str]:
    """The exit codes."""
    yield "| code | meaning |"
    yield "|---|---|"
    for code in Exit:
        yield f"| {int(code)} | {EXITS[code]} |"
    yield "| 130, 143, 129 | ended by Ctrl-C, SIGTERM, SIGHUP: between two actions, never within one |"


PARTS = {"support": support_table, "commands": command_reference, "keys": key_reference, "exits": exit_reference}


def with_reference(text: str) -> str:
    """The README's text with every reference part as the program has it now."""
    for name, part in PARTS.items():
        made = "\n".join(part()).strip("\n") + "\n"
        pattern = rf"(<!-- {name}: made by tests/project/reference.py -->\n).*?(<!-- end of {name} -->)"
        text, found = re.subn(pattern, lambda match, made=made: f"{match[1]}{made}{match[2]}", text, flags=re.DOTALL)  # type: ignore[misc]
        assert found == 1, f"README.md has {found} places for {name}"
    return text


if __name__ == "__main__":
    README.write_text(with_reference(README.read_text(encoding="utf-8")), encoding="utf-8")
