"""Faults that are no error of one of our calls: commands that die or hang, a hung unbind, locks that others hold."""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.kill.traced.faults import LOCK, Answer, answered
from tests.kill.traced.kills import Way, lived
from tests.kill.traced.machines import JOURNAL, NotAsPromised, Stages, events, host, scratch, told
from tests.kill.traced.program import Ended, run
from tests.kill.traced.sameness import Walked

Spoilt = contextlib.AbstractContextManager[Callable[[], bool]]
"""While it lasts the machine is spoilt; what it gives answers whether the fault was met."""


@contextlib.contextmanager
def _described(
    machine: Path, change: Callable[[dict[str, Any]], None], met: Path | None
) -> Iterator[Callable[[], bool]]:
    place = machine / "machine.json"
    was = place.read_text()
    description = json.loads(was)
    change(description)
    place.write_text(json.dumps(description))
    yield (lambda: met is None or met.exists())
    place.write_text(was)


def _command(name: str, how: dict[str, Any], machine: Path) -> Spoilt:
    def change(description: dict[str, Any]) -> None:
        description["faults"] = {"commands": {name: how}}

    return _described(machine, change, machine / f".kernel/faults/{name}")


def _hung_unbind(machine: Path) -> Spoilt:
    def change(description: dict[str, Any]) -> None:
        for function in description["functions"]:
            function["hangs"] = True

    return _described(machine, change, None)


@contextlib.contextmanager
def _locked(machine: Path) -> Iterator[Callable[[], bool]]:
    place = machine / LOCK
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield lambda: True


@contextlib.contextmanager
def _journal_in_use(machine: Path) -> Iterator[Callable[[], bool]]:
    if not (machine / JOURNAL).exists():
        yield lambda: False
        return
    with contextlib.closing(sqlite3.connect(machine / JOURNAL, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield lambda: True


COMMANDS = (
    "modprobe modinfo update-initramfs lsinitramfs update-grub grub-editenv grub-probe grub-script-check systemctl ip "
    "sh"
).split()
SCENARIOS: dict[str, Callable[[Path], Spoilt]] = {
    **{f"{name} killed by a signal": partial(_command, name, {"status": -9}) for name in COMMANDS},
    **{f"{name} fails": partial(_command, name, {"status": 1, "stderr": f"{name}: no\n"}) for name in COMMANDS},
    **{f"{name} hangs": partial(_command, name, {"hangs": True}) for name in COMMANDS},
    "an unbind hangs": _hung_unbind,
    "the lock is held": _locked,
    "the journal is in use": _journal_in_use,
}


def played(stages: Stages, way: Way, name: str, place: Path, walked: Walked) -> Answer:
    """Run a command on a machine that is spoilt in this way, then again on the mended one."""
    ended: Ended | None = None
    fault, kind = _named(name)
    try:
        with scratch(place) as base:
            machine = way.machine(stages, base / "m")
            before, began, known = host(machine), told(machine), len(events(machine))
            with SCENARIOS[name](machine) as met:
                ended = run(machine, way.command)
                hit = met()
            if not hit:
                return Answer(way, fault, kind, None)
            silent = name in ("the lock is held", "the journal is in use")
            if told(machine) == began and ended.code == 0:
                raise NotAsPromised("it answered 0 and did nothing")
            answered(machine, way, ended, before, began, silent=silent, known=known)
            if name == "an unbind hangs" and ended.code not in (0, 3):
                # Nothing but a reboot frees a device whose unbind hangs.
                run(machine, "machine", "reboot")
            lived(stages, way, machine, began, walked)
    except NotAsPromised as failure:
        said = f"\n--- it had answered {ended.code}:\n{ended.output}" if ended else ""
        code = ended.code if ended else None
        return Answer(way, fault, kind, code, int(bool(ended and ended.fault)), f"{name}: {failure}{said}")
    return Answer(way, fault, kind, ended.code)


def _named(name: str) -> tuple[str, str]:
    """The fault and where it is, for the table."""
    first, _, rest = name.partition(" ")
    return (rest, first) if first in COMMANDS else (name, "the host")
