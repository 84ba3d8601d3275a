"""Every promise of the journal held against the host. Reads only, the journal too; `record` alone appends, when asked.

A promise is a file that carries something of ours (drift.py), what a step reached says of the host (its own
`verify`, asked again), what was remembered of devices, kernel and command line, and the way back itself: before-images,
restore.sh, the journal's chain. What cannot be asked of a system that does not run is left out.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from engine import restore
from engine.codec import finding_data
from engine.hosts.mounts import not_mounted
from engine.promises import drift, promised_boot, promised_kernel
from engine.promises.difference import Difference, drifts
from engine.session import Session
from engine.setup import Deed, Setup
from engine.ways import step_to
from journal.errors import JournalError, VfiostateError
from journal.events import Event, Kind
from steps.base import Brief, FileKind, Severity, State

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
    return _ask(_cheap(session, setup, {}))


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
        questions.append(lambda: _products(session, setup))
    if host.booted and setup.state.rank >= State.CHECKED.rank:
        questions.append(lambda: promised_kernel.devices(host, setup, reached))
        questions.append(lambda: promised_kernel.guest(host, setup, reached))
    if host.booted and setup.state.rank >= State.REBOOTED.rank:
        questions.append(lambda: promised_boot.cmdline_now(host, promised_boot.promise(setup, dict(reached))))
    return questions


def _can_run(session: Session) -> bool:
    """Whether commands of the host can be run: not those of a mounted system for another machine."""
    return session.host.booted or session.host.query(("sh", "-c", ":")).ok


def _boot(session: Session, setup: Setup, reached: Mapping[State, int]) -> Iterator[Difference]:
    if not _can_run(session):
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


def _products(session: Session, setup: Setup) -> Iterator[Difference]:
    """What commands made of our files. Made anew by others it may say the same: what it says is asked elsewhere."""
    from engine import images  # not for a `status` without any

    last: dict[str, tuple[Deed, str | None]] = {}
    made_of: dict[str, str] = {}
    for deed in setup.deeds.values():
        # What is told apart by its lines is written by others too, such as GRUB's environment block by every boot.
        if deed.result == "done" and deed.standing and not deed.planned and not _others_write(deed):
            last |= {path: (deed, sha) for path, sha in deed.after.items()}
            made_of |= (deed.action.get("undo") or {}).get("made_of", {})
    for path, (deed, sha) in last.items():
        if sha is None:
            continue
        now = images.fingerprint(session.host, path)
        if now == sha:
            continue
        if now is None and path in made_of and session.host.lstat(made_of[path]) is None:
            found = "it is gone, with the kernel it was made for"
            yield Difference("kernel-removed", path, f"sha256 {sha[:12]}", found, "nothing", deed.seq, note=True)
        elif now is None and _given_up(session, path, made_of.get(path, "")):
            found = f"it is gone, and {made_of[path]} makes it no more"
            yield Difference("preset-removed", path, f"sha256 {sha[:12]}", found, "nothing", deed.seq, note=True)
        elif now is None:
            hint = f"make it anew: `{' '.join(deed.action.get('argv', ()))}`"
            yield Difference("product-gone", path, f"sha256 {sha[:12]}", "it is gone", hint, deed.seq, grave=True)
        elif _for_users(deed):
            found = "it was edited since vfiostate had it made"
            hint = "nothing is overwritten: a rollback stops there and asks; undo the edit, or leave it"
            yield Difference("product-edited", path, f"sha256 {sha[:12]}", found, hint, deed.seq)
        else:
            found = "it was made anew since"
            hint = "nothing, where nothing else is said of it"
            yield Difference("made-anew", path, f"sha256 {sha[:12]}", found, hint, deed.seq, note=True)


def _given_up(session: Session, path: str, source: str) -> bool:
    """Whether an image was made by a preset that makes others now: who drops one deletes its image."""
    from steps.initramfs import presets  # only where something is gone

    if not source.startswith(f"{presets.PRESETS}/") or not _can_run(session):
        return False
    now = presets.read_presets(session.host)
    return now.broken is None and source in now.sources.values() and path not in now.images


def _others_write(deed: Deed) -> bool:
    """Told apart by its lines, or there only as long as something runs."""
    undo = deed.action.get("undo")
    return isinstance(undo, Mapping) and (bool(undo.get("lines")) or undo.get("type") == "shutdown")


def _for_users(deed: Deed) -> bool:
    undo = deed.action.get("undo")
    return isinstance(undo, Mapping) and bool(undo.get("unchanged"))


def _thorough(session: Session, setup: Setup, reached: Mapping[State, int]) -> list[Question]:
    host = session.host
    if setup.rolling_back_to is not None:
        return [lambda: _unfinished(setup)]
    questions: list[Question] = [lambda: _unfinished(setup), lambda: _script(session, setup)]
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
    if not _can_run(session):
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


def _script(session: Session, setup: Setup) -> Iterator[Difference]:
    """restore.sh, the way back in a rescue shell."""
    path = f"{session.state_dir}/restore.sh"
    needed = [deed for deed in setup.standing() if deed.before]
    if not needed:
        yield from _outlived(session, setup, path)
        return
    promised = f"a script that puts back {len({path for deed in needed for path in deed.before})} files without us"
    hint = "`vfiostate advance` writes it anew from the journal"
    stat = session.host.lstat(path)
    if stat is None or stat.kind is not FileKind.FILE:
        found = "it is gone" if stat is None else f"it is a {stat.kind.value} now"
        yield Difference("restore-script", path, promised, found, hint, needed[-1].seq)
    elif lacking := restore.lacking(session):
        found = f"it does not put back {', '.join(lacking)} as the journal has it"
        yield Difference("restore-script", path, promised, found, hint, needed[-1].seq)
    elif needless := _needless(session, setup):
        found = f"it also puts back {', '.join(needless)}, which is as before"
        yield Difference("restore-script", path, promised, found, hint, needed[-1].seq)
    elif stat.mode & 0o077:
        hint = f"`chmod 600 {shlex.quote(str(session.host.local(path)))}`"
        yield Difference("restore-script", path, "mode 0600", f"mode {stat.mode:04o}", hint, needed[-1].seq)


def _needless(session: Session, setup: Setup) -> list[str]:
    """What the script puts back and need not. Of a run that was cut short, and until the boot that ends a rollback, it
    still speaks of all."""
    waits = setup.cut_short is not None or (setup.rolled_back and setup.state is State.NEW)
    return [] if waits else restore.needless(session)


def _outlived(session: Session, setup: Setup, path: str) -> Iterator[Difference]:
    """A script that puts back files in which nothing of ours is left: what others make of them would go."""
    if session.host.lstat(path) is not None and (needless := _needless(session, setup)):
        found = f"it is there, and puts back {', '.join(needless)}"
        hint = f"do not run it; remove {path}, or let `vfiostate advance` do it"
        yield Difference("restore-script", path, "no such script: nothing is changed on the host", found, hint, 0)


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
