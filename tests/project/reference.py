"""The reference part of README.md, made from the program: `python -m tests.project.reference` writes it anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from engine.documents.grammar import read
from engine.documents.keys import Told, tables
from engine.documents.words import ENDED, EXITS, STATES
from tests.project.support_table import support_table

README = Path(__file__).resolve().parents[2] / "README.md"


def command_reference() -> Iterator[str]:
    """The commands with their options."""
    for command in read().leaves():
        yield f"- **`{command.words}`** {command.summary}"
        for option in command.options:
            yield f"  - `{option.spelling}` {option.text}"


def state_reference() -> Iterator[str]:
    """The states."""
    yield "| state | reached when |"
    yield "|---|---|"
    for state, text in STATES.items():
        yield f"| `{state}` | {text} |"


def key_reference() -> Iterator[str]:
    """The keys of the configuration, a table for each of its tables."""
    for name, _, keys in tables():
        yield f"`{name}`" if name else "At the top of the file"
        yield ""
        yield "| key | meaning | default |"
        yield "|---|---|---|"
        for key in keys:
            yield f"| `{key.name}` | {key.text}{_choices(key)} | {_default(key)} |"
        yield ""


def _choices(key: Told) -> str:
    return f" One of {', '.join(f'`{choice}`' for choice in key.choices)}." if key.choices else ""


def _default(key: Told) -> str:
    return "required" if key.required else "not set" if key.default is None else f"`{key.default}`"


def exit_reference() -> Iterator[str]:
    """The exit codes."""
    yield "| code | meaning |"
    yield "|---|---|"
    for code, text in EXITS.items():
        yield f"| {int(code)} | {text} |"
    yield f"| {ENDED[0]} | {ENDED[1]} |"


PARTS = {
    "support": support_table,
    "states": state_reference,
    "commands": command_reference,
    "keys": key_reference,
    "exits": exit_reference,
}


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
