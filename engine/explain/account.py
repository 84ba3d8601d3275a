"""What happened, told in sentences: the events of one setup, each step with its end. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.recovery import LOOKED_UP
from journal.errors import sentence
from journal.events import Event, Json, Kind
from journal.timeline import Teller, who
from journal.waiting import waits

FAILURES = frozenset({Kind.STEP_REFUSED, Kind.STEP_FAILED, Kind.DRIFT_FOUND, Kind.ROLLBACK_STOPPED})


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence, the event it tells of (0: none) and what stands below it: evidence, what to do."""

    text: str
    event: int = 0
    details: tuple[str, ...] = ()


def account(events: Iterable[Event], setup: str) -> tuple[Line, ...]:
    """The life of one setup, given all events of the journal in order: its boots are numbered as everywhere."""
    told = _Account(setup)
    for event in events:
        told.hear(event)
    return tuple(told.lines)


class _Account:
    """Listens to the events and tells of those that matter."""

    def __init__(self, setup: str) -> None:
        self.lines: list[Line] = []
        self._setup = setup
        self._place = 0
        self._actions = 0
        self._looked_up: list[int] = []
        self._teller = Teller()

    def hear(self, event: Event) -> None:
        """Tell of one event, where there is something to tell."""
        row = self._teller.row(event)
        if event.setup != self._setup:
            return
        if row.place != self._place:
            if self._place:
                self.lines.append(Line(f"The host was booted anew: boot {row.place}."))
            self._place = row.place
        if event.kind is Kind.OUTCOME and event.data.get("detail") == LOOKED_UP:
            self._looked_up.append(event.seq)
            return
        if self._looked_up:
            found = _count(self._looked_up)
            said = f"A run had been cut short: the next one looked up on the host how {found} had ended."
            self.lines.append(Line(said, self._looked_up[0]))
            self._looked_up = []
        teller = _TELLERS.get(event.kind)
        if teller is not None:
            text, details = teller(event, self._actions)
            self._say(text, event, details)
        elif event.kind in (Kind.GUEST, Kind.RESUME):
            self._say(sentence(f"{row.what}: {row.result}" if row.result else row.what), event)
        if event.kind is Kind.STEP_STARTED:
            self._actions = _int(event.data.get("actions"))
        elif event.kind is not Kind.INTENT and event.kind is not Kind.OUTCOME:
            self._actions = 0

    def _say(self, text: str, event: Event, details: Sequence[str] = ()) -> None:
        """A refusal that says again what the last line said is not told again."""
        last = self.lines[-1] if self.lines else None
        if last is not None and (last.text, last.details) == (text, tuple(details)):
            return
        self.lines.append(Line(text, event.seq, tuple(details)))


def _begun(event: Event, _: int) -> tuple[str, Sequence[str]]:
    config = _map(event.data.get("config"))
    listed = config.get("devices")
    devices = [_map(one) for one in listed] if isinstance(listed, list) else []
    names = tuple(f"{one.get('address')} [{one.get('id')}]" for one in devices)
    stub = f"; stub driver {config['stub']}" if "stub" in config else ""
    return f"The setup was begun on {event.at[:19].replace('T', ' ')} UTC by {who(event.who)}{stub}.", names


def _transition(event: Event, actions: int) -> tuple[str, Sequence[str]]:
    data = event.data
    if str(data.get("trigger", "")).startswith("roll_back_to_"):
        return f"The way back led from `{data.get('from')}` to `{data.get('to')}`.", ()
    if data.get("trigger") == "guest_stopped":
        return f"The guest had ended: `{data.get('from')}` became `{data.get('to')}`.", ()
    done = f"{actions} action{'s' * (actions != 1)}" if actions else "nothing was changed for it"
    return f"The step to `{data.get('to')}` was taken: {done}.", ()


