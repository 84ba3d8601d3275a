"""One action carried out on the host: the effect itself, with nothing of the journal in it."""

from __future__ import annotations

import difflib
import errno
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from engine.back.stopping import shut_down, stop_guest
from engine.guests.pinning import pin_threads
from engine.hosts.base import Attributes, ChangeableHost, OutcomeUnknown
from engine.images import fingerprint
from engine.signals import InterruptedByUser
from journal.errors import DriftError, NotRootError, VfiostateError
from steps.actions import (
    Action,
    EditFile,
    PinThreads,
    RemoveFile,
    RequestReboot,
    RunCommand,
    Shutdown,
    StartProcess,
    StopProcess,
    WriteAttribute,
)
from steps.insertion import sha256

LAST_LINES = 20
AGAIN = "Find out what else edits it, then run `vfiostate advance` again."


@dataclass(frozen=True, slots=True)
class Effect:
    """How an action ended: `done`, `failed` or `unknown`, in words, and what its files are now; of a command also the
    seconds it took."""

    result: str
    detail: str = ""
    after: Mapping[str, str | None] = field(default_factory=dict)
    output: tuple[str, ...] = ()
    seconds: float | None = None


def files_of(action: Action) -> tuple[str, ...]:
    """The files an action makes, changes or removes."""
    match action:
        case EditFile() | RemoveFile():
            return (action.path,)
        case RunCommand():
            return action.produces
        case _:
            return ()


def planned_of(action: Action) -> dict[str, str | None]:
    """What the files will be afterwards, where that is known before: path -> sha256, None for absent."""
    match action:
        case EditFile():
            return {action.path: sha256(action.content)}
        case RemoveFile():
            return {action.path: None}
        case _:
            return {}


def carry_out(host: ChangeableHost, action: Action, on_line: Callable[[str], None]) -> Effect:
    """Do it. A failure is an Effect; DriftError is raised when the host is not what the plan was made from."""
    try:
        return _carry_out(host, action, on_line)
    except OutcomeUnknown as error:
        return Effect("unknown", str(error))
    except TimeoutError:
        why = f"gave no answer within its time and was ended: {_timeout(action):g} s"
        return Effect("failed", why, now(host, action))
    except InterruptedByUser as error:
        return Effect("failed", str(error), now(host, action))
    except OSError as error:
        return Effect("failed", explain(error), now(host, action))


def explain(error: OSError) -> str:
    """An operating system error in words: its name, its text and the file."""
    if error.errno is None:
        return str(error) or type(error).__name__
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error} ({errno.errorcode.get(error.errno, 'error')}){where}"


def failure(error: OSError) -> VfiostateError:
    """An operating system error that nobody further down knew more about, as the user is told it."""
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        return NotRootError(f"{explain(error)}.", hint="Run it with sudo.")
    return VfiostateError(f"{explain(error)}.", hint="Mend that, then run the command again.")


def _timeout(action: Action) -> float:
    return getattr(action, "timeout", 0.0)


def now(host: ChangeableHost, action: Action) -> dict[str, str | None]:
    """What the files of an action are at this moment: path -> sha256. Raises OSError where one cannot be read."""
    return {path: fingerprint(host, path) for path in files_of(action)}


def _carry_out(host: ChangeableHost, action: Action, on_line: Callable[[str], None]) -> Effect:
    match action:
        case EditFile() | RemoveFile():
            return _change_file(host, action)
        case RunCommand():
            return _run(host, action, on_line)
        case WriteAttribute():
            return _write_attribute(host, action)
        case StartProcess():
            return Effect("done", f"pid {host.start(action)}")
        case PinThreads():
            return Effect("done", pin_threads(host, action))
        case StopProcess():
            return Effect("done", stop_guest(host, action.name, action.timeout))
        case Shutdown():
            return Effect("done", shut_down(host, action))
        case RequestReboot():
            host.request_reboot()
            return Effect("done")


def _change_file(host: ChangeableHost, action: EditFile | RemoveFile) -> Effect:
    refuse_drift(host, action.path, action.before)
    if isinstance(action, RemoveFile):
        host.remove_file(action.path)
        return Effect("done", after={action.path: None})
    attributes = host.attributes(action.path) if action.before else Attributes(action.mode, 0, 0)
    host.write_file(action.path, action.content, attributes)
    return Effect("done", after={action.path: sha256(action.content)})


def refuse_drift(host: ChangeableHost, path: str, expected: str | None, hint: str = AGAIN) -> None:
    """Raise DriftError when a path is not what the plan was made from."""
    found = fingerprint(host, path)
    if found != expected:
        raise DriftError(
            f"{path} changed while vfiostate was at work.",
            evidence=(f"expected {expected or 'no file'}", f"found {found or 'no file'}"),
            hint=hint,
        )


def _run(host: ChangeableHost, action: RunCommand, on_line: Callable[[str], None]) -> Effect:
    began = time.monotonic()
    completed = host.run(action.argv, timeout=action.timeout, on_line=on_line)
    seconds = round(time.monotonic() - began, 2)
    for path in action.produces:
        # Few tools sync what they make. A power cut after the outcome is recorded must not leave an empty grub.cfg.
        host.sync(path)
    lines = (completed.stdout + b"\n" + completed.stderr).decode(errors="replace").splitlines()
    output = tuple(deque((line for line in lines if line.strip()), LAST_LINES))
    after = now(host, action)
    if completed.ok:
        return Effect("done", "exit status 0", after, output, seconds)
    status = completed.status
    said = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    return Effect("failed", "no such command" if status == 127 else said, after, output, seconds)


def _write_attribute(host: ChangeableHost, action: WriteAttribute) -> Effect:
    try:
        host.write_attribute(action.path, action.value, timeout=action.timeout)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "")
        if name not in action.tolerate:
            raise
        return Effect("done", f"{name}, which is no failure here")
    return Effect("done")


def difference(path: str, was: bytes, now: bytes) -> list[str]:
    """A unified diff, as text; bytes that are not UTF-8 are shown escaped."""
    before, after = (content.decode("utf-8", "backslashreplace").splitlines() for content in (was, now))
    return list(difflib.unified_diff(before, after, f"{path} (was)", f"{path} (is)", lineterm=""))
