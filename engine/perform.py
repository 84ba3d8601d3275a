"""Actions carried out in order, each journaled before and after: intent, effect, outcome."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from engine import effects, images, signals
from engine.codec import describe, encode
from engine.effects import Effect
from journal.errors import ActionFailedError, DriftError
from journal.events import Draft, Json, Kind
from steps.actions import Action, EditFile, WriteAttribute
from steps.base import State

if TYPE_CHECKING:
    from engine.session import Session


def perform(session: Session, target: State, attempt: int, actions: Sequence[Action]) -> None:
    """Carry the actions out. Raises ActionFailedError, DriftError or InterruptedByUser at the first that is not done.

    Whatever it raises, every effect that was begun has its intent in the journal.
    """
    number = 0
    for batch in _batches(actions):
        signals.check()
        seqs = _intend(session, target, attempt, number, batch)
        for seq, action in zip(seqs, batch, strict=True):
            effect = _effect(session, action)
            session.reporter.done(effect.result)
            session.scribe.later(_outcome(session, target, attempt, seq, effect))
            if effect.result != "done":
                raise _failure(session, action, effect)
        number += len(batch)
    signals.check()


def _batches(actions: Sequence[Action]) -> Iterator[list[Action]]:
    """Edits of files that follow one another share the commit of their intents: recovery tells each by its hash."""
    batch: list[Action] = []
    for action in actions:
        if batch and not (isinstance(action, EditFile) and isinstance(batch[-1], EditFile)):
            yield batch
            batch = []
        batch.append(action)
    if batch:
        yield batch


def _intend(session: Session, target: State, attempt: int, number: int, batch: Sequence[Action]) -> list[int]:
    drafts: list[Draft] = []
    blobs: list[bytes] = []
    for offset, action in enumerate(batch):
        before: dict[str, Json] = {}
        for path in effects.files_of(action):
            before[path], content = images.take(session.host, session.images, path)
            blobs += [content] if content is not None else []
        if isinstance(action, EditFile):
            blobs.append(action.content)
        data: dict[str, object] = {
            "n": number + offset,
            "action": encode(action),
            "back": False,
            "undoes": None,
            "before": before,
            "planned": effects.planned_of(action),
        }
        drafts.append(session.scribe.note(Kind.INTENT, data, step=target.value, attempt=attempt))
    # A crash before this returns leaves no trace on the host; after it, intents that recovery finds not done.
    return [event.seq for event in session.scribe.now(*drafts, blobs=blobs)]


def _effect(session: Session, action: Action) -> Effect:
    session.reporter.action(describe(action))
    try:
        return effects.carry_out(session.host, action, session.reporter.line)
    except DriftError as error:
        session.scribe.now(
            session.scribe.note(
                Kind.DRIFT_FOUND,
                {"path": effects.files_of(action)[0], "message": error.message, "evidence": list(error.evidence)},
            )
        )
        error.journaled = True
        raise


def _outcome(session: Session, target: State, attempt: int, seq: int, effect: Effect) -> Draft:
    data: dict[str, object] = {
        "intent": seq,
        "result": effect.result,
        "detail": effect.detail,
        "after": dict(effect.after),
        "output": list(effect.output),
    }
    if effect.seconds is not None:
        data["seconds"] = effect.seconds
    return session.scribe.note(Kind.OUTCOME, data, step=target.value, attempt=attempt)


def _failure(session: Session, action: Action, effect: Effect) -> Exception:
    signals.check()
    if effect.result == "unknown" and isinstance(action, WriteAttribute):
        return ActionFailedError(
            f"Could not {describe(action)}: {effect.detail}.",
            evidence=(f"{action.path}: no answer within {action.timeout:g} s",),
            hint="End what still uses the device (`dmesg` names the task), or reboot, then run `vfiostate advance`.",
        )
    return ActionFailedError(
        f"Could not {describe(action)}: {effect.detail}.",
        evidence=effect.output,
        hint="Mend what it names, then run `vfiostate advance` again.",
    )
