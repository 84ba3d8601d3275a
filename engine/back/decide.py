"""How each deed of a way back will be undone: decided for all of them before anything is changed. Reads only."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine import effects
from engine.back import decide_commands
from engine.back.decision import Decision, View, Way, was
from engine.codec import decode, describe, without_ours
from engine.hosts.mounts import not_mounted
from engine.setup import Deed
from steps.actions import (
    Action,
    Inverse,
    PinThreads,
    Regenerate,
    RunCommand,
    Shutdown,
    StartProcess,
    StopProcess,
    Write,
    WriteAttribute,
)
from steps.base import FileKind
from steps.insertion import sha256
from steps.reading import NOT_THERE

if TYPE_CHECKING:
    from engine.session import Session


def decide(session: Session, deeds: Sequence[Deed]) -> list[Decision]:
    """How each deed will be undone, in the order given (newest first). Reads only."""
    view = View(session)
    edits = [_decide_edit(view, deed) for deed in deeds if deed.planned]
    inexact = {decision.deed.target for decision in edits if decision.way in (Way.MERGE, Way.CONFLICT)}
    inexact |= {deed.target for deed in session.setup.deeds.values() if deed.undone == "merged"}
    by_seq = {decision.deed.seq: decision for decision in edits}
    return [
        _not_mounted(session, deed) or by_seq.get(deed.seq) or _decide_other(view, deed, deed.target not in inexact)
        for deed in deeds
    ]


def _not_mounted(session: Session, deed: Deed) -> Decision | None:
    """Of what lies on a file system that is not mounted nothing can be said, and what was made anew would lie below."""
    shas = (*was(deed).items(), *deed.planned.items(), *deed.after.items())
    for path in sorted({path for path, sha in shas if sha is not None}):
        if (folder := not_mounted(session.host, path)) is not None:
            what = f"{folder} is empty, and {path} lies below it: its file system is not mounted."
            none = shlex.quote(str(session.host.local(f"{folder}/none")))
            hint = f"Mount it, then roll back again; if that is all there is of it, `mkdir {none}` first."
            return Decision(deed, Way.CONFLICT, what, hint=hint)
    return None


def _decide_edit(view: View, deed: Deed) -> Decision:
    ((path, record),) = deed.before.items()
    if (found := view.session.host.lstat(path)) is not None and found.kind is not FileKind.FILE:
        return _decide_special(view, deed, path, found.kind)
    now = view.content(path)
    was_sha, ours = record["sha256"], deed.planned[path]
    now_sha = None if now is None else sha256(now)
    if now_sha == was_sha:
        return Decision(deed, Way.ALREADY_GONE, f"{path} is as it was")
    if now is None and view.session.host.lstat(path.rpartition("/")[0] or "/") is None:
        return Decision(deed, Way.ALREADY_GONE, f"{path} is gone with its directory")
    if now_sha == ours:
        view.files[path] = None if was_sha is None else view.session.journal.blob(was_sha)
        return Decision(deed, Way.RESTORE, path, seen={path: now_sha})
    if now is None:
        return Decision(deed, Way.ALREADY_GONE, f"{path} was removed by somebody else")
    if not now and was_sha is not None and deed.action.get("inserted"):
        view.files[path] = view.session.journal.blob(was_sha)
        return Decision(deed, Way.RESTORE, f"{path}, which was cut short while it was written", seen={path: now_sha})
    return _decide_changed(view, deed, path, now)


def _decide_special(view: View, deed: Deed, path: str, kind: FileKind) -> Decision:
    """Something else is in the place of our file. What lies behind a symlink is the user's arrangement."""
    what = {FileKind.SYMLINK: "symbolic link", FileKind.DIRECTORY: "directory"}.get(kind, "special file")
    behind = b""
    with contextlib.suppress(*NOT_THERE, IsADirectoryError):
        behind = view.session.host.read(path) if kind is FileKind.SYMLINK else b""
    if kind is FileKind.SYMLINK and view.session.setup.id.encode() not in behind:
        return Decision(deed, Way.ALREADY_GONE, f"{path} is a symbolic link now, and nothing of ours is behind it")
    return Decision(
        deed,
        Way.CONFLICT,
        f"{path} was a file and is a {what} now.",
        hint=f"Put the file itself back to {path}, or take what is ours out of it by hand, then roll back again.",
    )


