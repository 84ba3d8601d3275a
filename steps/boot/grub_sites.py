"""Where words can be put into a shell variable's assignment: candidates only; which one counts is proved with sh."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from steps.insertion import Insertion

_ENDS_WORD = frozenset(b" \t\n;&|()<>")
_ASSIGNMENT = rb"(?:^|[\s;&|({])%s="


@dataclass(frozen=True, slots=True)
class Site:
    """A place in a file where words become part of the variable's value: before the byte at `offset`, between `lead`
    and `tail`. `path` is the file's own path, not a symlink's."""

    path: str
    offset: int
    lead: bytes
    tail: bytes

    def insertion(self, words: tuple[str, ...]) -> Insertion:
        """The edit that puts these words there, as one run."""
        return Insertion(self.path, self.offset, self.lead + " ".join(words).encode() + self.tail)


def sites(path: str, content: bytes, variable: str) -> Iterator[Site]:
    """Candidate places in a file, the likeliest first: later assignments before earlier ones, for each before its
    closing quote, then behind its word as a quoted run of its own."""
    pattern = re.compile(_ASSIGNMENT % re.escape(variable).encode(), re.MULTILINE)
    for match in reversed(list(pattern.finditer(content))):
        yield from _in_assignment(path, content, match.end())


def appended_line(path: str, content: bytes, variable: str) -> Site:
    """The last resort: a line at the end of the file that adds to the variable, whatever made its value."""
    newline = b"" if not content or content.endswith(b"\n") else b"\n"
    name = variable.encode()
    return Site(path, len(content), newline + name + b'="${' + name + b"-} ", b'"\n')


def _in_assignment(path: str, content: bytes, start: int) -> Iterator[Site]:
    end, closing = _word_end(content, start)
    if end is None:
        return
    if closing is not None:
        spaced = content[closing - 1 : closing] in {b'"', b"'", b" ", b"\t", b"\n"} and closing > start
        yield Site(path, closing, b"" if spaced else b" ", b"")
    # A carriage return ends the line of a CRLF file; the shell keeps it in the value, so the run goes before it.
    while end > start and content[end - 1 : end] == b"\r":
        end -= 1
    yield Site(path, end, b'" ' if end > start else b'"', b'"')


def _word_end(content: bytes, start: int) -> tuple[int | None, int | None]:
    """Where the shell word that begins at `start` ends, and where its last quote closes if nothing follows it.

    None, None for a quote that is never closed. Substitutions are not followed: sh judges the result.
    """
    at, closing = start, None
    while at < len(content):
        byte = content[at]
        if byte in b"\"'":
            close = _closing(content, at)
            if close is None:
                return None, None
            at, closing = close + 1, close
            continue
        if byte == ord("\\"):
            at, closing = at + 2, None
            continue
        if byte in _ENDS_WORD:
            break
        if byte != ord("\r"):
            closing = None
        at += 1
    return min(at, len(content)), closing


def _closing(content: bytes, opening: int) -> int | None:
    """The offset of the quote that closes the one at `opening`."""
    if content[opening] == ord("'"):
        at = content.find(b"'", opening + 1)
        return None if at < 0 else at
    at = opening + 1
    while at < len(content):
        if content[at] == ord("\\"):
            at += 2
            continue
        if content[at] == ord('"'):
            return at
        at += 1
    return None
