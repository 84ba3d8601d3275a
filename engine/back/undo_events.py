"""What the journal is told of an undo: that it begins, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.back.decision import Decision
from engine.codec import encode
from engine.setup import Deed
from journal.events import Draft, Json, Kind
from steps.actions import Action

if TYPE_CHECKING:
    from engine.effects import Effect
    from engine.session import Session


def intent(session: Session, decision: Decision, action: Action | None, planned: Mapping[str, str | None]) -> Draft:
    """An undo is about to begin. `planned` is what it will make of files: path -> sha256, None for absent; `seen`, in
    the event, what they are until then.

    `action` is None where files are written back, and for what is undone by the command of another decision.
    """
    deed = decision.deed
    data: dict[str, object] = {
        "n": 0,
        "action": encode(action) if action else {"type": decision.way.value},
        "back": True,
        "undoes": deed.seq,
        "before": {},
        "planned": dict(planned),
        "seen": dict(decision.seen),
        "diff": list(decision.diff),
    }
    return session.scribe.note(Kind.INTENT, data, step=deed.target.value, attempt=deed.attempt)


def outcome(
    session: Session, deed: Deed, of: int | None, result: str, detail: str, effect: Effect | None = None
) -> Draft:
    """An undo has ended; `of` is the number of its intent, None where nothing was to be done."""
    after: dict[str, Json] = {path: sha for path, sha in effect.after.items() if path in deed.before} if effect else {}
    data: dict[str, object] = {
        "intent": of,
        "undoes": deed.seq,
        "result": result,
        "detail": detail,
        "after": after,
        "output": list(effect.output) if effect else [],
    }
    if effect is not None and effect.seconds is not None:
        data["seconds"] = effect.seconds
    return session.scribe.note(Kind.OUTCOME, data, step=deed.target.value, attempt=deed.attempt)
