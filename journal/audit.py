"""Holding a journal against itself: is the database whole, the chain unbroken, every before-image there, every state
one that the machine allows?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from journal.before import Where, named
from journal.chain import GENESIS, START, Head
from journal.errors import JournalDamagedError, JournalError, JournalNewerError
from journal.events import Event, Json, Kind
from journal.images import Images
from journal.store import Journal


class Subject(StrEnum):
    """What is checked."""

    DATABASE = "database"
    GUARDS = "guards"
    CONTIGUITY = "contiguity"
    CHAIN = "chain"
    HEAD = "head"
    BLOBS = "blobs"
    IMAGES = "images"
    STATES = "states"


@dataclass(frozen=True, slots=True)
class Check:
    """One outcome: what was checked, whether it is in order, one sentence, and the evidence where it is not."""

    subject: Subject
    ok: bool
    message: str
    evidence: tuple[str, ...] = ()
    checked: bool = True
    """False where there was nothing to check it against; that is no damage, and has to be said."""


@dataclass(frozen=True, slots=True)
class Announced:
    """What somebody else wrote down of the journal (the system's log): heads of it; events of setups that it does not
    know, later than all that it knows; and why there is no head, where there is none."""

    heads: tuple[Head, ...] = ()
    strange: tuple[str, ...] = ()
    why_none: str = "nothing was asked for it"


NOBODY = Announced()


@dataclass(frozen=True, slots=True)
class Audit:
    """All outcomes. `damaged` is the number of the first damaged event, `good` the last event before any damage."""

    checks: tuple[Check, ...]
    head: Head
    damaged: int | None
    good: int

    @property
    def ok(self) -> bool:
        """Whether everything is in order."""
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Json]:
        """For `journal verify --json`."""
        return {
            "ok": self.ok,
            "events": self.good,
            "head": {"seq": self.head.seq, "hash": self.head.hash},
            "first_damaged": self.damaged,
            "checks": [
                {
                    "subject": c.subject.value,
                    "ok": c.ok,
                    "checked": c.checked,
                    "message": c.message,
                    "evidence": list(c.evidence),
                }
                for c in self.checks
            ],
        }


@dataclass(slots=True)
class _Walk:
    """What reading the events from the first to the last good one gave."""

    head: Head = START
    damage: JournalError | None = None
    blobs: dict[str, int] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    wrong_states: list[str] = field(default_factory=list)
    hashes: dict[int, str] = field(default_factory=dict)


def audit(
    journal: Journal,
    legal: Callable[[str, str], bool] | set[tuple[str, str]],
    *,
    images: Images | None = None,
    known: Announced = NOBODY,
) -> Audit:
    """Check everything that can be checked; damage is an answer and never an exception.

    `legal` says which transitions (from, to) the machine allows. Only `known` shows that the end of the journal was
    cut off, or an older copy put back.
    """
    walk = _walk(journal, legal)
    checks = [
        _asked(Subject.DATABASE, "the database is whole", journal.faults),
        _asked(Subject.GUARDS, "its tables and triggers are as they were made", journal.schema_faults),
        _asked(Subject.CONTIGUITY, "the events are numbered without a gap", journal.gaps),
        _chain(walk),
        _known(walk, known),
        _check(Subject.BLOBS, "every before-image in the journal is what it was", _blob_faults(journal, walk)),
    ]
    if images is not None:
        checks.append(_check(Subject.IMAGES, "every image is what it was", _image_faults(images, walk)))
    checks.append(_check(Subject.STATES, "the states follow the machine", walk.wrong_states))
    damaged = walk.damage.seq if isinstance(walk.damage, JournalDamagedError) else None
    return Audit(tuple(checks), walk.head, damaged, walk.head.seq)


def _walk(journal: Journal, legal: Callable[[str, str], bool] | set[tuple[str, str]]) -> _Walk:
    allowed = legal if callable(legal) else lambda a, b: (a, b) in legal
    walk = _Walk()
    states: dict[str, str] = {}
    try:
        for event in journal.events():
            walk.head = Head(event.seq, event.hash)
            walk.hashes[event.seq] = event.hash
            walk.wrong_states.extend(_judge(event, states, allowed))
            if event.kind is Kind.INTENT:
                walk.blobs.update(dict.fromkeys(named(event.data, Where.BLOB), event.seq))
                walk.images.update(dict.fromkeys(named(event.data, Where.IMAGE), event.seq))
    except JournalError as error:
        walk.damage = error
    return walk


def _judge(event: Event, states: dict[str, str], allowed: Callable[[str, str], bool]) -> Iterator[str]:
    """What is wrong with the state that an event says its setup is in; `states` follows along."""
    if event.kind is Kind.SETUP_CREATED:
        if event.setup in states:
            yield f"event {event.seq}: the setup {event.setup} begins a second time"
        states[event.setup] = str(event.data.get("state", "new"))
        return
    now = states.get(event.setup)
    if now is None:
        yield f"event {event.seq}: the setup {event.setup} was never begun"
        now = states[event.setup] = str(event.data.get("from", "new"))
    if event.kind not in (Kind.TRANSITION, Kind.HOST_REBOOTED):
        return
    source, target = str(event.data.get("from")), str(event.data.get("to"))
    if source != now:
        yield f"event {event.seq}: a transition from {source}, but the setup was {now}"
    if source != target and not allowed(source, target):
        yield f"event {event.seq}: the machine does not allow {source} -> {target}"
    states[event.setup] = target


def _check(subject: Subject, in_order: str, faults: list[str] | tuple[str, ...]) -> Check:
    message = in_order if not faults else f"not so: {in_order}"
    return Check(subject, not faults, message, tuple(faults))


def _asked(subject: Subject, in_order: str, ask: Callable[[], tuple[str, ...]]) -> Check:
    """A check that asks the database, which may be too damaged to answer."""
    try:
        return _check(subject, in_order, ask())
    except JournalError as error:
        return Check(subject, False, error.message, error.evidence)


def _chain(walk: _Walk) -> Check:
    error = walk.damage
    if error is None:
        return Check(Subject.CHAIN, True, f"{walk.head.seq} events, each carries the hash of the one before")
    message = error.message if not isinstance(error, JournalNewerError) else f"{error.message} Not read further."
    return Check(Subject.CHAIN, False, message, error.evidence)


def _known(walk: _Walk, known: Announced) -> Check:
    head = f"the head is event {walk.head.seq}, {walk.head.hash}"
    # Behind a damaged event nothing was read: that is for the check of the chain to say.
    heads = [one for one in known.heads if walk.damage is None or one.seq <= walk.head.seq]
    if known.strange or heads:
        lost = [
            f"event {one.seq} was {one.hash}, is {walk.hashes.get(one.seq, 'not there')}"
            for one in heads
            if walk.hashes.get(one.seq, GENESIS if one.seq == 0 else None) != one.hash
        ]
        check = _check(Subject.HEAD, _vouched(walk, heads), [*lost, *known.strange])
        return check if check.ok else replace(check, message=_CUT, evidence=(*check.evidence, head))
    why = known.why_none if not known.heads else "the journal is damaged before the first one"
    message = f"not checked whether the end was cut off or an older copy put back: no head to compare with ({why})"
    return Check(Subject.HEAD, True, message, (head,), checked=False)


_CUT = "not so: the journal holds every event that was announced; its end was cut off, or another copy of it put back"


def _vouched(walk: _Walk, heads: Sequence[Head]) -> str:
    last = max((one.seq for one in heads), default=0)
    beyond = walk.head.seq - last
    more = f"; {beyond} after it rest on the chain alone" if beyond > 0 else ""
    return f"the journal holds every event that was announced, up to event {last}{more}"


def _blob_faults(journal: Journal, walk: _Walk) -> list[str]:
    """Blobs that are named and missing, and blobs that are not what they were."""
    faults = []
    try:
        there = set(journal.blobs())
    except JournalError as error:
        return [f"{error.message} {' '.join(error.evidence)}"]
    for digest, seq in walk.blobs.items():
        if digest not in there:
            faults.append(f"{digest}, named by event {seq}, is missing")
    for digest in sorted(there):
        try:
            journal.blob(digest)
        except JournalError as error:
            faults.append(f"{digest}: {error.message}")
    return faults


def _image_faults(images: Images, walk: _Walk) -> list[str]:
    faults = []
    for digest, seq in walk.images.items():
        try:
            images.check(digest)
        except JournalError as error:
            faults.append(f"{digest}, named by event {seq}: {error.message}")
        except ValueError:
            faults.append(f"event {seq} names {digest!r}, which is no sha256")
    return faults
