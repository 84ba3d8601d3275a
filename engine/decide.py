"""How each deed of a way back will be undone: decided for all of them before anything is changed. Reads only."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from engine import effects, images
from engine.codec import decode, describe
from engine.setup import Deed
from journal.before import Where
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
from steps.base import FileKind
from steps.insertion import sha256, take_out

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


@dataclass(frozen=True, slots=True)
class Decision:
    """What will be done about a deed, and why; `content` is the merged file, `action` what undoes a runtime effect,
    `restore` the files that are put back after it."""

    deed: Deed
    way: Way
    detail: str = ""
    content: bytes = b""
    action: Action | None = None
    diff: Sequence[str] = ()
    hint: str = ""
    restore: tuple[str, ...] = ()


@dataclass(slots=True)
class _View:
    """Files as they will be when the decisions so far are carried out: path -> content, None for absent; of what
    commands produced path -> sha256."""

    session: Session
    files: dict[str, bytes | None] = field(default_factory=dict)
    products: dict[str, str | None] = field(default_factory=dict)

    def content(self, path: str) -> bytes | None:
        """What the file holds at this point of the way back."""
        if path not in self.files:
            if images.fingerprint(self.session.host, path) is None:
                return None
            return self.session.host.local(path).read_bytes()
        return self.files[path]

    def prints(self, deed: Deed) -> dict[str, str | None]:
        """The sha256 of what a command produced, at this point of the way back."""
        host = self.session.host
        return {
            path: self.products[path] if path in self.products else images.fingerprint(host, path)
            for path in deed.before
        }

    def put_back(self, deed: Deed, detail: str) -> Decision:
        """What a command produced will be as it was before."""
        self.products |= _was(deed)
        return Decision(deed, Way.RESTORE, detail)


def _was(deed: Deed) -> dict[str, str | None]:
    return {path: record["sha256"] for path, record in deed.before.items()}


def decide(session: Session, deeds: Sequence[Deed]) -> list[Decision]:
    """How each deed will be undone, in the order given (newest first). Reads only."""
    view = _View(session)
    edits = [_decide_edit(view, deed) for deed in deeds if deed.planned]
    inexact = {decision.deed.target for decision in edits if decision.way in (Way.MERGE, Way.CONFLICT)}
    inexact |= {deed.target for deed in session.setup.deeds.values() if deed.undone == "merged"}
    by_seq = {decision.deed.seq: decision for decision in edits}
    return [by_seq.get(deed.seq) or _decide_other(view, deed, deed.target not in inexact) for deed in deeds]


def _decide_edit(view: _View, deed: Deed) -> Decision:
    ((path, record),) = deed.before.items()
    if (found := view.session.host.lstat(path)) is not None and found.kind is not FileKind.FILE:
        return _decide_special(view, deed, path, found.kind)
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
    if not now and was_sha is not None and deed.action.get("inserted"):
        view.files[path] = view.session.journal.blob(was_sha)
        return Decision(deed, Way.RESTORE, f"{path}, which was cut short while it was written")
    return _decide_changed(view, deed, path, now)


def _decide_special(view: _View, deed: Deed, path: str, kind: FileKind) -> Decision:
    """Something else is in the place of our file. What lies behind a symlink is the user's arrangement."""
    what = {FileKind.SYMLINK: "symbolic link", FileKind.DIRECTORY: "directory"}.get(kind, "special file")
    behind = b""
    with contextlib.suppress(OSError):
        behind = view.session.host.read(path) if kind is FileKind.SYMLINK else b""
    if kind is FileKind.SYMLINK and view.session.setup.id.encode() not in behind:
        return Decision(deed, Way.ALREADY_GONE, f"{path} is a symbolic link now, and nothing of ours is behind it")
    return Decision(
        deed,
        Way.CONFLICT,
        f"{path} was a file and is a {what} now",
        hint=f"put the file itself back to {path}, or take what is ours out of it by hand, then roll back again",
    )


def _decide_changed(view: _View, deed: Deed, path: str, now: bytes) -> Decision:
    inserted = deed.action.get("inserted", "").encode("utf-8", "surrogateescape")
    ours = deed.planned[path]
    left = view.session.journal.blob(ours) if ours else b""
    diff = effects.difference(path, left, now)
    content = take_out(now, inserted)
    if content is not None:
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


def _decide_other(view: _View, deed: Deed, exact: bool) -> Decision:
    session = view.session
    action = decode(deed.action, session.journal.blob)
    match action:
        case RunCommand(undo=Regenerate() as undo):
            return _decide_products(view, deed, undo, exact)
        case RunCommand(undo=Inverse(lines=(_, *_)) as undo):
            return _decide_lines(view, deed, undo, action)
        case RunCommand(undo=Inverse(argv, timeout) as undo):
            back = RunCommand(argv, f"undo: {action.why}", undo, (), timeout)
            return _decide_inverse(session, deed, back, lasting=undo.lasting)
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


