"""On which line a key of a TOML document stands. tomllib does not tell; this reads a document that tomllib accepts."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'', re.DOTALL)
_KEY_PART = re.compile(r'\s*("(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+)\s*(\.?)')


def locate(text: str) -> Mapping[Path, int]:
    """The line, counted from 1, of every table and of every key outside an inline table or a list of them."""
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for line, header, names in _statements(text):
        if not header:
            found[(*table, *names)] = line
            continue
        table = _indexed(names, counts, new=header == "[[")
        found[table] = line
        found.setdefault(tuple(names), line)
    return found


def line_of(found: Mapping[Path, int], path: Path) -> int | None:
    """The line of a path, or of the nearest thing around it that has one."""
    while path:
        if path in found:
            return found[path]
        path = path[:-1]
    return None


def _statements(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Line, `[` or `[[` or nothing, and the names, of each table header and each key."""
    position = 0
    while position < len(text):
        if text[position] in " \t\r\n":
            position += 1
        elif text[position] == "#":
            position = _end_of_line(text, position)
        else:
            header = "[[" if text.startswith("[[", position) else "[" if text[position] == "[" else ""
            names, after = _names(text, position + len(header))
            yield text.count("\n", 0, position) + 1, header, names
            position = _end_of_value(text, after)


def _names(text: str, position: int) -> tuple[list[str], int]:
    names: list[str] = []
    while match := _KEY_PART.match(text, position):
        quoted = match[1][0] in "\"'"
        names.append(str(tomllib.loads(f"k = {match[1]}")["k"]) if quoted else match[1])
        position = match.end()
        if not match[2]:
            break
    return names, max(position, 1)


def _end_of_value(text: str, position: int) -> int:
    """The end of the line on which the value ends: strings and brackets may hold line breaks."""
    depth = 0
    while position < len(text):
        character = text[position]
        if string := _STRING.match(text, position):
            position = string.end()
            continue
        if character == "#":
            position = _end_of_line(text, position)
            continue
        if character == "\n" and depth <= 0:
            break
        depth += (character in "[{") - (character in "]}")
        position += 1
    return position


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _indexed(names: list[str], counts: dict[Path, int], *, new: bool) -> Path:
    """The path of a header: each list of tables on the way stands for its last element so far."""
    path: Path = ()
    for place, name in enumerate(names, 1):
        path = (*path, name)
        if new and place == len(names):
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path
