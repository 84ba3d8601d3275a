"""Every command and what else was done that is no edit, with its output folded."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from engine.report.markup import Markup, Own, Writer
from engine.report.material import Material
from journal.errors import sentence
from journal.events import Event, Kind

# Actions that the diffs show.
SHOWN = frozenset({"edit_file", "remove_file", "restore", "merge"})


def commands(h: Writer, material: Material) -> Iterator[Markup]:
    """Each in the order in which it was begun."""
    outcomes = {
        event.data["intent"]: event
        for event in material.events
        if event.kind is Kind.OUTCOME and isinstance(event.data.get("intent"), int)
    }
    found = False
    for event in material.events:
        action: Mapping[str, Any] = event.data.get("action") or {}  # type: ignore[assignment]  # of an intent: a map
        if event.kind is Kind.INTENT and action.get("type") not in SHOWN:
            found = True
            yield _command(h, event, action, outcomes.get(event.seq))
    if not found:
        yield h.tag("p", Own("No command was run."))


def _command(h: Writer, event: Event, action: Mapping[str, Any], outcome: Event | None) -> Markup:
    data: Mapping[str, Any] = outcome.data if outcome is not None else {}
    result = str(data.get("result", "no outcome recorded")).replace("_", " ")
    said = f"{result}: {data['detail']}" if data.get("detail") else result
    bad = result in ("failed", "unknown", "no outcome recorded")
    back = Own("way back, ") if event.data.get("undoes") else Own("")
    summary = h.tag(
        "summary",
        h.tag("code", _words(action)),
        Own(" "),
        h.tag("span", said, class_="bad" if bad else "ok"),
        Own(" "),
        h.tag("span", back, h.marked(f"`{event.step}`, event {event.seq}"), class_="soft"),
    )
    return h.tag("details", summary, *_below(h, event, action, data), open="" if bad else None)


def _below(h: Writer, event: Event, action: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Markup]:
    if action.get("why"):
        yield h.tag("p", sentence(str(action["why"])))
    before: Mapping[str, Any] = event.data.get("before") or {}  # type: ignore[assignment]  # of an intent: a map
    after: Mapping[str, Any] = data.get("after") or {}
    made = [path for path, sha in after.items() if sha != (before.get(path) or {}).get("sha256")]
    if made:
        yield h.tag("p", Own("It changed "), *_listed(h, made))
    output = data.get("output")
    if isinstance(output, list) and output:
        lines = [h.tag("span", str(line) or Own(" ")) for line in output]
        yield h.tag(
            "pre", *lines, tabindex=0, role="group", aria_label=f"Output of {_words(action)}, event {event.seq}"
        )
    elif action.get("type") == "run_command":
        yield h.tag("p", Own("It said nothing."), class_="soft")


def _listed(h: Writer, paths: list[str]) -> Iterator[Markup]:
    for place, path in enumerate(paths):
        yield h.text(Own(", " if place else ""))
        yield h.tag("code", path)


def _words(action: Mapping[str, Any]) -> str:
    argv = action.get("argv")
    match action.get("type"):
        case "run_command" if isinstance(argv, list):
            return shlex.join(map(str, argv))
        case "write_attribute":
            value = str(action.get("value", "")).strip() or "a newline"
            return f"write {value} to {action.get('path')}"
        case kind:
            return f"{str(kind).replace('_', ' ')} {action.get('name', '')}".strip()
