"""The check of the journal itself, as `journal verify` does it."""

from __future__ import annotations

from collections.abc import Iterator

from engine.report.markup import Markup, Own, Writer
from journal.audit import Audit, Check
from journal.errors import JournalError


def proof(h: Writer, found: Audit | JournalError) -> Iterator[Markup]:
    """What was checked, and whether it is in order."""
    if isinstance(found, JournalError):
        yield h.tag("p", h.tag("b", Own("DAMAGED"), class_="bad"), Own(" "), found.message)
        yield h.tag("ul", *(h.tag("li", line) for line in found.evidence))
        return
    over = (
        f"The journal is whole: {found.good} events."
        if found.ok
        else f"The journal is damaged; the events up to number {found.good} are good."
    )
    yield h.tag("p", h.tag("b", Own(over), class_="ok" if found.ok else "bad"))
    yield h.tag("ul", *(_check(h, check) for check in found.checks), class_="lines")
    yield h.tag("p", Own("Head: "), h.tag("code", Own(f"event {found.head.seq}, {found.head.hash}")), class_="soft")


def _check(h: Writer, check: Check) -> Markup:
    word, weight = ("ok", "ok") if check.ok else ("DAMAGED", "bad")
    if not check.checked:
        word, weight = "not checked", "warn"
    evidence = [h.tag("span", line, class_="detail mono") for line in check.evidence]
    subject = Own(f" {check.subject.value}: ")
    return h.tag("li", h.tag("b", Own(word), class_=weight), subject, check.message, *evidence)