def _decide_products(view: _View, deed: Deed, undo: Regenerate, exact: bool) -> Decision:
    if not deed.before:
        return again(view.session, deed, "what it makes lies where only it can look")
    now, was = view.prints(deed), _was(deed)
    kin = _came_since(view.session, deed, undo)
    if not kin and now == was:
        return Decision(deed, Way.ALREADY_GONE, "what it makes is as it was")
    # Found out before anything is changed: a way back must not stop halfway at a before-image that is damaged.
    lost = {path for path, record in deed.before.items() if not images.sound(view.session.images, record)}
    # A way back that was cut short has put some of them back already.
    ours = all(found in (was[path], deed.after.get(path, was[path])) for path, found in now.items())
    if not kin and exact and ours and not lost:
        return view.put_back(deed, ", ".join(deed.before))
    why = f"{', '.join(kin)} was made since" if kin else "it was made anew since by others"
    if not kin and ours:
        why = "what it was made of was changed since"
    if lost:
        why = f"the before-image of {', '.join(sorted(lost))} is damaged"
    run = RunCommand(undo.argv, why, undo, tuple(deed.before), undo.timeout)
    restore = tuple(path for path, found in now.items() if exact and found == deed.after.get(path) and path not in lost)
    return Decision(deed, Way.REGENERATE, why, action=run, restore=restore)


def again(session: Session, deed: Deed, why: str) -> Decision:
    """What a command of that deed once made is to be made by it anew."""
    action = decode(deed.action, session.journal.blob)
    assert isinstance(action, RunCommand) and isinstance(action.undo, Regenerate)
    run = RunCommand(action.undo.argv, why, action.undo, tuple(deed.before), action.undo.timeout)
    return Decision(deed, Way.REGENERATE, why, action=run)


def _came_since(session: Session, deed: Deed, undo: Regenerate) -> list[str]:
    """What the command makes too, and what was not there when it ran."""
    folder, _, pattern = undo.kin.rpartition("/")
    if not pattern:
        return []
    try:
        names = fnmatch.filter(session.host.list(folder or "/"), pattern)
    except OSError:
        return []
    known = {*deed.before, *undo.there}
    return [path for path in (f"{folder}/{name}" for name in names) if path not in known]


def _decide_lines(view: _View, deed: Deed, undo: Inverse, action: RunCommand) -> Decision:
    """A command that set something in a file which others write too, such as GRUB's environment block."""
    now, where = view.prints(deed), ", ".join(deed.before)
    if now == _was(deed):
        return Decision(deed, Way.ALREADY_GONE, f"{where} is as it was")
    if now == dict(deed.after):
        return view.put_back(deed, where)
    if torn := [path for path in deed.before if _torn(view, deed, path)]:
        return view.put_back(deed, f"{', '.join(torn)}, which was cut short while it was written")
    held: set[str] = set()
    for path in deed.before:
        with contextlib.suppress(OSError):
            held |= set(view.session.host.read(path).decode(errors="replace").splitlines())
    if not any(_was(deed).values()) and all(line in undo.lines or line.startswith("#") for line in held):
        return view.put_back(deed, f"{where}, which holds nothing but ours")
    if held.isdisjoint(undo.lines):
        return Decision(deed, Way.ALREADY_GONE, f"nothing of ours is in {where} any more")
    inverse = RunCommand(undo.argv, f"undo: {action.why}", action.undo, (), undo.timeout)
    return Decision(deed, Way.INVERSE, describe(inverse), action=inverse)


def _torn(view: _View, deed: Deed, path: str) -> bool:
    """Whether a file that is written in place lost its first line, by which its readers know it: a crash did that."""
    record = deed.before[path]
    if record.get("where") != Where.BLOB.value:
        return False
    was, now = view.session.journal.blob(record["sha256"]), view.content(path)
    return now is not None and now.partition(b"\n")[0] != was.partition(b"\n")[0]


def _decide_inverse(session: Session, deed: Deed, inverse: RunCommand, *, lasting: bool) -> Decision:
    if lasting and not session.host.booted:
        what = f"`{describe(inverse)}` works on the host itself only, and this is a system that is mounted"
        return Decision(
            deed, Way.CONFLICT, what, hint="boot it (an entry of the menu is as before), and roll back there"
        )
    if not session.host.booted:
        return Decision(deed, Way.RESTORE, ", ".join(deed.before)) if deed.before else _gone_with_boot(deed)
    if not deed.before and not lasting:
        return _decide_runtime(session, deed, inverse)
    return Decision(deed, Way.INVERSE, describe(inverse), action=inverse)


def _decide_runtime(session: Session, deed: Deed, inverse: Action) -> Decision:
    if not session.host.booted or deed.boot != session.host.boot_id:
        return _gone_with_boot(deed)
    if deed.result == "failed":
        return Decision(deed, Way.KEEP, "it had failed: nothing to undo")
    if (found := _set_by_others(session, deed, inverse)) is not None:
        return Decision(deed, Way.KEEP, found)
    return Decision(deed, Way.INVERSE, describe(inverse), action=inverse)


def _set_by_others(session: Session, deed: Deed, inverse: Action) -> str | None:
    """Another tool's driver_override in the place of ours is its own to clear."""
    if not isinstance(inverse, WriteAttribute) or not inverse.path.endswith("/driver_override"):
        return None
    try:
        now = session.host.read(inverse.path).decode(errors="replace").strip()
    except OSError:
        return None
    if now in ("", "(null)", deed.action.get("value"), inverse.value.strip()):
        return None
    return f"{inverse.path} is {now} now, set by somebody else: it is left so"


def _gone_with_boot(deed: Deed) -> Decision:
    return Decision(deed, Way.KEEP, "it lasted only until the reboot")


def conflicts(decisions: Sequence[Decision]) -> list[Decision]:
    """The decisions that only the user can take."""
    return [decision for decision in decisions if decision.way is Way.CONFLICT]
