"""Every edit of a file as a diff, with what became of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.report.markup import Markup, Own, Writer
from engine.report.material import Material
from engine.setup import Deed
from journal.before import Where
from journal.errors import sentence
from journal.events import Event, Kind

# Lines of a diff that are shown; a whole generated file helps nobody.
LONGEST = 400


def edits(h: Writer, material: Material) -> Iterator[Markup]:
    """Each edit in the order in which it was begun, and each merge of the way back."""
    found = False
    for event in material.events:
        if event.kind is not Kind.INTENT:
            continue
        deed = material.setup.deeds.get(event.seq)
        if deed is not None and deed.planned:
            found = True
            yield from _edit(h, material, deed)
        elif event.data.get("undoes") and event.data.get("diff"):
            found = True
            yield from _merge(h, material, event)
    if not found:
        yield h.tag("p", Own("No file was edited."))


def _edit(h: Writer, material: Material, deed: Deed) -> Iterator[Markup]:
    (path,) = deed.planned
    before = deed.before[path]
    verb = "Removed" if deed.planned[path] is None else "Made" if before.get("sha256") is None else "Edited"
    yield h.tag("h3", Own(f"{verb} "), h.tag("code", path))
    yield h.tag("p", h.marked(Own(f"For `{deed.target.value}`, event {deed.seq}: {_fate(deed)}.")), class_="soft")
    if deed.action.get("why"):
        yield h.tag("p", sentence(str(deed.action["why"])))
    old = _content(material, before)
    new = b"" if deed.planned[path] is None else material.content(str(deed.planned[path]))
    if old is None or new is None:
        yield h.tag("p", Own("Its content cannot be shown: it is not in the journal itself."))
    else:
        yield block(h, diff(path, old, new), f"Diff of {path}, event {deed.seq}")


def _merge(h: Writer, material: Material, event: Event) -> Iterator[Markup]:
    undone = event.data["undoes"]
    deed = material.setup.deeds.get(undone) if isinstance(undone, int) else None
    paths = ", ".join(deed.before) if deed is not None else ""
    lines = event.data["diff"]
    yield h.tag("h3", Own("Taken back beside a change of yours: "), h.tag("code", paths))
    yield h.tag("p", Own(f"Event {event.seq}, the undo of event {undone}."), class_="soft")
    yield block(
        h, [str(line) for line in lines] if isinstance(lines, list) else [], f"Diff of {paths}, event {event.seq}"
    )


def _fate(deed: Deed) -> str:
    done = "no outcome is recorded" if deed.result is None else deed.result.replace("_", " ")
    return done if deed.undone is None else f"{done}; taken back: {deed.undone.replace('_', ' ')}"


def _content(material: Material, record: Mapping[str, Any]) -> bytes | None:
    sha = record.get("sha256")
    if sha is None:
        return b""
    return material.content(str(sha)) if record.get("where") == Where.BLOB else None


def diff(path: str, old: bytes, new: bytes) -> list[str]:
    """A unified diff, cut where it is long; bytes that are not UTF-8 are shown escaped."""
    was, now = (content.decode("utf-8", "backslashreplace").splitlines() for content in (old, new))
    lines = list(
        difflib.unified_diff(was, now, path if old else "/dev/null", path if new else "/dev/null", lineterm="")
    )
    more = len(lines) - LONGEST
    return lines if more <= 0 else [*lines[:LONGEST], f"… and {more} lines more"]


def block(h: Writer, lines: Sequence[str], label: str) -> Markup:
    """Lines that may be wider than the page: it can be reached and scrolled by the keyboard, and has a name."""
    classes = {"+": "add", "-": "del", "@": "hunk"}
    spans = [
        h.tag("span", line or Own(" "), class_="soft" if line[:3] in ("---", "+++") else classes.get(line[:1]))
        for line in lines
    ]
    return h.tag("pre", *spans, tabindex=0, role="group", aria_label=label)
