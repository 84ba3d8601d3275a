"""Writing the journal: every event goes through here, is durable when `now` returns, and is folded at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from engine import log
from engine.setup import Setup, fold_into
from journal.errors import JournalError, JournalUncertainError, UsageError, VfiostateError
from journal.events import Draft, Event, Kind, Origin
from journal.store import Journal


class Scribe:
    """The pen of one run. Outcomes may wait (`later`) for the next intent, since no effect lies between the two."""

    def __init__(self, journal: Journal, origin: Origin, setups: list[Setup]) -> None:
        self.journal = journal
        self.origin = origin
        self.setups = setups
        self.last: Event | None = None
        """The last event that this run appended."""
        self._waiting: list[Draft] = []
        self._lost: JournalUncertainError | None = None

    @property
    def setup(self) -> Setup | None:
        """The present setup, None before the first."""
        return self.setups[-1] if self.setups else None

    def later(self, draft: Draft) -> None:
        """Hand in an event that the next commit takes along. A crash before it loses no more than the outcome of an
        effect whose intent is durable: recovery finds that outcome again by looking at the host."""
        self._waiting.append(draft)

    def now(self, *drafts: Draft, blobs: Iterable[bytes] = ()) -> tuple[Event, ...]:
        """Append what waits and these, in one durable commit. Raises JournalError; then nothing of it was appended.

        Raises JournalUncertainError where it may have been, now and ever after: what this run would go on with is not
        what the journal holds. So nothing more is changed or taken back by it; the next run looks at both.
        """
        if self._lost is not None:
            raise self._lost
        try:
            events = self.journal.append([*self._waiting, *drafts], origin=self.origin, blobs=blobs)
        except JournalUncertainError as error:
            self._lost = error
            raise
        self._waiting.clear()
        for event in events:
            self.last = event
            fold_into(self.setups, event)
        for event in events:
            log.info("journaled", seq=event.seq, kind=event.kind.value, setup=event.setup, step=event.step)
        return events[len(events) - len(drafts) :]

    @contextlib.contextmanager
    def witness(self, *, beside: bool = False) -> Iterator[None]:
        """Every refusal and failure is an event: one that nobody has recorded on its way out is recorded here. One of a
        command `beside` the way, which takes no step, keeps the setup from nothing. A mistyped command is no event."""
        try:
            yield
        except VfiostateError as error:
            self._record(error, beside)
            raise
        except OSError as error:
            from engine.effects import failure  # not for a `status`

            known = failure(error)
            self._record(known, beside)
            raise known from error

    def _record(self, error: VfiostateError, beside: bool) -> None:
        if self.setup is None or error.journaled or isinstance(error, JournalError | UsageError):
            return
        finding: dict[str, object] = {
            "code": error.code,
            "severity": "refusal",
            "message": error.message,
            "evidence": list(error.evidence),
            "hint": error.hint,
        }
        data: dict[str, object] = {"findings": [finding]}
        data |= {"beside": True} if beside else {}
        self.now(self.note(Kind.STEP_REFUSED, data, attempt=self.setup.attempts))
        error.journaled = True

    def flush(self) -> None:
        """Commit what waits, if anything does."""
        if self._waiting:
            self.now()

    def note(self, kind: Kind, data: dict[str, object], *, step: str | None = None, attempt: int = 0) -> Draft:
        """A draft for the present setup."""
        assert self.setup is not None
        return Draft(kind, self.setup.id, data, step, attempt)  # type: ignore[arg-type]  # data is JSON by construction
