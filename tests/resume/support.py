"""A simulated machine with systemd, taken as far as the reboot, and the program run on it as a user runs it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

from engine.hosts.simulated import SimulatedHost, description
from steps.resume_service import LINK, UNIT
from tests.kill.crash import Run, run

DEVICES = ("--device=01:00.0", "--device=01:00.1", "--device=02:00.0")
GUEST = ("--accel=tcg", "--cpu=qemu64")


def make(directory: Path, *words: str) -> Path:
    """A machine of the lab's kind, with a default route, configured; `words` are further ones for init."""
    found = description.find("debian12-lab")
    routed = tuple(dataclasses.replace(one, default_route=True) for one in found.interfaces)
    source = directory.with_name("routed.json")
    source.write_text(description.render(dataclasses.replace(found, interfaces=routed)))
    ok(run(directory, "machine", "create", "--from", str(source)))
    ok(run(directory, "init", *DEVICES, *(() if "--no-guest" in words else GUEST), *words))
    return directory


def ok(result: Run, *codes: int) -> Run:
    """The result, when it ended with one of these codes (0) and showed no traceback."""
    assert "Traceback" not in result.output and "internal error" not in result.output, result.output
    assert result.code in (codes or (0,)), (result.code, result.output)
    return result


def status(machine: Path) -> dict[str, Any]:
    """What `status --json` says, whatever its exit code."""
    output = run(machine, "status", "--json").output
    found: dict[str, Any] = json.loads(output[output.index("{") :])
    return found


def told(machine: Path) -> list[str]:
    """The `resume` events of the journal, in order, each by what it says."""
    return [event["data"]["what"] for event in events(machine) if event["kind"] == "resume"]


def events(machine: Path) -> list[dict[str, Any]]:
    """Every event of the journal."""
    lines = run(machine, "journal", "export", "--complete").output.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def installed(machine: Path) -> tuple[bool, bool]:
    """Whether the unit's file is there, and whether it is enabled."""
    return (machine / UNIT.lstrip("/")).is_file(), (machine / LINK.lstrip("/")).is_symlink()


def boot(machine: Path, *words: str) -> None:
    """Boot anew and start nothing of ours, with further words on the command line of this boot."""
    from engine.hosts.simulated import boot as model

    host = SimulatedHost(machine)
    chosen = model.choose(host.machine, model.Entry.DEFAULT) if words else None
    model.reboot(host.machine, cmdline=" ".join((chosen.cmdline, *words)) if chosen else None)


def started(machine: Path) -> str | None:
    """The command line that systemd would have started in this boot, None where it would have started none."""
    from engine.hosts.simulated import services

    if not services.active(SimulatedHost(machine).machine, "vfiostate-resume.service"):
        return None
    found = re.search(r"^ExecStart=(.*)$", (machine / UNIT.lstrip("/")).read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def boot_id(machine: Path) -> str:
    """Of the running kernel."""
    return SimulatedHost(machine).boot_id


def syslog(machine: Path) -> str:
    """The machine's system log."""
    place = machine / "var/log/syslog"
    return place.read_text() if place.exists() else ""


def damage(machine: Path) -> None:
    """Have the step to `bound` refused: the script that binds at boot has no place."""
    place = machine / "usr/local/sbin"
    os.rename(place, place.with_name("sbin.away"))


def repair(machine: Path) -> None:
    """The opposite."""
    place = machine / "usr/local/sbin"
    os.rename(place.with_name("sbin.away"), place)
