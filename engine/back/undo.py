"""The way back of one deed, carried out as it was decided, each undo journaled; and the result compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine import effects, images
from engine.back import undo_events
from engine.back.decide import conflicts
from engine.back.decision import Decision, Way, was
from engine.back.remake import remake, remakes
from engine.back.stopping import goes_on
from engine.codec import describe, finding_data
from engine.hosts.base import Attributes
from engine.setup import Deed
from journal.errors import ActionFailedError, DriftError, Exit
from journal.events import Kind
from steps.actions import Action, RunCommand
from steps.base import Finding, Severity
from steps.insertion import sha256

if TYPE_CHECKING:
    from engine.session import Session

CHANGED = "Run the command again: it decides about the file as it is then."
RESULTS = {
    Way.RESTORE: "done",
    Way.MERGE: "merged",
    Way.ALREADY_GONE: "already_gone",
    Way.KEEP: "kept",
    Way.INVERSE: "done",
}


def undo(session: Session, decision: Decision) -> effects.Effect | None:
    """Carry out a decision: intent, effect, outcome. A runtime effect that cannot be undone is recorded as kept.

    Returns the effect of a command that was to make a file what it was and did not.
    """
    deed = decision.deed
    if decision.way in (Way.KEEP, Way.ALREADY_GONE):
        _outcome(session, deed, None, RESULTS[decision.way], decision.detail)
        return None
    what = ", ".join(deed.before) if decision.way is Way.MERGE else decision.detail
    session.reporter.action(f"take back: {what}")
    intent = session.scribe.now(undo_events.intent(session, decision, decision.action, _planned(decision)))[0].seq
    if decision.way is Way.INVERSE:
        assert decision.action is not None
        effect = effects.carry_out(session.host, decision.action, session.reporter.line)
        # Few tools sync what they change: after a power cut it would be undone in the journal and not on the disk.
        for path in deed.before:
            session.host.sync(path)
        left = _finish_inverse(session, deed, decision.action, intent, effect)
        session.reporter.done("failed" if left is not None else "done" if effect.result == "done" else "kept")
        return left
    try:
        _write_back(session, decision)
    except DriftError as error:
        session.reporter.done("failed")
        _outcome(session, deed, intent, "failed", error.message)
        data: dict[str, object] = {"path": next(iter(deed.before)), "message": error.message}
        data["evidence"] = list(error.evidence)
        session.scribe.now(session.scribe.note(Kind.DRIFT_FOUND, data, step=deed.target.value, attempt=deed.attempt))
        error.journaled = True
        raise
    except OSError as error:
        session.reporter.done("failed")
        _outcome(session, deed, intent, "failed", effects.explain(error))
        raise ActionFailedError(
            f"Could not put back {decision.detail}: {effects.explain(error)}.",
            hint=f"Mend that, then run the command again; or run {session.state_dir}/restore.sh.",
        ) from error
    _outcome(session, deed, intent, RESULTS[decision.way], decision.detail)
    session.reporter.done("only what is ours: it was changed since" if decision.way is Way.MERGE else "done")
    return None


def _write_back(session: Session, decision: Decision) -> None:
    for path in decision.deed.before:
        # All was decided before anything was changed, and what came in between may have taken minutes.
        if path in decision.seen:
            effects.refuse_drift(session.host, path, decision.seen[path], CHANGED)
        if decision.way is Way.MERGE:
            session.host.write_file(path, decision.content, session.host.attributes(path))
        elif decision.deed.planned:
            images.put_back(
                session.host,
                session.images,
                session.journal.blob,
                path,
                decision.deed.before[path],
                _changed_attributes(session, path, decision.deed.before[path]),
            )
        else:
            record = decision.deed.before[path]
            images.put_back(session.host, session.images, session.journal.blob, path, record)


def _changed_attributes(session: Session, path: str, record: Mapping[str, Any]) -> Attributes | None:
    """What the user made of mode and owner since: an edit of ours leaves both as they are. None: they are as before."""
    if record["sha256"] is None or session.host.lstat(path) is None:
        return None
    now, was = session.host.attributes(path), images.attributes_of(record)
    return now if (now.mode, now.uid, now.gid) != (was.mode, was.uid, was.gid) else None


def _finish_inverse(
    session: Session, deed: Deed, action: Action, intent: int, effect: effects.Effect
) -> effects.Effect | None:
    for path, record in deed.before.items():
        # Whatever the inverse made of it, what our command made goes; what others made since stays.
        if images.fingerprint(session.host, path) == deed.after.get(path) != record["sha256"]:
            images.put_back(session.host, session.images, session.journal.blob, path, record)
    if effect.result == "done":
        _outcome(session, deed, intent, "done", effect.detail, effect)
        return None
    if goes_on(session.host, action):
        # To take from a guest what it holds would wait for its end, beyond the reach of signals.
        session.reporter.done("failed")
        _outcome(session, deed, intent, "failed", effect.detail, effect)
        raise ActionFailedError(
            f"Could not {describe(action)}: {effect.detail}; it goes on, and nothing is taken from it.",
            hint="End it by its own means (shut it down from within), then run the command again.",
        )
    # What ran and cannot be undone is gone with the next boot at the latest. A file is not: the next run tries again.
    # Nor is what is in no file and outlasts the boot.
    left = any(images.differences(session.host, path, record) for path, record in deed.before.items())
    left = left or bool((deed.action.get("undo") or {}).get("lasting"))
    _outcome(session, deed, intent, "failed" if left else "kept", effect.detail, effect)
    return effect if left else None


def _planned(decision: Decision) -> dict[str, str | None]:
    """What the files will be, where that is known before."""
    if decision.way is Way.RESTORE:
        return was(decision.deed)
    return dict.fromkeys(decision.deed.before, sha256(decision.content)) if decision.way is Way.MERGE else {}


def _outcome(
    session: Session, deed: Deed, intent: int | None, result: str, detail: str, effect: effects.Effect | None = None
) -> None:
    session.scribe.now(undo_events.outcome(session, deed, intent, result, detail, effect))


def take_back(session: Session, decisions: Sequence[Decision]) -> None:
    """Carry all decisions out: newest first, and what has to be made anew last, each command once.

    Raises ActionFailedError, after all the others, for a command that did not make what it was to make as it was.
    """
    failed: list[tuple[RunCommand, effects.Effect]] = []
    for decision in decisions:
        if decision.way is not Way.REGENERATE and (effect := undo(session, decision)) is not None:
            failed += [(decision.action, effect)] if isinstance(decision.action, RunCommand) else []
    unsettled: set[int] = set()
    for one in remakes(decisions):
        if (effect := remake(session, one, unsettled)) is not None:
            failed.append((one.action, effect))
    for action, effect in failed:
        raise ActionFailedError(
            f"Could not {describe(action)}: {effect.detail}; what it makes is not yet as it was.",
            evidence=effect.output,
            hint="Mend what it names, then run the command again.",
        )


def compare(session: Session, deeds: Sequence[Deed]) -> tuple[list[str], list[dict[str, str]]]:
    """Which files are byte for byte as before the oldest of these deeds, and which differ and in what."""
    first: dict[str, Mapping[str, Any]] = {}
    # What a command would leave if it were cut off, and did not, is none of the files.
    there = {path for deed in deeds for path, sha in (*deed.planned.items(), *deed.after.items()) if sha is not None}
    for deed in sorted(deeds, key=lambda deed: deed.seq):
        for path, record in deed.before.items():
            first.setdefault(path, record)
    as_before, differs = [], []
    for path, record in sorted(first.items()):
        why = images.differences(session.host, path, record)
        if why:
            differs.append({"path": path, "why": ", ".join(why)})
        elif record["sha256"] is not None or path in there:
            as_before.append(path)
    return as_before, differs


def refuse_conflicts(session: Session, decisions: Sequence[Decision]) -> None:
    """Stop before anything is changed when a file cannot be told apart; the journal keeps the difference."""
    found = conflicts(decisions)
    if not found:
        return
    findings = [
        finding_data(Finding("cannot-tell-apart", Severity.REFUSAL, one.detail, tuple(one.diff), one.hint, Exit.DRIFT))
        for one in found
    ]
    session.scribe.now(session.scribe.note(Kind.ROLLBACK_STOPPED, {"findings": list(findings)}))
    error = DriftError(found[0].detail, evidence=tuple(found[0].diff), hint=found[0].hint)
    error.journaled = True
    raise error
