"""Manual pages in the macros of man(7), as groff_man(7) and mandoc(1) both take them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# `\-` is the minus of the keyboard, to be copied and searched for; a plain one becomes a hyphen. See groff_char(7).
_SPECIAL = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}


def escape(text: str) -> str:
    """Text as it is to be read; what is not ASCII by its number, whatever the page's encoding is taken for."""
    return "".join(
        _SPECIAL.get(character, character if character.isascii() else rf"\[u{ord(character):04X}]")
        for character in text
    )


def words(text: str) -> str:
    """Running text: what stands in backquotes is set in bold. Lines are joined."""
    parts = re.split(r"`([^`]+)`", " ".join(text.split()))
    return "".join(bold(part) if place % 2 else escape(part) for place, part in enumerate(parts))


def bold(text: str) -> str:
    """Set in bold: what is typed as it stands."""
    return rf"\fB{escape(text)}\fR"


def italic(text: str) -> str:
    """Set in italics, or underlined: what is put in."""
    return rf"\fI{escape(text)}\fR"


def line(text: str) -> str:
    """A line of text that may begin with what roff would take for a request."""
    return rf"\&{text}" if text.startswith((".", "'")) else text


def title(name: str, section: int, date: str, version: str, manual: str) -> Iterator[str]:
    """The page's first lines: its title, and that no word is parted; what is typed must be found as it is."""
    yield f'.TH {name.upper()} {section} {date} "vfiostate {version}" "{manual}"'
    yield ".nh"


def section(name: str) -> str:
    """A section's heading."""
    return f'.SH "{escape(name)}"'


def subsection(name: str) -> str:
    """The heading of a part of a section."""
    return f'.SS "{escape(name)}"'


def paragraphs(text: str, *, first: bool = False) -> Iterator[str]:
    """Running text, its paragraphs parted by empty lines; `first`: right below a heading."""
    for number, each in enumerate(re.split(r"\n\s*\n", text.strip())):
        if each.strip():
            if number or not first:
                yield ".PP"
            yield line(words(each))


def entry(term: str, text: str, more: Iterable[str] = ()) -> Iterator[str]:
    """A term (already set) and what it means, indented; more paragraphs below it."""
    yield from (".TP", line(term), line(words(text)))
    for each in more:
        yield from (".IP", line(words(each)))


def verbatim(lines: Iterable[str], *, first: bool = False) -> Iterator[str]:
    """Lines as they are, indented; `first` as above."""
    yield from (() if first else (".PP",))
    yield from (".RS 4", ".nf", *(line(escape(each)) for each in lines), ".fi", ".RE")


def entries(table: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A table of terms, in bold, and what they mean."""
    for term, text in table:
        yield from entry(bold(term), text)


def spelling(names: Iterable[str], value: str) -> str:
    """An option as it is typed: its names in bold, what is put in in italics."""
    return " ".join(filter(None, (", ".join(bold(name) for name in names), italic(value) if value else "")))


def sentence(text: str) -> str:
    """Words of the program as a sentence."""
    return f"{text[0].upper()}{text[1:]}."