def _rebooted(event: Event, _: int) -> tuple[str, Sequence[str]]:
    data = event.data
    return f"The reboot took `{data.get('from')}` away: the setup was `{data.get('to')}` again.", ()


def _refused(event: Event, _: int) -> tuple[str, Sequence[str]]:
    what = f"The step to `{event.step}`" if event.step else "The command"
    if waits(event):
        return _of_findings(f"{what} was put off", event.data.get("findings"))[0], ()
    return _of_findings(f"{what} was refused", event.data.get("findings"))


def _stopped(event: Event, _: int) -> tuple[str, Sequence[str]]:
    return _of_findings("The rollback was stopped before it changed anything", event.data.get("findings"))


def _failed(event: Event, _: int) -> tuple[str, Sequence[str]]:
    data = event.data
    return sentence(f"The step to `{event.step}` failed: {data.get('message')}"), (
        *_texts(data.get("evidence")),
        *_hint(data.get("hint")),
    )


def _drift(event: Event, _: int) -> tuple[str, Sequence[str]]:
    data = event.data
    if data.get("findings"):
        return _of_findings("The host was found changed by others", data.get("findings"), every=True)
    if data.get("message"):
        return sentence(str(data["message"])), _texts(data.get("evidence"))
    return f"{data.get('path')} was found changed by others.", _texts(data.get("diff"))


def _configured(event: Event, _: int) -> tuple[str, Sequence[str]]:
    return sentence(f"The configuration was changed: {', '.join(_texts(event.data.get('changed')))}"), ()


def _back(event: Event, _: int) -> tuple[str, Sequence[str]]:
    return f"A rollback from `{event.data.get('from')}` to `{event.data.get('to')}` was begun.", ()


def _over(event: Event, _: int) -> tuple[str, Sequence[str]]:
    listed = event.data.get("differs")
    differs = [_map(one) for one in listed] if isinstance(listed, list) else []
    same = len(_texts(event.data.get("as_before")))
    files = f"{same} file{'s' * (same != 1)} compared as before" if same or differs else "there was no file to compare"
    more = f", {len(differs)} different" if differs else ""
    return f"The rollback was finished: {files}{more}.", [f"{one.get('path')}: {one.get('why')}" for one in differs]


_TELLERS = {
    Kind.SETUP_CREATED: _begun,
    Kind.CONFIG_CHANGED: _configured,
    Kind.STEP_REFUSED: _refused,
    Kind.STEP_FAILED: _failed,
    Kind.TRANSITION: _transition,
    Kind.HOST_REBOOTED: _rebooted,
    Kind.DRIFT_FOUND: _drift,
    Kind.ROLLBACK_STARTED: _back,
    Kind.ROLLBACK_STOPPED: _stopped,
    Kind.ROLLBACK_FINISHED: _over,
}


def _of_findings(what: str, findings: Json, *, every: bool = False) -> tuple[str, Sequence[str]]:
    """What stopped it: one finding in the sentence itself, several each in a line of its own."""
    found = [_map(one) for one in findings] if isinstance(findings, list) else []
    grave = found if every else [one for one in found if one.get("severity") == "refusal"]
    if len(grave) == 1:
        return sentence(f"{what}: {grave[0].get('message')}"), tuple(_below(grave[0]))
    details = [line for one in grave for line in (sentence(str(one.get("message"))), *_below(one, "  "))]
    many = f"in {len(grave)} places" if every else f"for {len(grave)} reasons"
    return f"{what}, {many}." if grave else f"{what}.", details


def _below(finding: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    yield from (f"{indent}{line}" for line in (*_texts(finding.get("evidence")), *_hint(finding.get("hint"))))


def _hint(hint: Json) -> tuple[str, ...]:
    return (f"-> {hint}",) if hint else ()


def _count(numbers: Sequence[int]) -> str:
    return "one action" if len(numbers) == 1 else f"{len(numbers)} actions"


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _map(value: Json) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _int(value: Json) -> int:
    return value if isinstance(value, int) else 0
