"""A setup explained, from the events alone: how far it came, what failed, what is changed now, what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.explain.account import FAILURES, Line, account
from engine.explain.outlook import backward, changed, forward
from engine.setup import Setup, fold
from journal.events import Event, Json, Kind
from journal.waiting import waits
from steps.base import State

# Failures that are told in whole.
MOST = 5


@dataclass(frozen=True, slots=True)
class Section:
    """One of the questions, and its answer."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """All answers about one setup. `state` is where it is, `furthest` how far it came."""

    setup: str
    state: State
    furthest: State
    sections: tuple[Section, ...]

    def as_json(self) -> dict[str, Json]:
        """For `journal explain --json`."""
        return {
            "setup": self.setup,
            "state": self.state.value,
            "furthest": self.furthest.value,
            "sections": [
                {
                    "title": section.title,
                    "lines": [
                        {"text": line.text, "event": line.event or None, "details": list(line.details)}
                        for line in section.lines
                    ],
                }
                for section in self.sections
            ],
        }


def explain(events: Sequence[Event], setup: str) -> Explanation:
    """Explain the setup of that id, which the events tell of."""
    own = [event for event in events if event.setup == setup]
    found = next(one for one in fold(own) if one.id == setup)
    told, failures = account(events, setup), {event.seq for event in own if _grave(event)}
    furthest = max((_reached(event) for event in own), key=lambda state: state.rank)
    return Explanation(
        setup,
        found.state,
        furthest,
        (
            Section("Where it stands", _stands(found, furthest, own)),
            Section("What happened", tuple(_short(line, failures) for line in told)),
            Section("What failed", _failed(found, [line for line in told if line.event in failures])),
            Section("What is changed on the host now", _changed(found, own[-1].boot)),
            Section("What `vfiostate advance` would do", forward(found)),
            Section("What `vfiostate rollback` would do", backward(found, own[-1].boot)),
        ),
    )


def _grave(event: Event) -> bool:
    if event.kind is Kind.DRIFT_FOUND and isinstance(found := event.data.get("findings"), list):
        # What others changed and is in nobody's way is told as what happened.
        return any(isinstance(one, dict) and one.get("severity") == "refusal" for one in found)
    return event.kind in FAILURES and not waits(event)


def _reached(event: Event) -> State:
    return State(str(event.data.get("to"))) if event.kind is Kind.TRANSITION else State.NEW


def _stands(setup: Setup, furthest: State, own: Sequence[Event]) -> tuple[Line, ...]:
    if setup.finished:
        return (
            Line(f"It came as far as `{furthest.value}`, and was taken back: the rollback is finished.", own[-1].seq),
        )
    said = [f"It is `{setup.state.value}`, since {setup.since[:19].replace('T', ' ')} UTC"]
    if furthest.rank > setup.state.rank:
        said.append(f"; it had come as far as `{furthest.value}`")
    lines = [Line("".join(said) + ".")]
    if setup.rolled_back and setup.state is State.NEW:
        lines.append(Line("The rollback is not finished before the next boot."))
    if setup.cut_short is not None:
        lines.append(Line(f"The last run was cut short: {setup.cut_short} has not ended.", own[-1].seq))
    if setup.resume is not None and setup.resume.parked is not None:
        lines.append(Line(f"It does not go on by itself any more: {setup.resume.parked.rstrip('.')}."))
    return tuple(lines)


def _short(line: Line, failures: set[int]) -> Line:
    """A failure is told in whole where it is asked for."""
    return replace(line, details=()) if line.event in failures else line


def _failed(setup: Setup, told: Sequence[Line]) -> tuple[Line, ...]:
    """The failures in whole, the last one first."""
    if not told:
        return (Line("Nothing." if setup.cut_short is None else "No step failed; a run was cut short."),)
    over = () if setup.last_failure is not None or setup.rolled_back else (Line("All of it was overcome since:"),)
    more = (Line(f"{len(told) - MOST} more before these."),) if len(told) > MOST else ()
    return (*over, *reversed(told[-MOST:]), *more)


def _changed(setup: Setup, boot: str) -> tuple[Line, ...]:
    if found := changed(setup, boot):
        return found
    if not setup.finished:
        return (Line("Nothing."),)
    over = "Nothing of ours: all was taken back"
    return (Line(f"{over}; what differs from before is said above." if _differs(setup) else f"{over}."),)


def _differs(setup: Setup) -> bool:
    return any(deed.undone == "merged" for deed in setup.deeds.values())
