"""What binds the devices again at every boot, installed: the script, and what starts it: a systemd unit, or lines of
rc.local or of OpenRC's local.d."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steps import start_script
from steps.actions import Action, EditFile, Inverse, RunCommand
from steps.base import Finding, Host, Severity
from steps.bind_script import SCRIPT, script, unit
from steps.config import Device
from steps.host_checks import has_systemd
from steps.insertion import Insertion, appended, new_file
from steps.start_script import StartScript

UNIT_NAME = "vfiostate-bind.service"
UNITS = "/etc/systemd/system"
UNIT = f"{UNITS}/{UNIT_NAME}"
LINK = f"{UNITS}/multi-user.target.wants/{UNIT_NAME}"
# NixOS makes the folder of units of its configuration; it is a link into the store, where nothing is written.
STORE = "/nix/store/"

# The last line of a start script that ends it; one that is indented belongs to an `if`.
_EXIT = re.compile(rb"^exit[ \t]+0[ \t]*\r?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What is installed of it; None where a file does not exist. `folders` are needed directories that are missing;
    `units` is where the folder of units is; `start` is what there is instead (None: systemd is there), with its
    `lines`."""

    script: bytes | None
    unit: bytes | None
    enabled: bool
    start: StartScript | None
    lines: bytes | None
    folders: tuple[str, ...]
    units: str = UNITS


def read(host: Host) -> ServiceFacts:
    """Read what is installed."""
    start = None if has_systemd(host) else start_script.look(host)
    needed = ("/usr/local/sbin", UNITS if start is None else start.path.rpartition("/")[0])
    return ServiceFacts(
        _content(host, SCRIPT),
        _content(host, UNIT),
        host.lstat(LINK) is not None,
        start,
        None if start is None else _content(host, start.path),
        tuple(folder for folder in needed if host.lstat(folder) is None),
        host.resolve(UNITS),
    )


def block(setup: str) -> bytes:
    """Our lines in the start script."""
    return f"# vfiostate {setup}: begin\n{SCRIPT} || true\n# vfiostate {setup}: end\n".encode()


def _scripts(
    setup: str, devices: Sequence[Device], patience: float, subsystems: Mapping[str, str]
) -> tuple[bytes, bytes]:
    """The script, and what it was where 0.1.0 installed it, which stays."""
    return script(setup, devices, patience, subsystems), script(setup, devices, patience)


def plan(
    setup: str, devices: Sequence[Device], patience: float, facts: ServiceFacts, subsystems: Mapping[str, str] = {}
) -> tuple[Action, ...]:
    """What installs it; nothing where all of it is there. `subsystems` are those to be checked, by address."""
    texts = _scripts(setup, devices, patience, subsystems)
    why = "bind the devices at every boot"
    actions: list[Action] = [] if facts.script in texts else [new_file(SCRIPT, texts[0], why, mode=0o755)]
    if facts.start is not None:
        edit = _started(setup, facts.start.path, facts.lines)
        return (*actions, *([edit] if edit else []))
    if facts.unit is None:
        # First, so that on the way back it comes last: systemd forgets the unit when its file is gone.
        reload = ("systemctl", "daemon-reload")
        actions.append(RunCommand(reload, "have systemd read its units anew (and on the way back)", Inverse(reload)))
        actions.append(new_file(UNIT, unit(setup, len(devices), patience), "run the script at every boot"))
    if not facts.enabled:
        undo = Inverse(("systemctl", "disable", UNIT_NAME))
        enable = ("systemctl", "enable", UNIT_NAME)
        actions.append(RunCommand(enable, "start the unit at every boot", undo, produces=(LINK,), timeout=120.0))
    return tuple(actions)


def in_the_way(
    setup: str, devices: Sequence[Device], patience: float, facts: ServiceFacts, subsystems: Mapping[str, str] = {}
) -> tuple[Finding, ...]:
    """Files of somebody else where ours belong, and directories that are missing or not to be written to."""
    if facts.start is None and facts.units.startswith(STORE):
        message = f"{UNITS} is made of this system's configuration: no unit of ours can be put there."
        hint = (
            'The way ends at `rebooted` here. With `stub = "vfio-pci"` the devices are under vfio-pci from the boot '
            "on: start the guest by its own means."
        )
        return (Finding("units-declared", Severity.REFUSAL, message, (f"{UNITS} is {facts.units}",), hint),)
    wanted: dict[str, tuple[bytes | None, tuple[bytes, ...]]] = {
        SCRIPT: (facts.script, _scripts(setup, devices, patience, subsystems))
    }
    if facts.start is None:
        wanted[UNIT] = (facts.unit, (unit(setup, len(devices), patience),))
    found = [
        Finding(
            "bind-file-in-the-way",
            Severity.REFUSAL,
            f"{path} is there and is not what vfiostate would write now.",
            tuple(there.decode("utf-8", "backslashreplace").splitlines()[:5]),
            "It is another setup's or was edited: move it away, then run `vfiostate advance` again.",
        )
        for path, (there, ours) in wanted.items()
        if there is not None and there not in ours
    ]
    if facts.folders:
        found.append(
            Finding(
                "folder-missing",
                Severity.REFUSAL,
                f"{' and '.join(facts.folders)} does not exist: the script that binds at boot has no place.",
                hint=f"`mkdir -p {' '.join(facts.folders)}`, then run `vfiostate advance` again.",
            )
        )
    if facts.start is not None:
        found += start_script.findings(facts.start)
    return tuple(found)


def missing(
    setup: str, devices: Sequence[Device], patience: float, facts: ServiceFacts, subsystems: Mapping[str, str] = {}
) -> tuple[str, ...]:
    """What of it is not installed, after it was; a line each."""
    lines = (
        [] if facts.script in _scripts(setup, devices, patience, subsystems) else [f"{SCRIPT} is not as it was written"]
    )
    if facts.start is not None:
        there = block(setup) in (facts.lines or b"")
        lines += [] if there else [f"{facts.start.path} does not run {SCRIPT}"]
        return (*lines, *(one.message for one in start_script.findings(facts.start)))
    if facts.unit != unit(setup, len(devices), patience):
        lines.append(f"{UNIT} is not as it was written")
    return (*lines, *([] if facts.enabled else [f"{LINK} does not exist: the unit is not enabled"]))


def installed(setup: str, facts: ServiceFacts) -> bool:
    """Whether ours ran at this boot, as far as files tell: it is there, it is this setup's, and something starts it."""
    starts = facts.enabled
    if facts.start is not None:
        starts = facts.start.started and block(setup) in (facts.lines or b"")
    return starts and facts.script is not None and f"setup {setup};".encode() in facts.script


def _started(setup: str, path: str, there: bytes | None) -> EditFile | None:
    """Our block before the `exit 0` that ends the script; at the end where none does; else a new file."""
    lines, why = block(setup), "run the script at every boot"
    if there is None:
        return new_file(path, b"#!/bin/sh\n" + lines + b"exit 0\n", why, mode=0o755)
    if lines in there:
        return None
    ends = list(_EXIT.finditer(there))
    if ends:
        return Insertion(path, ends[-1].start(), lines).action(there, why)
    return appended(path, there, lines).action(there, why)


def _content(host: Host, path: str) -> bytes | None:
    try:
        return host.read(path)
    except FileNotFoundError:
        return None
