"""One difference between what the journal says and what the host is: what was promised, what was found, where, since
which event, and what to do. Light to import, for `status` shows them too."""

from __future__ import annotations

from dataclasses import dataclass

from journal.errors import Exit, sentence
from journal.events import Json
from steps.base import Finding, Severity, State

# The unit and its link (steps.resume_service).
RESUMES = "/vfiostate-resume.service"


@dataclass(frozen=True, slots=True)
class Difference:
    """A promise that the host does not keep.

    `code` is stable; `where` a path, a PCI address or another name of the place; `since` the number of the event that
    made the promise (0: not looked up). `grave` says that what is ours is not there any more, so that going on would
    build on nothing; `note` that the promise is kept, though by something that was made anew.
    """

    code: str
    where: str
    promised: str
    found: str
    hint: str
    since: int = 0
    evidence: tuple[str, ...] = ()
    grave: bool = False
    note: bool = False

    @property
    def line(self) -> str:
        """All of it on one line."""
        event = f", event {self.since}" if self.since else ""
        return f"{self.where}: {self.found}; promised{event}: {self.promised} ({self.code}) -> {self.hint}"

    def stops(self, state: State) -> bool:
        """Whether `advance` would build on what is not there. After the boot that matters nothing but a guest that
        already has the devices does: the steps look at devices and drivers themselves. On what goes on by itself after
        the boot nothing is built: its unit may be disabled by who wants to go on by hand."""
        if self.note or not self.grave or RESUMES in self.where:
            return False
        return state.rank < State.REBOOTED.rank or self.code == "guest-by-hand"

    def finding(self) -> Finding:
        """For the user of a command that goes on, or not."""
        event = (f"promised by event {self.since} of the journal",) if self.since else ()
        evidence = (f"promised: {self.promised}", *event, *self.evidence)
        weight = Severity.REFUSAL if self.grave else Severity.NOTE if self.note else Severity.WARNING
        said, hint = f"{self.where}: {self.found}.", sentence(self.hint)
        return Finding(self.code, weight, said, evidence, hint, Exit.DRIFT)

    def as_json(self) -> dict[str, Json]:
        """For --json."""
        return {
            "code": self.code,
            "where": self.where,
            "promised": self.promised,
            "found": self.found,
            "since": self.since or None,
            "hint": self.hint,
            "evidence": list(self.evidence),
            "grave": self.grave,
        }


def drifts(found: tuple[Difference, ...] | list[Difference]) -> list[Difference]:
    """Those that are differences in earnest, and no notes."""
    return [one for one in found if not one.note]
