"""The journal for people: a timeline of plain lines; and for programs: one JSON object for each event."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from journal.chain import Record
from journal.events import Event, Json, Kind
from journal.waiting import waits


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the timeline, every column as text. `seq` is that of the intent where an outcome was joined to it;
    `place` is the number of the boot, from 1; `at` is UTC, ISO 8601 with microseconds."""

    seq: int
    when: str
    boot: str
    who: str
    step: str
    what: str
    result: str
    kind: Kind
    setup: str
    place: int
    at: str

    def as_json(self) -> dict[str, Json]:
        """For `journal show --json`."""
        return {
            "seq": self.seq,
            "at": self.at,
            "boot": self.place,
            "who": self.who,
            "setup": self.setup,
            "kind": self.kind.value,
            "step": self.step or None,
            "what": self.what,
            "result": self.result,
        }


class Teller:
    """Tells events as rows, one after the other, as they come. Boots are numbered from 1 as they appear.

    A time before that of the event before it is marked: the clock jumped back, the order is still true.
    """

    def __init__(self) -> None:
        self._boots: dict[str, int] = {}
        self._intents: dict[int, Row] = {}
        self._last = ""

    def row(self, event: Event) -> Row:
        """The event as a row of its own; an outcome says what it is the outcome of."""
        number = self._boots.setdefault(event.boot, len(self._boots) + 1)
        when, self._last = _when(event.at, self._last), event.at
        what, result = _told(event)
        undone = self._intents.get(_int(event.data.get("undoes")))
        if event.kind is Kind.OUTCOME and (intent := self._intents.get(_int(event.data.get("intent")))):
            what = intent.what
        elif undone is not None and not _acts(event.data.get("action")):
            # What puts files back, or finds nothing to do, is told by what it takes back.
            what = f"undo: {undone.what}"
        made = Row(
            event.seq,
            when,
            f"boot {number}",
            who(event.who),
            event.step or "",
            what,
            result,
            event.kind,
            event.setup,
            number,
            event.at,
        )
        if event.kind is Kind.INTENT:
            self._intents[event.seq] = made
        return made


def timeline(events: Iterable[Event]) -> list[Row]:
    """The events as rows, in order. An intent shows what became of it."""
    rows: list[Row] = []
    places: dict[int, int] = {}
    teller = Teller()
    for event in events:
        row = teller.row(event)
        place = places.get(_int(event.data.get("intent"))) if event.kind is Kind.OUTCOME else None
        if place is not None:
            rows[place] = replace(rows[place], result=row.result)
            continue
        if event.kind is Kind.INTENT:
            places[event.seq] = len(rows)
        rows.append(row)
    return rows


# What is said of a step that only waits for the reboot.
PUT_OFF = "put off"
HEADING = ("#", "when (UTC)", "boot", "who", "step", "what", "result")


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as aligned plain text, a heading first; nothing at all without rows."""
    table = [_cells(row) for row in rows]
    if table:
        wide = _widths(table)
        yield from (_line(cells, wide) for cells in (HEADING, *table))


def widths(rows: Iterable[Row]) -> Sequence[int]:
    """How wide each column but the last is, for `line`."""
    return _widths([_cells(row) for row in rows])


def line(row: Row, wide: Sequence[int]) -> str:
    """One row as a line under others that are this wide."""
    return _line(_cells(row), wide)


def _cells(row: Row) -> tuple[str, ...]:
    return (str(row.seq), row.when, row.boot, row.who, row.step, row.what, row.result)


def _widths(table: Sequence[Sequence[str]]) -> list[int]:
    return [min(max(len(cells[column]) for cells in (HEADING, *table)), 60) for column in range(6)]


def _line(cells: Sequence[str], wide: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, wide, strict=False))
    return "  ".join((*padded, cells[6])).rstrip()


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


def who(origin: str) -> str:
    """Who appended an event, in words."""
    uid, _, caller = origin.partition("/")
    name = "root" if uid == "0" else f"uid {uid}"
    return f"{name} (uid {caller})" if caller else name


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
            actions = _int(data.get("actions"))
            return "begun", f"{actions} action{'' if actions == 1 else 's'} planned"
        case Kind.STEP_REFUSED:
            return (PUT_OFF if waits(event) else "refused"), _findings(data.get("findings"))
        case Kind.ROLLBACK_STOPPED:
            return "rollback stopped", _findings(data.get("findings"))
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
            findings = data.get("findings")
            # The path is that of the first difference; of several another may be told, and each names its place.
            path = "" if isinstance(findings, list) and len(findings) > 1 else _text(data.get("path"))
            return f"drift {path}".rstrip(), _text(data.get("message")) or _findings(findings)
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


# The verbs of `plan`, by the type of an action.
_VERBS = {
    "edit_file": "edit",
    "remove_file": "remove",
    "run_command": "run",
    "write_attribute": "write",
    "start_process": "start",
    "stop_process": "stop",
    "shutdown": "stop",
    "pin_threads": "pin the vCPUs of",
    "request_reboot": "ask the host to reboot",
}


def _acts(action: Json) -> bool:
    """Whether it is an action, not only the name of a way back."""
    return isinstance(action, dict) and len(action) > 1


def _action(action: Json) -> str:
    """An action in a few words: what is done, and to what."""
    if not isinstance(action, dict):
        return "an action"
    kind = _text(action.get("type"))
    verb = "make" if kind == "edit_file" and action.get("before") is None else _VERBS.get(kind, kind.replace("_", " "))
    about = " ".join(_texts(action.get("argv"))) if kind == "run_command" else ""
    about = about or _text(action.get("path")) or _text(action.get("name")) or _text(action.get("process"))
    value = _text(action.get("value")).strip() or "a newline"
    return f"{verb} {value} to {about}" if kind == "write_attribute" else f"{verb} {about}".strip()


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
