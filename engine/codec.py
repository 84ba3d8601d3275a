"""Actions as the journal keeps them: plain JSON, with contents by their sha256."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

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
from steps.base import Finding
from steps.insertion import sha256, take_out

ACTIONS: Mapping[str, type[Action]] = {
    "edit_file": EditFile,
    "remove_file": RemoveFile,
    "run_command": RunCommand,
    "write_attribute": WriteAttribute,
    "start_process": StartProcess,
    "pin_threads": PinThreads,
    "stop_process": StopProcess,
    "shutdown": Shutdown,
    "request_reboot": RequestReboot,
}
UNDOS: Mapping[str, type[Keep | Inverse | Regenerate | Write | Shutdown]] = {
    "keep": Keep,
    "inverse": Inverse,
    "regenerate": Regenerate,
    "write": Write,
    "shutdown": Shutdown,
}
NAMES = {cls: name for name, cls in (*ACTIONS.items(), *UNDOS.items())}


def encode(action: Action) -> dict[str, Json]:
    """An action as JSON; the content of an edit is given by its sha256, its insertion as text."""
    return _encode(action)


def _encode(value: object) -> dict[str, Json]:
    data: dict[str, Json] = {"type": NAMES[type(value)]}  # type: ignore[index]  # the keys are the closed set of actions
    for field in fields(value):  # type: ignore[arg-type]  # every member of the set is a dataclass
        item = getattr(value, field.name)
        if field.name == "content":
            data["content"] = sha256(item)
        elif isinstance(item, bytes):
            data[field.name] = item.decode("utf-8", "surrogateescape")
        elif isinstance(item, tuple):
            data[field.name] = list(item)
        elif isinstance(item, Mapping):
            data[field.name] = dict(item)
        elif type(item) in NAMES:
            data[field.name] = _encode(item)
        else:
            data[field.name] = item
    return data


def decode(data: Mapping[str, Any], blob: Callable[[str], bytes]) -> Action:
    """The action a record of the journal speaks of; `blob` gives a content by its sha256."""
    cls = ACTIONS[data["type"]]
    return cls(**{name: _decode(name, item, blob) for name, item in data.items() if name != "type"})


def _decode(name: str, item: Any, blob: Callable[[str], bytes]) -> Any:
    if name == "content":
        return blob(item)
    if name == "inserted":
        return item.encode("utf-8", "surrogateescape")
    if isinstance(item, list):
        return tuple(item)
    if isinstance(item, dict) and "type" in item:
        return UNDOS[item["type"]](**{key: _decode(key, part, blob) for key, part in item.items() if key != "type"})
    return item


def without_ours(action: Mapping[str, Any], content: bytes) -> bytes | None:
    """A file without what this edit put into it, None where that cannot be told from what is others'."""
    run = action.get("inserted", "").encode("utf-8", "surrogateescape")
    return take_out(content, run, anywhere=action.get("anywhere", False))


def finding_data(finding: Finding) -> dict[str, Json]:
    """A finding as JSON."""
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "message": finding.message,
        "evidence": list(finding.evidence),
        "hint": finding.hint,
    }


def describe(action: Action) -> str:
    """An action in one line."""
    match action:
        case EditFile():
            return f"{'make' if action.before is None else 'edit'} {action.path}"
        case RemoveFile():
            return f"remove {action.path}"
        case RunCommand():
            return f"run {' '.join(action.argv)}"
        case WriteAttribute():
            return f"write {action.value.strip() or 'a newline'} to {action.path}"
        case StartProcess():
            return f"start {action.name} ({action.argv[0]})"
        case PinThreads():
            places = ", ".join(f"{vcpu} on {cpus}" for vcpu, cpus in enumerate(action.cpus))
            return f"pin the vCPUs of {action.process}: {places}"
        case StopProcess() | Shutdown():
            return f"stop {action.name}"
        case RequestReboot():
            return "ask the host to reboot"
