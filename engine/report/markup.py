"""HTML made of pieces: what is no markup already is escaped, and what is not our own is redacted. There is no other way
to put text into a page, so that none can be forgotten."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable

from engine.console import clean

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*")
# What an attribute that is no text for people may hold.
_PLAIN = re.compile(r"[A-Za-z0-9 _.,#%():/-]*")
_SPOKEN = frozenset({"aria-label", "title"})
_VOID = frozenset({"meta", "br", "hr"})


class Markup(str):
    """HTML as it is to stand in the page."""

    __slots__ = ()


class Own(str):
    """Words of our own, such as a heading or the name of a state: escaped, and not redacted."""

    __slots__ = ()


class Writer:
    """Makes elements. `redact` takes out of a text what names a machine or a person."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact

    def text(self, piece: str) -> Markup:
        """A piece as HTML: markup as it is, anything else escaped."""
        if isinstance(piece, Markup):
            return piece
        # Bytes that were no UTF-8 are lone surrogates in a text, which no file in UTF-8 can hold.
        whole = piece.encode("utf-8", "backslashreplace").decode()
        return Markup(html.escape(clean(whole if isinstance(piece, Own) else self._redact(whole))))

    def marked(self, text: str) -> Markup:
        """A text in which what stands between backquotes is code."""
        parts = text.split("`")
        if len(parts) % 2 == 0:
            return self.text(text)
        kind = Own if isinstance(text, Own) else str
        return self.join(self.tag("code", kind(part)) if n % 2 else kind(part) for n, part in enumerate(parts))

    def join(self, pieces: Iterable[str]) -> Markup:
        """Pieces one after the other."""
        return Markup("".join(self.text(piece) for piece in pieces))

    def tag(self, name: str, *children: str, **attributes: str | int | float | None) -> Markup:
        """An element. `class_` is class, `aria_label` is aria-label; an attribute that is None is left out, one that is
        empty stands alone.

        Raises ValueError for an attribute that could hold anything but what belongs there.
        """
        given = ((_spelling(key), value) for key, value in attributes.items() if value is not None)
        opened = "".join((f"<{name}", *(self._attribute(key, value) for key, value in given), ">"))
        if name in _VOID:
            return Markup(opened)
        return Markup(f"{opened}{self.join(children)}</{name}>")

    def _attribute(self, key: str, value: str | int | float) -> str:
        if value == "":
            return f" {key}"
        text = f"{value:g}" if isinstance(value, float) else str(value)
        if key in _SPOKEN:
            text = self.text(value if isinstance(value, str) else text)
        elif not _PLAIN.fullmatch(text):
            raise ValueError(f"the attribute {key} holds {text!r}")
        return f' {key}="{text}"'


def _spelling(key: str) -> str:
    words = key.rstrip("_").split("_")
    if not all(_NAME.fullmatch(word) for word in words):
        raise ValueError(f"no attribute: {key!r}")
    return "-".join(words)
