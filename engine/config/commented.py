"""The configuration as a commented file: every key with its meaning and default, what is set uncommented."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator

from engine.config.decode import element_of, encode_value, hints, required, without_none
from engine.config.keys import KEYS
from journal.events import Json
from steps.config import Config

_HEAD = """\
# The configuration of vfiostate: which PCI devices go to a guest, and how. TOML; see https://toml.io
# A key that is commented out has the value shown, or is not set where an example is shown.
# After a change: vfiostate plan
"""

_WIDTH = 110


def write_commented(config: Config) -> str:
    """The text of a configuration file that says exactly this, with every key explained."""
    return _HEAD + "\n".join(_table(Config, config, "")) + "\n"


def toml(value: Json) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return '"' + "".join(_escaped(character) for character in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    raise TypeError(f"no TOML value: {value!r}")


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return f"\\u{ord(character):04x}" if ord(character) < 32 or ord(character) == 127 else character


def _table(kind: type, value: object | None, name: str, *, explained: bool = True) -> Iterator[str]:
    """A table's own keys first, its tables after: TOML has no way back. A `value` of None: all as a comment;
    not `explained`: only what is set, since the table before it has explained the keys."""
    fields = dataclasses.fields(kind)
    tables = [each for each in fields if table_kind(kind, each.name)]
    for each in fields:
        if each not in tables and (explained or not _is_unset(kind, each, value)):
            yield from _key(kind, each, value, explained=explained)
    for each in tables:
        dotted = f"{name}.{each.name}" if name else each.name
        yield from _tables(kind, each.name, getattr(value, each.name, None), dotted)


def _tables(parent: type, field: str, value: object, name: str) -> Iterator[str]:
    kind = table_kind(parent, field)
    assert kind is not None
    header = f"[[{name}]]" if element_of(without_none(hints(parent)[field])) else f"[{name}]"
    yield ""
    yield from _comment(KEYS[parent][field].text)
    values = list(value) if isinstance(value, tuple) else [] if value is None else [value]
    for number, item in enumerate(values):
        yield from ("",) * (number > 0)
        yield header
        yield from _table(kind, item, name, explained=number == 0)
    if not values:
        yield f"# {header}"
        yield from _table(kind, None, name)


def _key(kind: type, each: dataclasses.Field[object], value: object | None, *, explained: bool) -> Iterator[str]:
    key = KEYS[kind][each.name]
    if explained:
        yield from ("", *_comment(key.text + _choices(kind, each.name)))
    unset = _is_unset(kind, each, value)
    current = encode_value(_default(each) if value is None else getattr(value, each.name))
    shown = key.example if unset and current in (None, []) and key.example else toml(current)
    yield f"{'# ' if unset else ''}{each.name} = {shown}"


def _is_unset(kind: type, each: dataclasses.Field[object], value: object | None) -> bool:
    return value is None or (each.name not in required(kind) and getattr(value, each.name) == _default(each))


def _default(each: dataclasses.Field[object]) -> object:
    return None if each.default is dataclasses.MISSING else each.default


def _choices(kind: type, name: str) -> str:
    inner = without_none(hints(kind)[name])
    values = getattr(inner, "__members__", None)
    return f" One of: {', '.join(str(value) for value in values.values())}." if values else ""


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False):
        yield f"# {line}"


def table_kind(kind: type, name: str) -> type | None:
    """The dataclass that a field holds, or a list of; None for a plain value."""
    inner = without_none(hints(kind)[name])
    inner = element_of(inner) or inner
    return inner if dataclasses.is_dataclass(inner) else None
