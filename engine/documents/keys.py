"""The keys of the configuration as they are told: by table, with type, choices and default."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from engine.config.commented import table_kind, toml
from engine.config.decode import element_of, encode_value, hints, required, table_name, without_none
from engine.config.keys import KEYS


@dataclass(frozen=True, slots=True)
class Told:
    """One key: its name, its meaning, its type in words, the values it may have (none: any of the type), its default
    as TOML (None: not set) and whether it must be there."""

    name: str
    text: str
    kind: str
    choices: tuple[str, ...]
    default: str | None
    required: bool
    example: str


def tables() -> Iterator[tuple[str, str, tuple[Told, ...]]]:
    """Every table: its name as TOML writes it (empty: the top of the file), its meaning, its keys."""
    meanings = {table_kind(home, name): key.text for home, keys in KEYS.items() for name, key in keys.items()}
    for kind in KEYS:
        name = table_name(kind)
        fields = [each for each in dataclasses.fields(kind) if table_kind(kind, each.name) is None]
        told = tuple(_told(kind, each) for each in fields)
        yield name if name.startswith("[") else "", meanings.get(kind, ""), told


def _told(kind: type, each: dataclasses.Field[object]) -> Told:
    key = KEYS[kind][each.name]
    hint = without_none(hints(kind)[each.name])
    members = getattr(hint, "__members__", {})
    must = each.name in required(kind)
    default = None if must or each.default is None else toml(encode_value(each.default))
    return Told(each.name, key.text, _kind(hint), tuple(map(str, members.values())), default, must, key.example)


def _kind(hint: type) -> str:
    element = element_of(hint)
    if element is not None:
        return f"list of {_kind(element)}s"
    return {bool: "true or false", int: "whole number", float: "number"}.get(hint, "string")
