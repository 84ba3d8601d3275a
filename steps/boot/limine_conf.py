"""limine.conf: its options and entries, with the places where an option's value ends.

Sources: limine-bootloader/limine, CONFIG.md and common/lib/config.c (init_config, create_menu_tree, config_get_value):
of an option that is there twice the first counts; `#` makes no comment behind a value, a line is only passed over for
having no name that is looked for; macros are replaced everywhere, and the last of two with one name counts. A backslash
at the end of a line joins it with the next in newer versions alone, so such a file is not understood here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from steps import cmdline

_MACRO = re.compile(rb"\$\{([^}]*)\}=(.*)")
_USE = re.compile(rb"\$\{([^}]*)\}")
_TITLE = re.compile(rb"(/+)(\+?) *(.*)")
_OPTION = re.compile(rb"([^:]*):[ \t]*(.*)")


class ConfError(ValueError):
    """What of the file is not understood."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option: its name in lower case, its value with the macros replaced, and where the value ends in the file."""

    name: str
    value: bytes
    end: int

    @property
    def text(self) -> str:
        """The value as text."""
        return cmdline.text(self.value)


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """An entry: how deep in the menu it lies (1: at the top), and whether a directory of that title shows what is in it
    from the start; `path` are the titles from the top down to its own."""

    depth: int
    expanded: bool
    path: tuple[str, ...]
    options: tuple[Option, ...] = ()
    directory: bool = False

    @property
    def title(self) -> str:
        """Its titles, as `default_entry` has them."""
        return "/".join(self.path)

    def option(self, *names: str) -> Option | None:
        """The first option of the first of these names that is there."""
        return first(self.options, *names)

    def values(self, name: str) -> tuple[str, ...]:
        """Every value of an option."""
        return tuple(each.text for each in self.options if each.name == name)


@dataclass(frozen=True, slots=True)
class Conf:
    """The file: the options that are not an entry's, and the entries in their order."""

    options: tuple[Option, ...]
    entries: tuple[MenuEntry, ...]

    def value(self, name: str) -> str | None:
        """An option of the whole."""
        found = first(self.options, name)
        return found.text if found is not None else None


def first(options: tuple[Option, ...], *names: str) -> Option | None:
    """The first option of the first of these names that is there."""
    return next((each for name in names for each in options if each.name == name), None)


def parse(content: bytes, macros: Mapping[bytes, bytes]) -> Conf:
    """Read the file; `macros` are those that Limine defines by itself. Raises ConfError."""
    lines = tuple(_lines(content))
    given = {**macros, **dict(_macros(lines))}
    sections: list[tuple[bytes, list[Option]]] = [(b"", [])]
    for number, end, line in lines:
        if line.startswith(b"/"):
            sections.append((_replaced(line, given, number), []))
        elif (found := _OPTION.fullmatch(line)) and line[:1] != b"#" and not _MACRO.fullmatch(line):
            sections[-1][1].append(Option(found[1].decode("ascii", "replace").lower(), found[2], end))
    entries = tuple(_entries(sections[1:], given))
    options = tuple(_filled(each, given) for each in sections[0][1])
    # A file that begins with an entry is not cut off before it: any option in it counts for the whole too.
    whole = tuple(each for entry in entries for each in entry.options) if lines and lines[0][2][:1] == b"/" else ()
    return Conf((*options, *whole), entries)


def _lines(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Every line without the white space around it: its number, and where it ends in the file."""
    if b"\0" in content:
        raise ConfError("it holds a byte of 0, so it is no text")
    start = 0
    for number, raw in enumerate(content.split(b"\n"), 1):
        line = raw.rstrip(b"\r")
        if line.endswith(b"\\"):
            raise ConfError(f"line {number} ends in a backslash, which not every version of Limine takes the same way")
        if b"\r" in line:
            raise ConfError(f"line {number} has a carriage return within")
        yield number, start + len(line.rstrip(b" \t")), line.strip(b" \t")
        start += len(raw) + 1


def _macros(lines: tuple[tuple[int, int, bytes], ...]) -> Iterator[tuple[bytes, bytes]]:
    for number, _, line in lines:
        if line.startswith(b"${"):
            found = _MACRO.fullmatch(line)
            if found is None:
                raise ConfError(f"line {number} begins with a macro, and is not understood")
            yield found[1], found[2]


def _replaced(value: bytes, macros: Mapping[bytes, bytes], number: int = 0) -> bytes:
    """A text with every macro in it replaced; one that is not defined leaves nothing."""
    if b"${" in _USE.sub(b"", value):
        where = f"line {number}" if number else "an option"
        raise ConfError(f"{where} has a `${{` that no `}}` ends: {cmdline.text(value)!r}")
    return _USE.sub(lambda match: macros.get(match[1], b""), value)


def _filled(option: Option, macros: Mapping[bytes, bytes]) -> Option:
    return Option(option.name, _replaced(option.value, macros), option.end)


def _entries(sections: list[tuple[bytes, list[Option]]], macros: Mapping[bytes, bytes]) -> Iterator[MenuEntry]:
    path: tuple[str, ...] = ()
    depths = [len(line) - len(line.lstrip(b"/")) for line, _ in sections]
    for (line, options), depth, following in zip(sections, depths, [*depths, 0][1:], strict=True):
        found = _TITLE.fullmatch(line)
        if found is None or depth > len(path) + 1:
            raise ConfError(f"the entry {cmdline.text(line)!r} lies in no directory")
        path = (*path[: depth - 1], cmdline.text(found[3]))
        filled = tuple(_filled(each, macros) for each in options)
        yield MenuEntry(depth, bool(found[2]), path, filled, following > depth)
