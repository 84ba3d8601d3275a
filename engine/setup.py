"""A setup as its events tell it: the pure fold. No I/O, no triggering; a test holds it equal to the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.resume import resumption
from engine.resume.resumption import Resume
from journal.events import Event, Kind
from journal.waiting import waits
from steps.base import State

# Results of an undo after which nothing of the deed is left to be undone.
SETTLED = frozenset({"done", "merged", "already_gone", "kept", "regenerated"})


@dataclass(slots=True)
class Deed:
    """One action carried out, or begun: what the journal says of its intent, its outcome and its undoing.

    `cut_off` is what an undo that did not end well left of the files that it was to put back: path -> sha256.
    """

    seq: int
    target: State
    attempt: int
    boot: str
    action: Mapping[str, Any]
    before: Mapping[str, Mapping[str, Any]]
    planned: Mapping[str, str | None]
    result: str | None = None
    after: Mapping[str, str | None] = field(default_factory=dict)
    undone: str | None = None
    undone_in: str = ""
    cut_off: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def standing(self) -> bool:
        """Whether it may have left something on the host that is not undone."""
        return self.result != "not_done" and self.undone not in SETTLED


@dataclass(slots=True)
class Undoing:
    """An undo that was begun and has no outcome yet; `seen` is what its files were before it, where that is known."""

    seq: int
    deed: Deed
    planned: Mapping[str, str | None]
    way: str
    seen: Mapping[str, str | None]


@dataclass(slots=True)
class Attempt:
    """A step under way: the state it leads to and how many actions it planned."""

    target: State
    number: int
    actions: int
    remember: Mapping[str, str] = field(default_factory=dict)
    failed: bool = False


@dataclass(slots=True)
class Setup:
    """One life of the state machine on a host, up to the event last folded."""

    id: str
    config: Mapping[str, Any]
    config_sha256: str
    host: str
    created: str
    state: State = State.NEW
    boots: dict[State, str] = field(default_factory=dict)
    since: str = ""
    since_boot: str = ""
    attempt: Attempt | None = None
    attempts: int = 0
    deeds: dict[int, Deed] = field(default_factory=dict)
    undoing: dict[int, Undoing] = field(default_factory=dict)
    remembered: dict[str, Mapping[str, str]] = field(default_factory=dict)
    lost: State | None = None
    rolling_back_to: State | None = None
    rolled_back: bool = False
    finished: bool = False
    last_failure: Event | None = None
    resume: Resume | None = None
    begun: dict[str, str] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()

    @property
    def boot(self) -> str:
        """The boot in which the present state was reached on the way there; empty for `new`."""
        return self.boots.get(self.state, "")

    @property
    def has_guest(self) -> bool:
        """Whether the configuration has a guest to start; without one `bound` is the end of the way."""
        return self.config.get("guest") is not None

    @property
    def pending(self) -> list[Deed]:
        """Intents without an outcome, in order."""
        return [deed for deed in self.deeds.values() if deed.result is None]

    def standing(self, above: State = State.NEW) -> list[Deed]:
        """What was done for states beyond `above` and is not undone, newest first."""
        return [deed for deed in reversed(self.deeds.values()) if deed.standing and deed.target.rank > above.rank]

    @property
    def written(self) -> dict[str, str]:
        """Files that carry our content now: path -> sha256 as we left it."""
        found: dict[str, str] = {}
        for deed in self.deeds.values():
            if deed.result == "done" and deed.standing and deed.planned:
                for path, sha in deed.after.items():
                    found.pop(path, None)
                    found |= {path: sha} if sha is not None else {}
        return found

    @property
    def cut_short(self) -> str | None:
        """What has begun and not ended, None where nothing has."""
        if self.rolling_back_to is not None:
            return f"a rollback to {self.rolling_back_to.value}"
        if self.pending or self.undoing:
            count = len(self.pending) + len(self.undoing)
            return f"{count} action{'s' * (count != 1)} without an outcome"
        if self.attempt is not None and not self.attempt.failed:
            return f"the step to {self.attempt.target.value}"
        return None

    @property
    def produced(self) -> dict[str, str]:
        """Files that commands of ours made: path -> sha256 as the last of them left it."""
        found: dict[str, str] = {}
        for deed in self.deeds.values():
            if deed.result == "done" and deed.standing and not deed.planned:
                for path, sha in deed.after.items():
                    found.pop(path, None)
                    found |= {path: sha} if sha is not None else {}
        return found

    @property
    def acted(self) -> str:
        """The boot in which the last action was begun that outlasts a boot; empty where none was."""
        lasting = (deed for deed in reversed(self.deeds.values()) if deed.action["type"] != "write_attribute")
        return next((deed.boot for deed in lasting), "")


def fold(events: Iterable[Event]) -> list[Setup]:
    """Every setup of a journal, oldest first; the last one is the present one."""
    setups: list[Setup] = []
    for event in events:
        fold_into(setups, event)
    return setups


def fold_into(setups: list[Setup], event: Event) -> None:
    """Let one more event tell its part. Events belong to the last setup: a new one begins when the one before ended."""
    if event.kind is Kind.SETUP_CREATED:
        setups.append(_created(event))
    elif setups and setups[-1].id == event.setup:
        HANDLERS[event.kind](setups[-1], event)


def _created(event: Event) -> Setup:
    data: Mapping[str, Any] = event.data
    return Setup(event.setup, data["config"], data["config_sha256"], data["host"], event.at, since=event.at)


def _config_changed(setup: Setup, event: Event) -> None:
    data: Mapping[str, Any] = event.data
    setup.config, setup.config_sha256 = data["config"], data["config_sha256"]


def _step_started(setup: Setup, event: Event) -> None:
    data: Mapping[str, Any] = event.data
    setup.attempts = event.attempt
    setup.attempt = Attempt(State(event.step or ""), event.attempt, data["actions"], data.get("remember", {}))
    setup.begun[setup.attempt.target.value] = event.boot
    setup.refused = frozenset()


def _failed(setup: Setup, event: Event) -> None:
    if event.data.get("beside"):
        return
    setup.last_failure = None if waits(event) else event
    if event.kind is Kind.STEP_REFUSED and event.step is not None:
        found: Any = event.data["findings"]
        setup.refused = frozenset(one["code"] for one in found if one["severity"] == "refusal")
    if event.kind is Kind.STEP_FAILED and setup.attempt is not None:
        setup.attempt.failed = True


def _intent(setup: Setup, event: Event) -> None:
    data: Mapping[str, Any] = event.data
    undoes = data.get("undoes")
    if undoes is not None:
        deed, way = setup.deeds[undoes], data["action"]["type"]
        setup.undoing[event.seq] = Undoing(event.seq, deed, data["planned"], way, data.get("seen", {}))
        return
    setup.deeds[event.seq] = Deed(
        event.seq,
        State(event.step or ""),
        event.attempt,
        event.boot,
        data["action"],
        data["before"],
        data["planned"],
    )


def _outcome(setup: Setup, event: Event) -> None:
    data: Mapping[str, Any] = event.data
    undoes = data.get("undoes")
    if undoes is not None:
        undoing, deed = setup.undoing.pop(data["intent"] or 0, None), setup.deeds[undoes]
        deed.undone, deed.undone_in = data["result"], event.boot
        planned = undoing.planned if undoing is not None else {}
        deed.cut_off = {path: sha for path, sha in data.get("after", {}).items() if path in planned}
        _no_way_to_go(setup)
        return
    deed = setup.deeds[data["intent"]]
    deed.result, deed.after = data["result"], data["after"]


def _transition(setup: Setup, event: Event) -> None:
    data: Mapping[str, Any] = event.data
    target = State(data["to"])
    setup.lost = setup.state if event.kind is Kind.HOST_REBOOTED else setup.lost
    if setup.lost is not None and target.rank >= setup.lost.rank:
        setup.lost = None
    if data["trigger"].startswith("roll_back_to_"):
        setup.rolled_back, setup.rolling_back_to, setup.lost, setup.resume = True, None, None, None
    else:
        setup.rolled_back = False
        setup.boots[target] = event.boot
    if setup.resume is not None:
        resumption.moved(setup.resume, target)
    setup.state, setup.since, setup.since_boot, setup.attempt = target, event.at, event.boot, None
    setup.last_failure, setup.refused = None, frozenset()
    if not setup.rolled_back:
        setup.begun = {step: boot for step, boot in setup.begun.items() if State(step).rank <= target.rank}
    if data.get("remember"):
        setup.remembered[target.value] = data["remember"]


def _rollback_started(setup: Setup, event: Event) -> None:
    data: Mapping[str, Any] = event.data
    setup.rolling_back_to, setup.attempt, setup.resume = State(data["to"]), None, None
    _no_way_to_go(setup)


def _no_way_to_go(setup: Setup) -> None:
    """A rollback to the state one is in ends with no transition: it is done when nothing stands beyond that state."""
    to = setup.rolling_back_to
    if to is setup.state and to is not State.NEW and not setup.standing(to):
        setup.rolling_back_to = None


def _rollback_stopped(setup: Setup, event: Event) -> None:
    # One that was begun before and cut short is still not finished.
    setup.last_failure = event


def _rollback_finished(setup: Setup, event: Event) -> None:
    setup.finished = True


def _resume(setup: Setup, event: Event) -> None:
    setup.resume = resumption.told(setup.resume, setup.state, event.data)


def _nothing(setup: Setup, event: Event) -> None:
    pass


HANDLERS: Mapping[Kind, Callable[[Setup, Event], None]] = {
    Kind.CONFIG_CHANGED: _config_changed,
    Kind.STEP_STARTED: _step_started,
    Kind.STEP_REFUSED: _failed,
    Kind.STEP_FAILED: _failed,
    Kind.INTENT: _intent,
    Kind.OUTCOME: _outcome,
    Kind.TRANSITION: _transition,
    Kind.HOST_REBOOTED: _transition,
    Kind.DRIFT_FOUND: _failed,
    Kind.ROLLBACK_STARTED: _rollback_started,
    Kind.ROLLBACK_STOPPED: _rollback_stopped,
    Kind.ROLLBACK_FINISHED: _rollback_finished,
    Kind.GUEST: _nothing,
    Kind.RESUME: _resume,
}
