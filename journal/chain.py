"""The chain: how an event becomes a record that carries the hash of the one before, and how it is read back.

hash = sha256(prev + "\\n" + body), in lower-case hex; `prev` of the first event is 64 zeros. `body` is the canonical
JSON (ASCII, sorted keys, no spaces) of everything that the event says, its number included.
"""

from __future__ import annotations

import json
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
    "`vfiostate journal verify` shows what is damaged and what is still good; restore.sh beside it works without it"
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


def checked(rows: Iterable[Row], head: Head) -> Iterator[Record]:
    """The rows after `head`, each held against the chain.

    Raises JournalDamagedError at the first that is missing or does not carry the hash it must.
    """
    good, tip = head
    for seq, prev, mark, body in rows:
        if seq != good + 1:
            raise _missing(good, seq)
        if not (isinstance(prev, bytes) and isinstance(mark, bytes) and isinstance(body, bytes)):
            raise _damaged(good, "a field is missing or has another type")
        digest = sha256(b"%b\n%b" % (prev, body)).hexdigest()
        if digest.encode() != mark:
            raise _damaged(good, f"its content hashes to {digest}, it carries {mark.decode(errors='replace')}")
        if prev != tip.encode():
            raise _damaged(good, f"it follows {prev.decode(errors='replace')}, the event before carries {tip}")
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise _damaged(good, "its content is not text") from error
        yield Record(good + 1, tip, digest, text)
        good, tip = good + 1, digest


def decode(record: Record) -> Event:
    """The event that a record tells, brought up to today's form.

    Raises JournalNewerError for a form or kind that this version does not know, JournalDamagedError for a body that no
    version wrote.
    """
    try:
        fields = _parse(record.body)
        if fields["form"] != FORM:
            fields = upcast(fields, record.seq)
        seq, at, boot, who, kind, setup, step, attempt, data = _pick(fields)
        if kind not in _KINDS:
            raise _newer(record.seq, f"the kind {kind!r}")
        shape = (type(at), type(boot), type(who), type(setup), type(attempt), type(data))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(record.seq - 1, f"its content is not an event: {error!r}") from error
    if seq != record.seq or shape != _SHAPE or not (step is None or type(step) is str):
        raise _damaged(record.seq - 1, "its content is not an event of this number")
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


def _missing(good: int, found: object) -> JournalDamagedError:
    return JournalDamagedError(
        f"Event {good + 1} is missing from the journal.",
        hint=VERIFY_HINT,
        evidence=(f"after event {good} comes event {found}", still_good(good)),
        seq=good + 1,
        good=good,
    )


def _damaged(good: int, why: str) -> JournalDamagedError:
    return JournalDamagedError(
        f"Event {good + 1} of the journal is damaged.",
        hint=VERIFY_HINT,
        evidence=(why, still_good(good)),
        seq=good + 1,
        good=good,
    )


def _newer(seq: int, what: str) -> JournalNewerError:
    return JournalNewerError(
        f"Event {seq} of the journal was written by a newer vfiostate.",
        hint="use the version that wrote it, or a newer one",
        evidence=(f"this version does not know {what}",),
    )


def still_good(good: int) -> str:
    """One line that says which events can be relied on."""
    return f"events 1 to {good} are good" if good else "no event before it"
