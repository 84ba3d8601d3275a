"""What commands make anew on the way back: each command once, when all files are back; then what it wrote over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from engine import effects, images
from engine.back import undo_events
from engine.back.decision import Decision, Way
from engine.codec import describe
from journal.errors import ActionFailedError
from steps.actions import RunCommand

if TYPE_CHECKING:
    from engine.session import Session


@dataclass(frozen=True, slots=True)
class Remake:
    """One command, the decisions it is run for (newest first), and the before-images that are put back after it.

    `partly` are the deeds, by number, for which another command comes after it.
    """

    action: RunCommand
    decisions: tuple[Decision, ...]
    restore: Mapping[str, Mapping[str, Any]]
    partly: frozenset[int] = frozenset()


def remakes(decisions: Sequence[Decision]) -> list[Remake]:
    """The commands of a way back (its decisions, newest first), in the order in which they are run: that in which they
    were run last on the way there, since one may copy what another makes.

    A file that several deeds made is put back to what it was before the first of them, and only where each of them
    would put it back: where one has it made anew, what another remembers of it may be of the time in between.
    """
    oldest: dict[str, Mapping[str, Any]] = {}
    anew: set[str] = set()
    same: dict[tuple[str, ...], list[tuple[RunCommand, Decision]]] = {}
    for decision in decisions:
        oldest |= decision.deed.before
        if decision.way is Way.REGENERATE:
            anew |= (decision.deed.before.keys() - set(decision.restore)) | set(decision.came)
            for command in decision.commands:
                same.setdefault(command.argv, []).append((command, decision))
    last = {_ran(decision): decision.deed.seq for decision in reversed(decisions)}
    groups = sorted(same.values(), key=lambda group: max(last[_ran(decision)] for _, decision in group))
    found: list[Remake] = []
    later: set[int] = set()
    for group in reversed(groups):
        found.append(_remake(group, oldest, anew, later))
        later |= {decision.deed.seq for _, decision in group}
    return found[::-1]


def _ran(decision: Decision) -> tuple[str, ...]:
    return tuple(decision.deed.action.get("argv", ()))


def _remake(
    group: Sequence[tuple[RunCommand, Decision]],
    oldest: Mapping[str, Mapping[str, Any]],
    anew: set[str],
    later: set[int],
) -> Remake:
    decisions = tuple(decision for _, decision in group)
    made = dict.fromkeys(path for decision in decisions for path in (*decision.deed.before, *decision.came))
    kept = {path for decision in decisions for path in decision.restore} - anew
    restore = {path: oldest[path] for path in made if path in kept}
    partly = frozenset(later & {decision.deed.seq for decision in decisions})
    return Remake(replace(group[0][0], produces=tuple(made)), decisions, restore, partly)


def remake(session: Session, one: Remake, failed: set[int]) -> effects.Effect | None:
    """Run it: an intent for each deed, the effect, an outcome for each. Returns the effect of a command that failed.

    What will be put back is in the intents: a run that is cut off leaves files that are neither as before nor as the
    command of the deed had left them, and the next run must know them from what others have made since.
    `failed` are the deeds, by number, for which a command has failed so far: they are not settled by one that has not.
    """
    first = one.decisions[0]
    session.reporter.action(f"take back: {describe(one.action)} ({first.detail})")
    planned = {path: record["sha256"] for path, record in one.restore.items()}
    drafts = [
        undo_events.intent(
            session,
            decision,
            one.action if decision is first else None,
            {path: sha for path, sha in planned.items() if path in decision.deed.before},
        )
        for decision in one.decisions
    ]
    intents = [event.seq for event in session.scribe.now(*drafts)]
    effect = effects.carry_out(session.host, one.action, session.reporter.line)
    if effect.result == "done":
        _put_back(session, one, intents)
        _outcomes(session, one, intents, effect, failed)
        session.reporter.done(effect.result)
        return None
    session.reporter.done(effect.result)
    failed |= {decision.deed.seq for decision in one.decisions}
    _outcomes(session, one, intents, effect, failed)
    return effect


def _put_back(session: Session, one: Remake, intents: Sequence[int]) -> None:
    for path, record in one.restore.items():
        try:
            images.put_back(session.host, session.images, session.journal.blob, path, record)
        except OSError as error:
            why = effects.explain(error)
            now = effects.Effect("failed", why, effects.now(session.host, one.action))
            _outcomes(session, one, intents, now, set())
            raise ActionFailedError(
                f"Could not put back {path}: {why}.",
                hint=f"Mend that, then run the command again; or run {session.state_dir}/restore.sh.",
            ) from error


def _outcomes(session: Session, one: Remake, intents: Sequence[int], effect: effects.Effect, failed: set[int]) -> None:
    drafts = []
    for seq, decision in zip(intents, one.decisions, strict=True):
        deed = decision.deed
        settled = "failed" if deed.seq in failed else "partly" if deed.seq in one.partly else "regenerated"
        result = settled if effect.result == "done" else effect.result
        told = effect if seq == intents[0] else replace(effect, output=())
        detail = effect.detail if seq == intents[0] else f"by the command of event {intents[0]}"
        drafts.append(undo_events.outcome(session, deed, seq, result, detail, told))
    session.scribe.now(*drafts)
