"""What a report is made of: everything that was read, before a line of it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.explain.explanation import Explanation
from engine.pciids import Names
from engine.setup import Setup
from journal.audit import Audit
from journal.errors import JournalError
from journal.events import Event
from journal.timeline import Row


@dataclass(frozen=True, slots=True)
class Material:
    """One setup: its events, its rows of the timeline, its fold; `content` gives a content that the journal keeps by
    its sha256, None where it cannot; `proof` is the check of the whole journal, or why there is none."""

    events: Sequence[Event]
    rows: Sequence[Row]
    setup: Setup
    explanation: Explanation
    content: Callable[[str], bytes | None]
    proof: Audit | JournalError
    names: Names
    version: str
    made: str

    @property
    def own(self) -> frozenset[str]:
        """The addresses of the configured devices."""
        listed = self.setup.config.get("devices")
        found = listed if isinstance(listed, list) else []
        return frozenset(str(one.get("address")) for one in found if isinstance(one, dict))
