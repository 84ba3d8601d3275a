"""An intent without an outcome: whoever wrote it did not live to say how it ended. The host is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine import effects, images
from engine.back.decision import Way
from engine.codec import without_ours
from engine.setup import Deed, Undoing
from journal.errors import DriftError
from journal.events import Kind

if TYPE_CHECKING:
    from engine.session import Session


# Said of an outcome that nobody lived to record.
LOOKED_UP = "found by looking at the host: the run that began it was cut short"


def recover(session: Session) -> int:
    """Find out how every open intent ended and record it. Returns how many there were.

    Raises DriftError, having touched nothing, when a file is neither as before nor as planned.
    """
    setup = session.setup
    deeds, undoings = setup.pending, list(setup.undoing.values())
    for deed in deeds:
        result, after = _ended(session, deed)
        _record(session, {"intent": deed.seq, "result": result, "after": after}, deed)
    for undoing in undoings:
        result, after = _undo_ended(session, undoing)
        data = {"intent": undoing.seq, "undoes": undoing.deed.seq, "result": result, "after": after}
        _record(session, data, undoing.deed)
    return len(deeds) + len(undoings)


def _record(session: Session, data: dict[str, object], deed: Deed) -> None:
    data |= {"detail": LOOKED_UP, "output": []}
    session.scribe.now(session.scribe.note(Kind.OUTCOME, data, step=deed.target.value, attempt=deed.attempt))


def _ended(session: Session, deed: Deed) -> tuple[str, dict[str, str | None]]:
    host = session.host
    now = {path: images.fingerprint(host, path) for path in deed.before}
    kind = deed.action["type"]
    if deed.planned:
        for path in deed.planned:
            host.tidy(path)
        if now == deed.planned:
            return "done", now
        if now == {path: record["sha256"] for path, record in deed.before.items()}:
            return "not_done", now
        return _told_apart(session, deed, now), dict(deed.planned)
    if kind == "start_process":
        return ("done" if host.alive(deed.action["name"]) else "not_done"), now
    if kind == "request_reboot":
        return ("done" if deed.boot != host.boot_id else "not_done"), now
    # A command or an attribute write may have gone any part of its way: it is undone whole, which bears that.
    return "unknown", now


def _told_apart(session: Session, deed: Deed, now: dict[str, str | None]) -> str:
    """Somebody edited the file after the run was cut short. An insertion shows by its marker whether it is there.

    Raises DriftError where it does not.
    """
    (path,) = deed.planned
    if deed.action.get("inserted") and now[path] is not None:
        content = session.host.local(path).read_bytes()
        if without_ours(deed.action, content) is not None:
            return "done"
        if session.setup.id.encode() not in content:
            return "not_done"
    raise _drift(session, deed, now)


def _undo_ended(session: Session, undoing: Undoing) -> tuple[str, dict[str, str | None]]:
    deed, planned = undoing.deed, undoing.planned
    for path in planned:
        session.host.tidy(path)
    now = {path: images.fingerprint(session.host, path) for path in planned}
    if undoing.way not in (Way.RESTORE, Way.MERGE):
        # A command may have gone any part of its way. What it left of the files that were to be put back after it is
        # told from what others make of them from now on.
        return "unknown", now
    if now == dict(planned):
        return ("merged" if undoing.way == Way.MERGE else "done"), {}
    if deed.action["type"] == "run_command" or now in (dict(deed.after), dict(undoing.seen)):
        return "not_done", {}
    # Edited since it was cut short, or, in journals that do not say what was there, before.
    if _told_apart(session, deed, now) == "done":
        return "not_done", {}
    return ("merged" if undoing.way == Way.MERGE else "done"), {}


def _drift(session: Session, deed: Deed, now: Mapping[str, str | None]) -> DriftError:
    path = next(iter(now))
    data: dict[str, Any] = {
        "path": path,
        "expected": [deed.before[path]["sha256"], deed.planned.get(path)],
        "found": now[path],
        "diff": _diff(session, deed, path),
    }
    session.scribe.now(session.scribe.note(Kind.DRIFT_FOUND, data, step=deed.target.value, attempt=deed.attempt))
    error = DriftError(
        f"{path} is neither as it was before vfiostate was cut short nor as vfiostate meant to leave it.",
        evidence=tuple(data["diff"]),
        hint=f"Decide what {path} is to hold: the content before (`vfiostate journal show` names it) or ours; "
        "then run the command again.",
    )
    error.journaled = True
    return error


def _diff(session: Session, deed: Deed, path: str) -> list[str]:
    record = deed.before[path]
    was = session.journal.blob(record["sha256"]) if record.get("where") == "blob" else b""
    try:
        now = session.host.read(path)
    except OSError as error:
        return [effects.explain(error)]
    return effects.difference(path, was, now)
