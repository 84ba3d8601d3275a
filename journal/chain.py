"""The chain: how an event becomes a record that carries the hash of the one before, and how it is read back.

hash = sha256(prev + "\\n" + body), in lower-case hex; `prev` of the first event is 64 zeros. `body` is the canonical
JSON (ASCII, sorted keys, no spaces) of everything that the event says, its number included.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from journal.errors import JournalDamagedError, JournalNewerError
from journal.events import Draft, Event, Json, Kind, Origin

GENESIS = "0" * 64
FORM = 1
"""The form that event bodies are written in; older forms are brought up when they are read."""

Fields: TypeAlias = dict[str, Json]
Row: TypeAlias = tuple[object, object, object, object]
"""seq, prev, hash and body as a database gave them: damage may have made anything of them."""

UPCASTS: Sequence[Callable[[Fields], Fields]] = ()
"""UPCASTS[n - 1] makes fields of form n + 1 out of fields of form n."""

_KINDS: Mapping[str, Kind] = {kind.value: kind for kind in Kind}
_NAMES = ("seq", "at", "boot", "who", "kind", "setup", "step", "attempt", "data")
_pick = itemgetter(*_NAMES)
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_parse = json.JSONDecoder().decode
VERIFY_HINT = (
    "`vfiostate journal verify` shows what is damaged and what is still good; restore.sh beside it works without it."
)


class Head(NamedTuple):
    """The number and the hash of the last event; 0 and 64 zeros before the first."""

    seq: int
    hash: str


START = Head(0, GENESIS)


class Record(NamedTuple):
    """An event as it is stored; `body` is the text that the hash was made of."""

    seq: int
    prev: str
    hash: str
    body: str


def seal(head: Head, draft: Draft, origin: Origin, at: datetime) -> Record:
    """Number, stamp and chain a draft after `head`. Raises TypeError or ValueError for data that JSON cannot hold."""
    who = str(origin.uid) if origin.sudo_uid is None else f"{origin.uid}/{origin.sudo_uid}"
    seq = head.seq + 1
    body = _encode(
        {
            "form": FORM,
            "seq": seq,
            "at": at.isoformat(timespec="microseconds"),
            "boot": origin.boot,
            "who": who,
            "kind": draft.kind.value,
            "setup": draft.setup,
            "step": draft.step,
            "attempt": draft.attempt,
            "data": dict(draft.data),
        }
    )
    return Record(seq, head.hash, sha256(f"{head.hash}\n{body}".encode()).hexdigest(), body)


def checked(rows: Iterable[Row], head: Head) -> tuple[list[Record], JournalDamagedError | None]:
    """The rows after `head` that fit the chain, and what is wrong with the first that is missing or does not."""
    good: list[Record] = []
    seq, tip = head
    for number, prev, mark, body in rows:
        seq += 1
        if number != seq:
            return good, _missing(seq, number)
        if not (isinstance(prev, bytes) and isinstance(mark, bytes) and isinstance(body, bytes)):
            return good, _damaged(seq, "a field is missing or has another type")
        digest = sha256(b"%b\n%b" % (prev, body)).hexdigest()
        if digest.encode() != mark:
            return good, _damaged(seq, f"its content hashes to {digest}, it carries {mark.decode(errors='replace')}")
        if prev != tip.encode():
            return good, _damaged(seq, f"it follows {prev.decode(errors='replace')}, the one before carries {tip}")
        try:
            good.append(Record(seq, tip, digest, body.decode()))
        except UnicodeDecodeError:
            return good, _damaged(seq, "its content is not text")
        tip = digest
    return good, None


def decoded(records: Sequence[Record]) -> Iterator[Event]:
    """The events that records tell, brought up to today's form.

    Raises JournalNewerError for a form or kind that this version does not know, JournalDamagedError for a body that no
    version wrote.
    """
    try:
        # As one document, which is twice as fast as one by one: the parser makes each key only once.
        bodies = _parse(f"[{','.join([record.body for record in records])}]")
    except (ValueError, RecursionError):
        bodies = []
    if len(bodies) != len(records):
        for record in records:
            yield _event(record, _parsed(record))
        return
    yield from map(_event, records, bodies)


def _parsed(record: Record) -> Fields:
    try:
        return typing.cast("Fields", _parse(record.body))
    except (ValueError, RecursionError) as error:
        raise _damaged(record.seq, f"its content is not JSON: {error}") from error


def _event(record: Record, fields: Fields) -> Event:
    try:
        if fields["form"] != FORM:
            fields = upcast(fields, record.seq)
        seq, at, boot, who, kind, setup, step, attempt, data = _pick(fields)
        if kind not in _KINDS:
            raise _newer(record.seq, f"the kind {kind!r}")
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise _damaged(record.seq, f"its content is not an event: {error!r}") from error
    shape = (type(at), type(boot), type(who), type(setup), type(attempt), type(data))
    if seq != record.seq or shape != _SHAPE or not (step is None or type(step) is str):
        raise _damaged(record.seq, "its content is not an event of this number")
    return Event(seq, at, boot, who, _KINDS[kind], setup, step, attempt, data, record.prev, record.hash)


_SHAPE = (str, str, str, str, int, dict)


def upcast(fields: Fields, seq: int, steps: Sequence[Callable[[Fields], Fields]] = UPCASTS) -> Fields:
    """Fields of an older form brought up to the newest that `steps` reach. Raises JournalNewerError for a newer one."""
    newest = len(steps) + 1
    form = fields["form"]
    if type(form) is not int or form < 1:
        raise ValueError(f"form {form!r}")
    if form > newest:
        raise _newer(seq, f"the form {form}")
    for step in steps[form - 1 :]:
        fields = step(fields)
    return fields


def _missing(seq: int, found: object) -> JournalDamagedError:
    return JournalDamagedError(
        f"Event {seq} is missing from the journal.",
        hint=VERIFY_HINT,
        evidence=(f"event {found} stands in its place", still_good(seq - 1)),
        seq=seq,
        good=seq - 1,
    )


def _damaged(seq: int, why: str) -> JournalDamagedError:
    return JournalDamagedError(
        f"Event {seq} of the journal is damaged.",
        hint=VERIFY_HINT,
        evidence=(why, still_good(seq - 1)),
        seq=seq,
        good=seq - 1,
    )


def _newer(seq: int, what: str) -> JournalNewerError:
    return JournalNewerError(
        f"Event {seq} of the journal was written by a newer vfiostate.",
        hint="Use the version that wrote it, or a newer one.",
        evidence=(f"this version does not know {what}",),
    )


def still_good(good: int) -> str:
    """One line that says which events can be relied on."""
    return f"events 1 to {good} are good" if good else "no event before it"
