"""What was acknowledged before a power cut, against what the journal holds after it; pure."""

from __future__ import annotations

from dataclasses import dataclass

from .lab import STATES


@dataclass(frozen=True)
class Event:
    """What events.py tells of one event."""

    seq: int
    digest: str
    kind: str
    back: bool
    to: str


def missing(head: tuple[int, str], events: list[Event], said: str) -> list[str]:
    """What had been acknowledged before a cut and is not in the journal after it."""
    found = []
    seq, digest = head
    if seq and not (events and (events[0].seq, events[0].digest) == head):
        found.append(f"event {seq} {digest[:12]} of before the command is not there")
    new = events[1:] if seq else events
    lines = [line.partition("TOLD:")[2].rstrip("\r") for line in said.split("\n") if "TOLD:" in line]
    actions = [line for line in lines if line.startswith("  ") and line[2:3] not in ("", " ", "-")]
    # An undo is announced before its intent is durable, a deed after it.
    undone = sum(line.startswith("  take back") for line in actions)
    deeds = sum(event.kind == "intent" and not event.back for event in new)
    undoings = sum(event.kind == "intent" and event.back for event in new)
    if len(actions) - undone > deeds:
        found.append(f"{len(actions) - undone} actions were told, {deeds} are in the journal")
    if undone - 1 > undoings:
        found.append(f"{undone} undoings were told, {undoings} are in the journal")
    reached = [line.split()[1] for line in lines if line.startswith("state: ")]
    if reached and reached[-1] not in {event.to for event in new} | {"new"}:
        found.append(f"state {reached[-1]} was told, the journal has no such transition")
    return found


def what_is_found(new: list[Event]) -> str:
    """How far the command had come, by the journal."""
    if not new:
        return "nothing begun"
    if new[-1].kind in ("transition", "rollback_finished"):
        return "completed"
    intents = sum(event.kind == "intent" for event in new)
    outcomes = sum(event.kind == "outcome" for event in new)
    if intents == 0:
        return "before the first intent"
    return "an intent without its outcome" if intents > outcomes else "between two actions"


def state_after(state: str, finished: bool, events: list[Event]) -> tuple[str, bool]:
    """The state that these events lead to, and whether the setup is rolled back and finished."""
    for event in events:
        if event.kind in ("transition", "host_rebooted") and event.to in STATES:
            state, finished = event.to, False
        elif event.kind == "setup_created":
            state, finished = "new", False
        elif event.kind == "rollback_finished":
            state, finished = "new", True
    return state, finished
