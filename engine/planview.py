"""A plan for the reader: files as a diff, everything else in a line, each with its reason and how it is undone."""

from __future__ import annotations

import difflib
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum

from engine.codec import describe
from engine.console import BOLD, CYAN, DIM, GREEN, RED, YELLOW, clean, paint
from engine.plan import UNBORN, Preview, Previews
from journal.events import Json
from steps.actions import (
    Action,
    EditFile,
    Inverse,
    Keep,
    PinThreads,
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
from steps.base import Finding, Host, Plan, Severity, State

# Lines of a diff that are shown; a whole generated file helps nobody.
LONGEST = 200


# What a plan cannot show before the boot that it is for.
_IN_THAT_BOOT = (
    "that boot is looked at: is it the right one, are the devices under the stub driver; where it was a trial, its"
    " command line becomes the default"
)
_FROM_NOW = "from what is true now; planned anew after the reboot, when the stub driver has the devices"


def plan_lines(previews: Previews, one: Preview, *, brief: bool = False) -> Iterator[str]:
    """A step's plan as lines; `brief` leaves out the diffs and how each action is undone."""
    yield paint(f"{one.target.value}:", BOLD) + (paint(" after a reboot", YELLOW) if one.reboots else "")
    for note in () if brief else one.plan.notes:
        yield f"  {paint(f'- {clean(note)}', DIM)}"
    if one.reboots:
        yield f"  {_IN_THAT_BOOT}"
    elif one.awaits is State.REBOOTED and one.plan.actions:
        yield f"  {paint(_FROM_NOW, DIM)}"
    elif not one.plan.actions and not _refusals(one):
        yield "  nothing to change"
    for action in one.plan.actions:
        yield f"  {_title(action)}"
        if not brief:
            yield from _details(previews, action)
    yield from _for_now(one)


def _details(previews: Previews, action: Action) -> Iterator[str]:
    yield f"      why: {clean(action.why)}"
    if isinstance(action, RunCommand) and (expected := previews.durations.words(action)):
        yield f"      takes: {expected}"
    if given := rights(action):
        yield f"      rights: {clean(given)}"
    yield f"      undone: {clean(undoing(action))}"
    for line in diff(previews.host, action):
        yield f"      {_painted(line)}"


def _for_now(one: Preview) -> Iterator[str]:
    """What stands against a step of another boot now is what that boot, or a step before it, is there to change."""
    if one.awaits is not None and not one.reboots and (refusals := _refusals(one)):
        first = "that boot" if one.awaits is State.REBOOTED else f"`{one.awaits.value}`"
        others = len(refusals) - 1
        more = f" (and {others} more reason{'s' * (others != 1)})" if others else ""
        yield paint(f"  cannot be planned before {first}: {clean(refusals[0].message).removesuffix('.')}{more}", DIM)


def _refusals(one: Preview) -> list[Finding]:
    return [finding for finding in one.plan.findings if finding.severity is Severity.REFUSAL]


def findings_now(one: Preview) -> tuple[Finding, ...]:
    """What is to be said of a step already now."""
    if one.awaits is None:
        return one.plan.findings
    return tuple(finding for finding in one.plan.findings if finding.severity is not Severity.REFUSAL)


def summary_lines(previews: Previews) -> Iterator[str]:
    """The whole plan in a few words: how much of what, where the host reboots, and what stays after a rollback."""
    actions = [action for one in previews.steps for action in one.plan.actions]
    counts = Counter(_sort(action) for action in actions)
    said = [each.counted(counts[each]) for each in Sort if counts[each]]
    if said:
        yield f"{paint('in all:', BOLD)} {', '.join(said)}"
    for one in previews.steps:
        if one.reboots:
            yield f"reboot: once, before `{one.target.value}`"
    kept = {_title(action): reason for action in actions if (reason := kept_because(action))}
    if said:
        yield "undone: all of it, by `vfiostate rollback`" + (", except" if kept else "")
    for title, reason in kept.items():
        yield f"  {title}: {clean(reason)}"
    if any(isinstance(action, EditFile) and UNBORN.encode() in action.content for action in actions):
        yield f"setup: {UNBORN} stands for the number that it gets at the first `advance`"


class Sort(StrEnum):
    """What a reader counts; the value is its name among several."""

    MADE = "files made"
    EDITED = "files edited"
    REMOVED = "files removed"
    COMMAND = "commands"
    ATTRIBUTE = "kernel attributes written"
    PROCESS = "processes started or stopped"

    def counted(self, number: int) -> str:
        """So many of it, in words."""
        alone = {"files": "file", "commands": "command", "attributes": "attribute", "processes": "process"}
        words = self.value.split() if number != 1 else [alone.get(word, word) for word in self.value.split()]
        return f"{number} {' '.join(words)}"


def _sort(action: Action) -> Sort | None:
    match action:
        case EditFile(before=before):
            return Sort.EDITED if before is not None else Sort.MADE
        case RemoveFile():
            return Sort.REMOVED
        case RunCommand():
            return Sort.COMMAND
        case WriteAttribute():
            return Sort.ATTRIBUTE
        case StartProcess() | StopProcess() | Shutdown():
            return Sort.PROCESS
        case RequestReboot() | PinThreads():
            # One is told by itself, the other is a part of starting the guest.
            return None


def kept_because(action: Action) -> str | None:
    """Why an action is not undone; None for one that is."""
    match action:
        case RunCommand(undo=Keep(reason=reason)) | WriteAttribute(undo=Keep(reason=reason)):
            return reason
        case _:
            return None


def _title(action: Action) -> str:
    return clean(_command(action) or describe(action))


def rights(action: Action) -> str | None:
    """What a process is started with that is not everybody's: account, device nodes, memory it may lock (MiB)."""
    if not isinstance(action, StartProcess):
        return None
    said = [f"runs as {action.user}" if action.user else _becomes(action.argv)]
    said += [f"owns {' '.join(action.devices)} while it runs"] if action.devices else []
    said += [f"may lock {action.memlock >> 20} MiB of memory"] if action.memlock is not None else []
    said += [f"runs on CPUs {action.cpus}, but for its vCPUs"] if action.cpus is not None else []
    return "; ".join(said)


def _becomes(argv: Sequence[str]) -> str:
    """Who a process is that is started as us: QEMU can give up root by itself."""
    if "-runas" in argv:
        return f"starts as root and becomes {argv[argv.index('-runas') + 1]}"
    return "runs as whoever runs vfiostate"


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
        case PinThreads():
            return "nothing to undo: the threads end with the guest"
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


def action_json(previews: Previews, plan: Plan) -> list[Json]:
    """A plan's actions for --json; `expected_seconds` is null where it is not known or no command."""
    return [
        {
            "what": describe(action),
            "why": action.why,
            "rights": rights(action),
            "undone": undoing(action),
            "expected_seconds": previews.durations.expected(action.argv) if isinstance(action, RunCommand) else None,
            "diff": list(diff(previews.host, action)),
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
