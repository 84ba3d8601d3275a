"""Boot entries of the Boot Loader Specification, type 1: loader/entries/*.conf, read, and put into the menu's order.

Source: UAPI.1 Boot Loader Specification, "Type #1 Boot Loader Entries" and "Sorting"; UAPI.10 Version Format.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from steps import cmdline

_COUNTER = re.compile(r"\+(\d+)(?:-\d+)?$")
_PARTS = re.compile(r"\d+|[A-Za-z]+|[~^-]")


@dataclass(frozen=True, slots=True)
class Type1:
    """One entry: its id (the file's name, without a boot counter), its keys in order of appearance, and whether its
    boot counter has run out. `options` are the words of all its options lines."""

    id: str
    keys: tuple[tuple[str, str], ...]
    bad: bool = False

    def value(self, key: str) -> str | None:
        """The value of a key; the last one where it is there more than once."""
        return next((value for name, value in reversed(self.keys) if name == key), None)

    @property
    def options(self) -> tuple[str, ...]:
        """The words that the entry gives the kernel; several `options` lines are one command line."""
        joined = " ".join(value for name, value in self.keys if name == "options")
        return cmdline.split(joined.encode("utf-8", "surrogateescape"))

    @property
    def title(self) -> str:
        """What the menu shows."""
        version = self.value("version")
        title = self.value("title") or self.id
        return f"{title} ({version})" if version else title


def parse(name: str, content: bytes) -> Type1:
    """The entry in a file of that name. A line is a key and the rest of it; `#` begins a comment line."""
    stem = name.removesuffix(".conf")
    counter = _COUNTER.search(stem)
    lines = (line.strip() for line in cmdline.text(content).splitlines())
    pairs = (line.split(None, 1) for line in lines if line and not line.startswith("#"))
    keys = tuple((pair[0], pair[1] if len(pair) > 1 else "") for pair in pairs)
    return Type1(_COUNTER.sub("", stem) + ".conf", keys, counter is not None and int(counter[1]) == 0)


def ordered(entries: Iterable[Type1]) -> tuple[Type1, ...]:
    """The menu's order: entries with a sort key first, by it, then machine, then newest version; the others by their
    names, newest first; whatever has used up its boot counter last."""
    found = sorted(entries, key=lambda entry: _newest_first(entry.id), reverse=True)
    found.sort(key=lambda entry: _newest_first(entry.value("version") or ""), reverse=True)
    found.sort(key=lambda entry: (entry.value("sort-key") or "", entry.value("machine-id") or ""))
    keyed = [entry for entry in found if entry.value("sort-key") is not None]
    others = [entry for entry in found if entry.value("sort-key") is None]
    others.sort(key=lambda entry: _newest_first(entry.id), reverse=True)
    return tuple(sorted((*keyed, *others), key=lambda entry: entry.bad))


def chosen(entries: Sequence[Type1], default: str | None) -> Type1 | None:
    """The entry that a `default` pattern chooses, of entries in the menu's order; the first where it chooses none."""
    if default is not None:
        wanted = default.lower()
        names = (wanted, f"{wanted}.conf")
        for entry in entries:
            if any(fnmatch.fnmatchcase(entry.id.lower(), name) for name in names):
                return entry
    return entries[0] if entries else None


def _newest_first(text: str) -> list[tuple[int, int, str]]:
    """A key by which versions compare: numbers by their value and over letters, `~` below the end, `^` above it."""
    order = {"~": -2, "-": 0, "^": 1}
    parts = (part for part in _PARTS.findall(text))
    found = [(3, int(each), "") if each.isdigit() else (order.get(each, 2), 0, each) for each in parts]
    return [*found, (-1, 0, "")]
