"""Every promise of the journal held against the host. Reads only, the journal too; `record` alone appends, when asked.

A promise is a file that carries something of ours (drift.py), what a step reached says of the host (its own
`verify`, asked again), what was remembered of devices, kernel and command line, and the way back itself: before-images,
restore.sh, the journal's chain. What cannot be asked of a system that does not run is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from engine.codec import finding_data
from engine.hosts.mounts import not_mounted
from engine.promises import drift, promised_boot, promised_kernel, promised_products, promised_script, whose
from engine.promises.difference import Difference, drifts
from engine.session import Session
from engine.setup import Setup
from engine.ways import step_to
from journal.errors import JournalError, VfiostateError
from journal.events import Event, Kind
from steps.base import Brief, Severity, State

# What a step's own question finds too and is said before with more: the devices, each by itself.
_SAID = frozenset({"device-absent", "device-id", "not-bound", "no-group", "guest-died"})
_PROMISES = {
    State.MODULES_LOADED: "the modules are in the kernel and in the list for every boot",
    State.BOUND: "the devices are bound, their groups viable, now and at every boot",
    State.RUNNING: "the guest runs with its devices",
}


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found: the differences, the notes, and how many promises were asked about."""

    setup: Setup | None
    found: tuple[Difference, ...] = ()
    asked: int = 0

    @property
    def differences(self) -> list[Difference]:
        """The differences in earnest."""
        return drifts(self.found)

    @property
    def notes(self) -> list[Difference]:
        """Promises that are kept by something which was made anew."""
        return [one for one in self.found if one.note]


def audit(session: Session) -> Audit:
    """Ask after every promise. Raises JournalError where the journal itself cannot be read."""
    setup = session.scribe.setup
    if setup is None or setup.finished:
        return Audit(setup)
    if strange := _ask([lambda: whose.another(session, setup)]):
        return Audit(setup, strange, 1)
    reached = reached_at(session.journal.events(), setup)
    questions = [*_cheap(session, setup, reached), *_thorough(session, setup, reached)]
    return Audit(setup, _in_order(_ask(questions)), len(questions) + len(drift.last_deeds(setup)))


def _in_order(found: Sequence[Difference]) -> tuple[Difference, ...]:
    """Where a file cannot be told apart, a rollback stops at it: that comes before any that is advised."""
    first = next((one.where for one in found if one.code == "file-muddled"), None)
    if first is None:
        return tuple(found)
    late = ("`vfiostate rollback --to" in one.hint for one in found)
    words = f"what is said of {first} comes first; after it: "
    return tuple(replace(one, hint=words * wait + one.hint) for one, wait in zip(found, late, strict=True))


def glance(session: Session, setup: Setup) -> tuple[Difference, ...]:
    """What is found without running much: for `status`, `advance` and `rollback`. Raises nothing."""
    return _ask([lambda: whose.another(session, setup)]) or _ask(_cheap(session, setup, {}))


def before_reboot(session: Session, setup: Setup) -> tuple[Difference, ...]:
    """Before the reboot that `stubbed` asks for: whether all that it made is still there. Takes seconds."""
    if setup.state is not State.STUBBED or not session.host.booted or rebooted(session, setup):
        return ()
    return _ask([lambda: _image(session, setup, {})])


Question = Callable[[], Iterable[Difference]]


def _cheap(session: Session, setup: Setup, reached: Mapping[State, int]) -> list[Question]:
    host = session.host
    if setup.rolling_back_to is not None:
        return []  # the difference is our own: what was taken back, and what is yet to be
    questions: list[Question] = [
        lambda: _mounts(session, setup),
        lambda: drift.files(host, setup, session.journal.blob),
    ]
    if host.booted and setup.rolled_back and setup.state is State.NEW:
        questions.append(lambda: promised_boot.command_line_left(host, session.brief(), setup))
    if setup.state.rank >= State.STUBBED.rank:
        questions.append(lambda: _boot(session, setup, reached))
        questions.append(lambda: promised_products.products(session, setup))
    if host.booted and setup.state.rank >= State.CHECKED.rank:
        questions.append(lambda: promised_kernel.devices(host, setup, reached))
        questions.append(lambda: promised_kernel.guest(host, setup, reached))
    if host.booted and setup.state.rank >= State.REBOOTED.rank:
        questions.append(lambda: promised_boot.cmdline_now(host, promised_boot.promise(setup, dict(reached))))
    return questions


def _boot(session: Session, setup: Setup, reached: Mapping[State, int]) -> Iterator[Difference]:
    if not promised_products.can_run(session):
        return
    host, asked = session.host, promised_boot.promise(setup, dict(reached))
    facts = promised_boot.read(host, session.brief())
    if facts is not None:
        if asked.state is State.REBOOTED:
            yield from promised_boot.line(facts, asked)
        elif not rebooted(session, setup):
            yield from promised_boot.staged(facts, asked)
    yield from promised_boot.kernels(host, facts, asked, host.booted)


def _mounts(session: Session, setup: Setup) -> Iterator[Difference]:
    """File systems with something of ours that are not mounted: of what lies there, nothing else is to be said."""
    host = session.host
    gone = [path for path in (*setup.written, *setup.produced) if host.lstat(path) is None]
    for folder in sorted({folder for path in gone if (folder := not_mounted(host, path)) is not None}):
        promised = f"it holds {', '.join(path for path in gone if path.startswith(f'{folder}/'))}"
        hint = f"mount {host.local(folder)}; what is made anew before that would lie below it, and boots nothing"
        found = "it is empty: its file system is not mounted"
        yield Difference("not-mounted", folder, promised, found, hint, grave=True)