def _decide_changed(view: View, deed: Deed, path: str, now: bytes) -> Decision:
    ours = deed.planned[path]
    left = view.session.journal.blob(ours) if ours else b""
    diff = effects.difference(path, left, now)
    content = without_ours(deed.action, now)
    if content is not None:
        view.files[path] = content
        detail = f"{path} was changed since; only what is ours is taken out"
        return Decision(deed, Way.MERGE, detail, content, diff=diff, seen={path: sha256(now)})
    if deed.action.get("inserted") and view.session.setup.id.encode() not in now:
        return Decision(deed, Way.ALREADY_GONE, f"nothing of ours is in {path} any more", diff=diff)
    return Decision(
        deed,
        Way.CONFLICT,
        f"{path} was changed since, and what is ours cannot be told apart from what is not.",
        diff=diff,
        hint=f"Take what is ours out of {path} by hand (or move the file away), then roll back again.",
    )


def _decide_other(view: View, deed: Deed, exact: bool) -> Decision:
    session = view.session
    action = decode(deed.action, session.journal.blob)
    match action:
        case RunCommand(undo=Regenerate() as undo):
            return decide_commands.products(view, deed, undo, exact)
        case RunCommand(undo=Inverse(lines=(_, *_)) as undo):
            return decide_commands.lines(view, deed, undo, action)
        case RunCommand(undo=Inverse(unchanged=True) as undo):
            return decide_commands.unchanged(view, deed, undo, action)
        case RunCommand(undo=Shutdown() as undo):
            return decide_commands.kept(view, deed, undo)
        case RunCommand(undo=Inverse(argv, timeout) as undo):
            back = RunCommand(argv, f"undo: {action.why}", undo, (), timeout)
            return _decide_inverse(session, deed, back, lasting=undo.lasting)
        case RunCommand() | StopProcess() | Shutdown():
            return Decision(deed, Way.KEEP, getattr(getattr(action, "undo", None), "reason", "what ran is gone"))
        case WriteAttribute(undo=Write(path, value)):
            inverse = WriteAttribute(path, value, f"undo: {action.why}", action.undo, action.timeout)
            return _decide_runtime(session, deed, inverse)
        case PinThreads():
            return Decision(deed, Way.KEEP, "the threads end with the guest")
        case StartProcess():
            # By its name: the installation's command line is another than that with the devices.
            again = {
                each.action.get("name") for each in _later(session, deed) if each.action["type"] == "start_process"
            }
            if action.name in again:
                return Decision(deed, Way.ALREADY_GONE, f"{action.name} was started anew since")
            if session.host.booted and session.host.alive(action.name):
                stop = StopProcess(action.name, f"undo: {action.why}", action.timeout)
                return Decision(deed, Way.INVERSE, describe(stop), action=stop)
            return Decision(deed, Way.ALREADY_GONE, f"{action.name} does not run")
        case _:
            return Decision(deed, Way.KEEP, getattr(getattr(action, "undo", None), "reason", "cannot be undone"))


def _later(session: Session, deed: Deed) -> list[Deed]:
    return [each for each in session.setup.standing() if each.seq > deed.seq]


def _decide_inverse(session: Session, deed: Deed, inverse: RunCommand, *, lasting: bool) -> Decision:
    if lasting and not session.host.booted:
        what = f"`{describe(inverse)}` works on the host itself only, and this is a system that is mounted."
        return Decision(
            deed, Way.CONFLICT, what, hint="Boot it (an entry of the menu is as before), and roll back there."
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
    """Another tool's driver_override in the place of ours is its own to clear, and pages that it made are its own."""
    if not isinstance(inverse, WriteAttribute):
        return None
    if inverse.path.endswith("/nr_hugepages"):
        return _pool_grown(session, deed, inverse)
    if not inverse.path.endswith("/driver_override"):
        return None
    try:
        now = session.host.read(inverse.path).decode(errors="replace").strip()
    except OSError:
        return None
    if now in ("", "(null)", deed.action.get("value"), inverse.value.strip()):
        return None
    return f"{inverse.path} is {now} now, set by somebody else: it is left so"


def _pool_grown(session: Session, deed: Deed, inverse: WriteAttribute) -> str | None:
    """The kernel may have found fewer pages than we asked for, never more; a later start may have asked anew."""
    path = inverse.path
    asked = [each.action["value"] for each in session.setup.standing() if each.action.get("path") == path]
    try:
        now = int(session.host.read(path))
    except (OSError, ValueError):
        return None
    if now <= max(int(value) for value in (*asked, deed.action["value"])):
        return None
    return f"{path} is {now} now, set by somebody else: it is left so"


def _gone_with_boot(deed: Deed) -> Decision:
    return Decision(deed, Way.KEEP, "it lasted only until the reboot")


def conflicts(decisions: Sequence[Decision]) -> list[Decision]:
    """The decisions that only the user can take."""
    return [decision for decision in decisions if decision.way is Way.CONFLICT]
