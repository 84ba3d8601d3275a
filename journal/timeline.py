"""The journal for people: a timeline of plain lines; and for programs: one JSON object for each event."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from journal.chain import Record
from journal.events import Event, Json, Kind


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the timeline, every column as text. `seq` is that of the intent where an outcome was joined to it."""

    seq: int
    when: str
    boot: str
    who: str
    step: str
    what: str
    result: str

    def as_json(self) -> dict[str, Json]:
        """For `journal show --json`."""
        return {
            "seq": self.seq,
            "when": self.when,
            "boot": self.boot,
            "who": self.who,
            "step": self.step,
            "what": self.what,
            "result": self.result,
        }


def timeline(events: Iterable[Event]) -> list[Row]:
    """The events as rows, in order. An intent shows what became of it; boots are numbered from 1 as they appear.

    A time before that of the event before it is marked: the clock jumped back, the order is still true.
    """
    rows: list[Row] = []
    boots: dict[str, int] = {}
    intents: dict[int, int] = {}
    last = ""
    for event in events:
        place = intents.get(_int(event.data.get("intent"))) if event.kind is Kind.OUTCOME else None
        number = boots.setdefault(event.boot, len(boots) + 1)
        when = _when(event.at, last)
        last = event.at
        if place is not None:
            rows[place] = _with_result(rows[place], event)
            continue
        if event.kind is Kind.INTENT:
            intents[event.seq] = len(rows)
        what, result = _told(event)
        rows.append(Row(event.seq, when, f"boot {number}", _who(event.who), event.step or "", what, result))
    return rows


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as aligned plain text, a heading first; nothing at all without rows."""
    table = [(str(r.seq), r.when, r.boot, r.who, r.step, r.what, r.result) for r in rows]
    if not table:
        return
    table.insert(0, ("#", "when (UTC)", "boot", "who", "step", "what", "result"))
    widths = [min(max(len(cells[column]) for cells in table), 60) for column in range(6)]
    for cells in table:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
        yield "  ".join((*padded, cells[6])).rstrip()


def exported(records: Iterable[Record]) -> Iterator[dict[str, Json]]:
    """Each record as one JSON-ready object: every field of it, `prev` and `hash`.

    Anyone can check it: hash is the sha256 of prev, a newline, and the other fields as JSON with sorted keys, no spaces
    and only ASCII.
    """
    for record in records:
        fields: dict[str, Json] = json.loads(record.body)
        yield fields | {"prev": record.prev, "hash": record.hash}


def _when(at: str, last: str) -> str:
    shown = at[:19].replace("T", " ")
    return f"{shown} (clock set back)" if at < last else shown


def _who(who: str) -> str:
    uid, _, caller = who.partition("/")
    name = "root" if uid == "0" else f"uid {uid}"
    return f"{name} (uid {caller})" if caller else name


def _with_result(row: Row, outcome: Event) -> Row:
    result = _result(outcome.data)
    return Row(row.seq, row.when, row.boot, row.who, row.step, row.what, result)


def _result(data: Mapping[str, Json]) -> str:
    result, detail = _text(data.get("result")).replace("_", " "), _text(data.get("detail"))
    return f"{result}: {detail}" if detail else result


def _told(event: Event) -> tuple[str, str]:
    """What an event says, and how it ended, each in a few words."""
    data = event.data
    move = f"{_text(data.get('from'))} -> {_text(data.get('to'))}"
    match event.kind:
        case Kind.SETUP_CREATED:
            return f"setup {event.setup} begun", _text(data.get("state"))
        case Kind.CONFIG_CHANGED:
            return "configuration changed", ", ".join(_texts(data.get("changed")))
        case Kind.STEP_STARTED:
            return f"attempt {event.attempt}", f"{_int(data.get('actions'))} actions planned"
        case Kind.STEP_REFUSED | Kind.ROLLBACK_STOPPED:
            what = "refused" if event.kind is Kind.STEP_REFUSED else "rollback stopped"
            return what, _findings(data.get("findings"))
        case Kind.STEP_FAILED:
            return "failed", _text(data.get("message"))
        case Kind.INTENT:
            back = "undo: " if data.get("back") else ""
            return back + _action(data.get("action")), "no outcome recorded"
        case Kind.OUTCOME:
            undoes = data.get("undoes")
            return (f"undo of event {undoes}" if undoes else "outcome"), _result(data)
        case Kind.TRANSITION:
            return "state", move
        case Kind.HOST_REBOOTED:
            return "host rebooted", move
        case Kind.DRIFT_FOUND:
            return f"drift {_text(data.get('path'))}".rstrip(), _text(data.get("message")) or _findings(
                data.get("findings")
            )
        case Kind.ROLLBACK_STARTED:
            return "rollback", move
        case Kind.ROLLBACK_FINISHED:
            differs = data.get("differs")
            count = len(differs) if isinstance(differs, list) else 0
            return "rollback finished", f"{len(_texts(data.get('as_before')))} paths as before, {count} differ"
        case Kind.GUEST:
            return f"guest {_text(data.get('what'))}", _text(data.get("detail"))
        case Kind.RESUME:
            return f"resume {_text(data.get('what'))}", _resumed(data)


def _resumed(data: Mapping[str, Json]) -> str:
    """How far, which run of how many, or why."""
    if "until" in data:
        return f"up to {_text(data['until'])}"
    return f"run {_int(data['number'])}" if "number" in data else _text(data.get("reason", data.get("why")))


def _action(action: Json) -> str:
    """An action in a few words: its type, and what it is about."""
    if not isinstance(action, dict):
        return "an action"
    about = " ".join(_texts(action.get("argv"))) if action.get("type") == "run_command" else ""
    about = about or _text(action.get("path")) or _text(action.get("name"))
    return f"{_text(action.get('type')).replace('_', ' ')} {about}".strip()


def _findings(findings: Json) -> str:
    """The first finding that stops, or the first; and how many more there are."""
    found = [item for item in findings if isinstance(item, dict)] if isinstance(findings, list) else []
    if not found:
        return ""
    first = next((item for item in found if item.get("severity") == "refusal"), found[0])
    said = _text(first.get("message")) or _text(first.get("detail"))
    return f"{said} (and {len(found) - 1} more)" if len(found) > 1 else said


def _text(value: Json) -> str:
    """A text on one line, without control characters that could speak to a terminal."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text.replace("\n", " "))


def _texts(value: Json) -> list[str]:
    return [_text(item) for item in value] if isinstance(value, list) else []


def _int(value: Json) -> int:
    return value if isinstance(value, int) else 0
