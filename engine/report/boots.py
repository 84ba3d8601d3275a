"""The timeline, boot by boot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from engine.report.markup import Markup, Own, Writer
from journal.events import Kind
from journal.timeline import PUT_OFF, Row

GRAVE = {Kind.STEP_REFUSED, Kind.STEP_FAILED, Kind.DRIFT_FOUND, Kind.ROLLBACK_STOPPED}
GOOD = {Kind.TRANSITION, Kind.ROLLBACK_FINISHED}


def boots(h: Writer, rows: Sequence[Row]) -> Markup:
    """Every boot with what was done in it."""
    groups = ((place, list(found)) for place, found in groupby(rows, key=lambda row: row.place))
    return h.tag("ol", *(_boot(h, place, found) for place, found in groups), class_="boots")


def _boot(h: Writer, place: int, rows: Sequence[Row]) -> Markup:
    first, last = rows[0].when, rows[-1].when
    who = ", ".join(dict.fromkeys(row.who for row in rows))
    return h.tag(
        "li",
        h.tag("h3", Own(f"Boot {place}")),
        h.tag("p", f"{first} to {last} UTC, by {who}", class_="soft"),
        h.tag("ol", *_rows(h, rows), class_="rows"),
    )


def _rows(h: Writer, rows: Sequence[Row]) -> Iterator[Markup]:
    for row in rows:
        grave = (row.kind in GRAVE and row.what != PUT_OFF) or row.result.startswith("failed")
        weight = "bad" if grave else "ok" if row.kind in GOOD else None
        step = Own(f"{row.step}: ") if row.step else Own("")
        yield h.tag(
            "li",
            h.tag("span", Own(f"#{row.seq}"), class_="soft"),
            h.tag("span", row.when[11:]),
            h.tag("span", step, row.what),
            h.tag("span", row.result, class_=weight),
        )
