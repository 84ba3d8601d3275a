"""From plain values (TOML, JSON) to the configuration's dataclasses and back: generic over their fields."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

from engine.config.keys import KEYS
from engine.config.lines import Path
from journal.events import Json

_NAMES: Mapping[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something in the document that is not understood: where (keys, and numbers from 0 in lists) and what."""

    path: Path
    text: str


@dataclass(slots=True)
class Decoder:
    """Turns tables into dataclasses and collects the mistakes: all of them, not the first."""

    mistakes: list[Mistake] = field(default_factory=list)

    def table(self, kind: type, value: object, path: Path) -> object | None:
        """A dataclass of that kind, None where there was a mistake."""
        if not isinstance(value, dict):
            return self._wrong(path, f"expected a table, found {_found(value)}")
        before = len(self.mistakes)
        fields = hints(kind)
        for key in value:
            if key not in fields:
                self._wrong((*path, key), _unknown(kind, str(key)))
        taken = {
            key: self._field(kind, key, hint, value[key], (*path, key)) for key, hint in fields.items() if key in value
        }
        for missing in required(kind) - set(value):
            self._wrong((*path, missing), f"missing: {KEYS[kind][missing].text.removesuffix('.')}")
        return kind(**taken) if len(self.mistakes) == before else None

    def _field(self, kind: type, key: str, hint: object, value: object, path: Path) -> object:
        inner = without_none(hint)
        element = element_of(inner)
        if element is None:
            return self._value(kind, key, inner, value, path)
        if not isinstance(value, list):
            return self._wrong(path, f"expected a list, found {_found(value)}")
        return tuple(self._value(kind, key, element, item, (*path, number)) for number, item in enumerate(value))

    def _value(self, kind: type, key: str, hint: type, value: object, path: Path) -> object:
        if dataclasses.is_dataclass(hint):
            return self.table(hint, value, path)
        if issubclass(hint, StrEnum):
            return self._choice(hint, value, path)
        if hint is float and type(value) is int:
            value = float(value)
        if type(value) is not hint:
            return self._wrong(path, f"expected {_NAMES[hint]}, found {_found(value)}")
        if isinstance(value, str) and any(ord(character) < 32 or ord(character) == 127 for character in value):
            return self._wrong(path, "expected text without control characters")
        try:
            return KEYS[kind][key].check(value)
        except ValueError as error:
            return self._wrong(path, f"{error}, found {_found(value)}")

    def _choice(self, hint: type[StrEnum], value: object, path: Path) -> object:
        if value in list(hint):
            return hint(str(value))
        return self._wrong(path, f"expected one of {', '.join(hint)}, found {_found(value)}{_nearest(value, hint)}")

    def _wrong(self, path: Path, text: str) -> object:
        self.mistakes.append(Mistake(path, text))
        return None


def encode_value(value: object) -> Json:
    """A configuration value as JSON has it: dataclasses as objects, tuples as lists, enums as their text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, tuple):
        return [encode_value(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {each.name: encode_value(getattr(value, each.name)) for each in dataclasses.fields(value)}
    raise TypeError(f"not a configuration value: {value!r}")


@cache
def hints(kind: type) -> Mapping[str, object]:
    """The fields of a dataclass with their types."""
    return typing.get_type_hints(kind)


@cache
def required(kind: type) -> frozenset[str]:
    """The fields of a dataclass that have no default."""
    none = dataclasses.MISSING
    return frozenset(f.name for f in dataclasses.fields(kind) if f.default is none and f.default_factory is none)


def without_none(hint: object) -> type:
    """`T` of `T | None`, the type itself otherwise."""
    if isinstance(hint, types.UnionType):
        hint = next(each for each in typing.get_args(hint) if each is not type(None))
    return typing.cast(type, hint)


def element_of(hint: type) -> type | None:
    """`T` of `tuple[T, ...]`, None for anything else."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else None


def _unknown(kind: type, key: str) -> str:
    near = _nearest(key, KEYS[kind])
    if not near:
        home = next((table for table, keys in KEYS.items() if key in keys), None)
        near = f"; it belongs into {table_name(home)}" if home else f"; known here: {', '.join(KEYS[kind])}"
    return f"unknown key{near}"


def table_name(kind: type) -> str:
    """How the table of a dataclass is written in TOML."""
    for home, fields in KEYS.items():
        for name in fields:
            inner = without_none(hints(home)[name])
            if kind in (inner, element_of(inner)):
                parent = table_name(home).strip("[]") if "guest" in table_name(home) else ""
                dotted = f"{parent}.{name}" if parent else name
                return f"[{dotted}]" if inner is kind else f"[[{dotted}]]"
    return "the top of the file"


def _nearest(word: object, words: object) -> str:
    near = difflib.get_close_matches(str(word), [str(each) for each in typing.cast("list[str]", words)], 1)
    return f" (did you mean {near[0]}?)" if near else ""


def _found(value: object) -> str:
    name = _NAMES.get(type(value), type(value).__name__)
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return f"{name} ({text if len(text) <= 60 else text[:57] + '…'})" if not isinstance(value, dict) else name
