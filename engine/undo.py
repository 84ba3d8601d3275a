"""The way back of one deed: first decided for all deeds without changing anything, then done, each undo journaled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from engine import effects, images
from engine.codec import decode, describe, encode, sha256
from engine.setup import Deed
from journal.errors import ActionFailedError
from journal.events import Kind
from steps.actions import (
    Action,
    Inverse,
    Regenerate,
    RunCommand,
    StartProcess,
    StopProcess,
    Write,
    WriteAttribute,
)

if TYPE_CHECKING:
    from engine.session import Session


class Way(StrEnum):
    """How a deed is undone."""

    RESTORE = "restore"
    MERGE = "merge"
    ALREADY_GONE = "already_gone"
    KEEP = "kept"
    INVERSE = "inverse"
    REGENERATE = "regenerate"
    CONFLICT = "conflict"


RESULTS = {
    Way.RESTORE: "done",
    Way.MERGE: "merged",
    Way.ALREADY_GONE: "already_gone",
    Way.KEEP: "kept",
    Way.INVERSE: "done",
    Way.REGENERATE: "regenerated",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """What will be done about a deed, and why; `content` is the merged file, `action` what undoes a runtime effect."""

    deed: Deed
    way: Way
    detail: str = ""
    content: bytes = b""
    action: Action | None = None
    diff: Sequence[str] = ()
    hint: str = ""


@dataclass(slots=True)
class _View:
    """Files as they will be when the decisions so far are carried out: path -> content, None for absent."""

    session: Session
    files: dict[str, bytes | None] = field(default_factory=dict)

    def content(self, path: str) -> bytes | None:
        """What the file holds at this point of the way back."""
        if path not in self.files:
            if images.fingerprint(self.session.host, path) is None:
                return None
            return self.session.host.local(path).read_bytes()
        return self.files[path]


def decide(session: Session, deeds: Sequence[Deed]) -> list[Decision]:
    """How each deed will be undone, in the order given (newest first). Reads only."""
    view = _View(session)
    edits = [_decide_edit(view, deed) for deed in deeds if deed.planned]
    inexact = {decision.deed.target for decision in edits if decision.way in (Way.MERGE, Way.CONFLICT)}
    inexact |= {deed.target for deed in session.setup.deeds.values() if deed.undone == "merged"}
    by_seq = {decision.deed.seq: decision for decision in edits}
    return [by_seq.get(deed.seq) or _decide_other(session, deed, deed.target not in inexact) for deed in deeds]


def _decide_edit(view: _View, deed: Deed) -> Decision:
    ((path, record),) = deed.before.items()
    now = view.content(path)
    was_sha, ours = record["sha256"], deed.planned[path]
    now_sha = None if now is None else sha256(now)
    if now_sha == was_sha:
        return Decision(deed, Way.ALREADY_GONE, f"{path} is as it was")
    if now_sha == ours:
        view.files[path] = None if was_sha is None else view.session.journal.blob(was_sha)
        return Decision(deed, Way.RESTORE, path)
    if now is None:
        return Decision(deed, Way.ALREADY_GONE, f"{path} was removed by somebody else")
    return _decide_changed(view, deed, path, now)


def _decide_changed(view: _View, deed: Deed, path: str, now: bytes) -> Decision:
    inserted = deed.action.get("inserted", "").encode("utf-8", "surrogateescape")
    ours = deed.planned[path]
    left = view.session.journal.blob(ours) if ours else b""
    diff = effects.difference(path, left, now)
    if inserted and now.count(inserted) == 1:
        content = now.replace(inserted, b"")
        view.files[path] = content
        return Decision(
            deed, Way.MERGE, f"{path} was changed since; only what is ours is taken out", content, diff=diff
        )
    if inserted and view.session.setup.id.encode() not in now:
        return Decision(deed, Way.ALREADY_GONE, f"nothing of ours is in {path} any more", diff=diff)
    return Decision(
        deed,
        Way.CONFLICT,
        f"{path} was changed since, and what is ours cannot be told apart from what is not",
        diff=diff,
        hint=f"take what is ours out of {path} by hand (or move the file away), then roll back again",
    )


def _decide_other(session: Session, deed: Deed, exact: bool) -> Decision:
    action = decode(deed.action, session.journal.blob)
    match action:
        case RunCommand(undo=Regenerate() as undo):
            return _decide_products(session, deed, undo, exact)
        case RunCommand(undo=Inverse(argv, timeout)):
            return _decide_inverse(session, deed, RunCommand(argv, f"undo: {action.why}", action.undo, (), timeout))
        case RunCommand() | StopProcess():
            return Decision(deed, Way.KEEP, getattr(getattr(action, "undo", None), "reason", "what ran is gone"))
        case WriteAttribute(undo=Write(path, value)):
            inverse = WriteAttribute(path, value, f"undo: {action.why}", action.undo, action.timeout)
            return _decide_runtime(session, deed, inverse)
        case StartProcess():
            later = [each for each in session.setup.standing() if each.seq > deed.seq and each.action == deed.action]
            if later:
                return Decision(deed, Way.ALREADY_GONE, f"{action.name} was started anew since")
            if session.host.booted and session.host.alive(action.name):
                stop = StopProcess(action.name, f"undo: {action.why}", action.timeout)
                return Decision(deed, Way.INVERSE, describe(stop), action=stop)
            return Decision(deed, Way.ALREADY_GONE, f"{action.name} does not run")
        case _:
            return Decision(deed, Way.KEEP, getattr(getattr(action, "undo", None), "reason", "cannot be undone"))


def _decide_products(session: Session, deed: Deed, undo: Regenerate, exact: bool) -> Decision:
    now = {path: images.fingerprint(session.host, path) for path in deed.before}
    if now == {path: record["sha256"] for path, record in deed.before.items()}:
        return Decision(deed, Way.ALREADY_GONE, "what it makes is as it was")
    if exact and now == dict(deed.after):
        return Decision(deed, Way.RESTORE, ", ".join(deed.before))
    why = "what it was made of was changed since" if now == dict(deed.after) else "it was made anew since by others"
    run = RunCommand(undo.argv, why, undo, tuple(deed.before), undo.timeout)
    return Decision(deed, Way.REGENERATE, why, action=run)


def _decide_inverse(session: Session, deed: Deed, inverse: RunCommand) -> Decision:
    if not session.host.booted:
        return Decision(deed, Way.RESTORE, ", ".join(deed.before)) if deed.before else _gone_with_boot(deed)
    if not deed.before:
        return _decide_runtime(session, deed, inverse)
    return Decision(deed, Way.INVERSE, describe(inverse), action=inverse)


def _decide_runtime(session: Session, deed: Deed, inverse: Action) -> Decision:
    if not session.host.booted or deed.boot != session.host.boot_id:
        return _gone_with_boot(deed)
    if deed.result == "failed":
        return Decision(deed, Way.KEEP, "it had failed: nothing to undo")
    return Decision(deed, Way.INVERSE, describe(inverse), action=inverse)


def _gone_with_boot(deed: Deed) -> Decision:
    return Decision(deed, Way.KEEP, "it lasted only until the reboot")


def undo(session: Session, decision: Decision) -> effects.Effect | None:
    """Carry out a decision: intent, effect, outcome. A runtime effect that cannot be undone is recorded as kept.

    Returns the effect of a command that was to make something anew and did not.
    """
    deed = decision.deed
    if decision.way in (Way.KEEP, Way.ALREADY_GONE):
        _outcome(session, deed, None, RESULTS[decision.way], decision.detail)
        return None
    session.reporter.action(f"take back: {decision.detail}")
    intent = _intent(session, decision)
    if decision.way in (Way.INVERSE, Way.REGENERATE):
        assert decision.action is not None
        effect = effects.carry_out(session.host, decision.action, session.reporter.line)
        if decision.way is Way.INVERSE:
            _finish_inverse(session, deed, intent, effect)
        else:
            result = RESULTS[decision.way] if effect.result == "done" else effect.result
            _outcome(session, deed, intent, result, effect.detail, effect)
            return effect if effect.result != "done" else None
        return None
    try:
        _write_back(session, decision)
    except OSError as error:
        _outcome(session, deed, intent, "failed", effects.explain(error))
        raise ActionFailedError(
            f"cannot put back {decision.detail}: {effects.explain(error)}",
            hint=f"mend it, then run the command again; {session.state_dir}/restore.sh does it without vfiostate",
        ) from error
    _outcome(session, deed, intent, RESULTS[decision.way], decision.detail)
    return None


def _write_back(session: Session, decision: Decision) -> None:
    for path, record in decision.deed.before.items():
        if decision.way is Way.MERGE:
            session.host.write_file(path, decision.content, session.host.attributes(path))
        else:
            images.put_back(session.host, session.images, session.journal.blob, path, record)


def _finish_inverse(session: Session, deed: Deed, intent: int, effect: effects.Effect) -> None:
    for path, record in deed.before.items():
        # Whatever the inverse made of it, what our command made goes; what others made since stays.
        if images.fingerprint(session.host, path) == deed.after.get(path) != record["sha256"]:
            images.put_back(session.host, session.images, session.journal.blob, path, record)
    done = effect.result == "done"
    _outcome(session, deed, intent, "done" if done else "kept", effect.detail, effect)


def _intent(session: Session, decision: Decision) -> int:
    deed = decision.deed
    planned: dict[str, Any] = {}
    if decision.way is Way.RESTORE:
        planned = {path: record["sha256"] for path, record in deed.before.items()}
    elif decision.way is Way.MERGE:
        planned = dict.fromkeys(deed.before, sha256(decision.content))
    data: dict[str, object] = {
        "n": 0,
        "action": encode(decision.action) if decision.action else {"type": decision.way.value},
        "back": True,
        "undoes": deed.seq,
        "before": {},
        "planned": planned,
        "diff": list(decision.diff),
    }
    return session.scribe.now(session.scribe.note(Kind.INTENT, data, step=deed.target.value, attempt=deed.attempt))[
        0
    ].seq


def _outcome(
    session: Session, deed: Deed, intent: int | None, result: str, detail: str, effect: effects.Effect | None = None
) -> None:
    data: dict[str, object] = {
        "intent": intent,
        "undoes": deed.seq,
        "result": result,
        "detail": detail,
        "after": dict(effect.after) if effect else {},
        "output": list(effect.output) if effect else [],
    }
    session.scribe.now(session.scribe.note(Kind.OUTCOME, data, step=deed.target.value, attempt=deed.attempt))


def take_back(session: Session, decisions: Sequence[Decision]) -> None:
    """Carry all decisions out: newest first, and what has to be made anew last, each command once.

    Raises ActionFailedError, after all the others, for a command that did not make anew what it was to make.
    """
    failed: list[tuple[RunCommand, effects.Effect]] = []
    later: dict[tuple[str, ...], list[Decision]] = {}
    for decision in decisions:
        if decision.way is Way.REGENERATE:
            assert isinstance(decision.action, RunCommand)
            later.setdefault(decision.action.argv, []).append(decision)
        else:
            undo(session, decision)
    for same in later.values():
        effect = undo(session, same[0])
        if effect is not None and isinstance(same[0].action, RunCommand):
            failed.append((same[0].action, effect))
        for decision in same[1:]:
            _outcome(
                session, decision.deed, None, session.setup.deeds[same[0].deed.seq].undone or "failed", "as before"
            )
    for action, effect in failed:
        raise ActionFailedError(
            f"{describe(action)}: {effect.detail}; what it makes is not yet as it was",
            evidence=effect.output,
            hint="mend what it names, then run the command again",
        )


def conflicts(decisions: Sequence[Decision]) -> list[Decision]:
    """The decisions that only the user can take."""
    return [decision for decision in decisions if decision.way is Way.CONFLICT]


def compare(session: Session, deeds: Sequence[Deed]) -> tuple[list[str], list[dict[str, str]]]:
    """Which files are byte for byte as before the oldest of these deeds, and which differ and in what."""
    first: dict[str, Mapping[str, Any]] = {}
    for deed in sorted(deeds, key=lambda deed: deed.seq):
        for path, record in deed.before.items():
            first.setdefault(path, record)
    as_before, differs = [], []
    for path, record in sorted(first.items()):
        why = images.differences(session.host, path, record)
        if why:
            differs.append({"path": path, "why": ", ".join(why)})
        else:
            as_before.append(path)
    return as_before, differs
