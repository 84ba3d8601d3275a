"""A plan for the reader: files as a diff, everything else in a line, each with its reason and how it is undone."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator

from engine.codec import describe
from engine.console import BOLD, CYAN, DIM, GREEN, RED, clean, paint
from engine.plan import Preview
from journal.events import Json
from steps.actions import (
    Action,
    EditFile,
    Inverse,
    Keep,
    Regenerate,
    RemoveFile,
    RequestReboot,
    RunCommand,
    Shutdown,
    StartProcess,
    StopProcess,
    Write,
    WriteAttribute,
)
from steps.base import Host, Plan

# Lines of a diff that are shown; a whole generated file helps nobody.
LONGEST = 200


def plan_lines(host: Host, one: Preview) -> Iterator[str]:
    """A step's plan as lines."""
    yield paint(f"{one.target.value}:", BOLD)
    for note in one.plan.notes:
        yield f"  {paint(clean(note), DIM)}"
    if not one.plan.actions and not one.plan.findings:
        yield "  nothing to change"
    for action in one.plan.actions:
        yield f"  {clean(_command(action) or describe(action))}"
        yield f"      why: {clean(action.why)}"
        if given := rights(action):
            yield f"      rights: {clean(given)}"
        yield f"      undone: {clean(undoing(action))}"
        for line in diff(host, action):
            yield f"      {_painted(line)}"


def rights(action: Action) -> str | None:
    """What a process is started with that is not everybody's: account, device nodes, memory it may lock (MiB)."""
    if not isinstance(action, StartProcess):
        return None
    said = [f"runs as {action.user}" if action.user else "runs as whoever runs vfiostate"]
    said += [f"owns {' '.join(action.devices)} while it runs"] if action.devices else []
    said += [f"may lock {action.memlock >> 20} MiB of memory"] if action.memlock is not None else []
    return "; ".join(said)


def undoing(action: Action) -> str:
    """How an action is undone, in words."""
    match action:
        case EditFile():
            return "from its before-image" if action.before is not None else "the file is removed"
        case RemoveFile():
            return "from its before-image"
        case RunCommand(undo=Inverse(argv=argv)):
            return f"run {shlex.join(argv)}"
        case RunCommand(undo=Regenerate(argv=argv, kin=kin, there=(_, *_))):
            return f"run {shlex.join(argv)}, if {kin} are more by then"
        case RunCommand(undo=Regenerate(argv=argv)):
            return f"what it made is put back, or made anew by {shlex.join(argv)}"
        case RunCommand(undo=Keep(reason=reason)) | WriteAttribute(undo=Keep(reason=reason)):
            return f"nothing to undo: {reason}"
        case WriteAttribute(undo=Write(path=path, value=value)):
            return f"write {_value(value)} to {path}"
        case RunCommand(undo=Shutdown()) | StartProcess():
            return "it is stopped, politely first"
        case StopProcess() | Shutdown():
            return "nothing to undo: what ran is gone"
        case RequestReboot():
            return "nothing to undo: a reboot changes no file"
    raise TypeError(f"no action of the set: {action!r}")


def diff(host: Host, action: Action) -> list[str]:
    """The edit of a file as a unified diff, cut where it is long; empty for every other action."""
    if not isinstance(action, EditFile):
        return []
    try:
        before = host.read(action.path) if action.before is not None else b""
    except OSError:
        before = b""
    old, new = (text.decode("utf-8", "backslashreplace").splitlines() for text in (before, action.content))
    old_name = action.path if action.before is not None else "/dev/null"
    lines = list(difflib.unified_diff(old, new, old_name, action.path, lineterm=""))
    more = len(lines) - LONGEST
    return lines if more <= 0 else [*lines[:LONGEST], f"… and {more} lines more"]


def action_json(host: Host, plan: Plan) -> list[Json]:
    """A plan's actions for --json."""
    return [
        {
            "what": describe(action),
            "why": action.why,
            "rights": rights(action),
            "undone": undoing(action),
            "diff": list(diff(host, action)),
        }
        for action in plan.actions
    ]


def _command(action: Action) -> str | None:
    return f"run {shlex.join(action.argv)}" if isinstance(action, RunCommand) else None


def _value(text: str) -> str:
    return repr(text.strip()) if text.strip() else "a newline"


def _painted(line: str) -> str:
    style = {"+": GREEN, "-": RED, "@": CYAN}.get(line[:1])
    return paint(clean(line), style) if style else clean(line)