def _thorough(session: Session, setup: Setup, reached: Mapping[State, int]) -> list[Question]:
    host = session.host
    if setup.rolling_back_to is not None:
        return [lambda: _unfinished(setup)]
    questions: list[Question] = [lambda: _unfinished(setup), lambda: promised_script.script(session, setup)]
    if setup.state.rank >= State.STUBBED.rank:
        questions.append(lambda: _image(session, setup, reached))
    if not host.booted:
        return questions
    questions.append(lambda: promised_kernel.reboot(host, setup, reached))
    for state in _PROMISES:
        if state.rank <= setup.state.rank and (state is not State.RUNNING or not rebooted(session, setup)):
            questions.append(partial(_asked_again, session, setup, state, reached))
    return questions


def rebooted(session: Session, setup: Setup) -> bool:
    """Whether the host was booted anew since the present state was reached."""
    return session.host.booted and setup.boot != session.host.boot_id


def brief_of(session: Session, setup: Setup, state: State) -> Brief:
    """What the step to a state was told when it was taken: the boot is that of the state before."""
    before = list(State)[state.rank - 1]
    return replace(session.brief(), boot=setup.boots.get(before, ""))


def _image(session: Session, setup: Setup, reached: Mapping[State, int]) -> Iterator[Difference]:
    """The initramfs of the next boot, looked into; before the reboot all that `stubbed` made."""
    host = session.host
    if setup.state is State.STUBBED and not rebooted(session, setup):
        yield from promised_boot.stubbed(host, brief_of(session, setup, State.STUBBED), reached.get(State.STUBBED, 0))
        return
    if not promised_products.can_run(session):
        return
    brief = session.brief()
    facts = promised_boot.read(host, brief)
    release = (facts.release if facts is not None else None) or host.release
    yield from promised_boot.image(host, brief, release, reached.get(State.STUBBED, 0))


def _asked_again(session: Session, setup: Setup, state: State, reached: Mapping[State, int]) -> Iterator[Difference]:
    """A step's own verification, on what is true now."""
    step = step_to(state)
    brief = brief_of(session, setup, state)
    for finding in step.verify(brief, step.probe(session.host, brief)):
        if finding.severity is Severity.REFUSAL and finding.code not in _SAID:
            found = promised_boot.of_finding(finding, _PROMISES[state], reached.get(state, 0))
            # What a step advises where it fails; it has been taken, and another `advance` would not take it again.
            hint = found.hint.replace("run `vfiostate advance` again", drift.again(state))
            yield replace(found, where=state.value, hint=hint)


def _unfinished(setup: Setup) -> Iterator[Difference]:
    if what := setup.cut_short:
        hint = "`vfiostate advance` (or `vfiostate rollback`, where one was begun) settles it"
        yield Difference("cut-short", "journal", "every action has an outcome", f"{what} was cut short", hint)


def _ask(questions: Iterable[Question]) -> tuple[Difference, ...]:
    """All answers, each difference once, and nothing of what lies on a file system that is not mounted. What cannot be
    looked at is a difference of its own."""
    found: list[Difference] = []
    for question in questions:
        try:
            found.extend(question())
        except JournalError:
            raise
        except (VfiostateError, OSError) as error:
            said = error.message if isinstance(error, VfiostateError) else str(error)
            hint = getattr(error, "hint", "") or "mend that, then ask again"
            found.append(Difference("cannot-look", "host", "it can be looked at", said, hint))
    seen: dict[tuple[str, str], Difference] = {}
    for one in found:
        seen.setdefault((one.code, one.where), one)
    below = tuple(f"{one.where}/" for one in seen.values() if one.code == "not-mounted")
    return tuple(one for one in seen.values() if not one.where.startswith(below))


def reached_at(events: Iterable[Event], setup: Setup) -> dict[State, int]:
    """The number of the event by which each state was reached last."""
    found: dict[State, int] = {}
    for event in events:
        if event.setup == setup.id and event.kind is Kind.TRANSITION:
            found[State(str(event.data["to"]))] = event.seq
    return found


def mark(found: Iterable[Difference]) -> str:
    """A name for what was found, the same as long as the same is found."""
    text = "\n".join(sorted(f"{one.code} {one.where} {one.found}" for one in found))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16] if text else ""


def record(session: Session, found: Iterable[Difference]) -> bool:
    """Append what was found, unless the journal's last word on drift says the same already. Whether it appended.

    Without a difference it appends only where one was recorded before: that it is gone.
    """
    all_ = drifts(list(found))
    now = mark(all_)
    last = ""
    for event in session.journal.events():
        if event.setup == session.setup.id and event.kind is Kind.DRIFT_FOUND and "mark" in event.data:
            last = str(event.data["mark"])
    if now == last:
        return False
    data: dict[str, object] = {"mark": now, "findings": [finding_data(one.finding()) for one in all_]}
    if all_:
        first = all_[0]
        data |= {"path": first.where, "expected": first.promised, "found": first.found, "diff": list(first.evidence)}
    else:
        data["message"] = "no difference any more"
    session.scribe.now(session.scribe.note(Kind.DRIFT_FOUND, data))
    return True
