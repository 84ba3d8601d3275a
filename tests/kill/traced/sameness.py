"""Machines that are the same to the program are walked on with once.

Most calls of a commit are SQLite's own. Whichever of them a run is killed at, the next run finds the same events and
the same host, and does the same. So each crash is looked at by itself (the journal verified as a reader finds it, and
as a writer does, who rolls back what SQLite left half written), and the way on is walked once for all that are alike.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.hosts.simulated.guests import running
from engine.hosts.simulated.machine import Machine
from engine.setup import Setup, fold
from engine.states import LEGAL
from journal.audit import audit
from journal.errors import VfiostateError
from journal.events import Event
from journal.store import Journal
from tests.kill.traced.machines import JOURNAL, NotAsPromised, events, undated

PASSED_OVER = re.compile(r"run/lock/vfiostate\.lock|run/vfiostate/[^/]*\.(pid|qmp)|var/lib/vfiostate/journal\.db[^/]*")
"""What says who ran, and the journal, of which the events count: as the fold tells them, since that is all that a run
acts on."""


@dataclass(frozen=True, slots=True)
class Walked:
    """Where it is marked what was walked to its end, for all processes of a run."""

    marks: Path

    def once(self, machine: Path, way: str, walk: Callable[[], object]) -> bool:
        """Walk on with the machine unless one that is the same was walked this way; whether it was walked now.

        Raises NotAsPromised, by the walk or where the journal of one that is passed over is not whole for a writer.
        """
        key = hashlib.sha256(f"{way}\n{fingerprint(machine)}".encode()).hexdigest()
        mark = self.marks / key
        if mark.exists():
            _settled(machine)
            return False
        walk()
        self.marks.mkdir(exist_ok=True)
        mark.touch()
        return True


def fingerprint(machine: Path) -> str:
    """The same for two machines of one family (copies of one stage) with which the program does the same."""
    found = hashlib.sha256()
    told = events(machine)
    hashes = re.compile("|".join(event.hash for event in told).encode() or rb"(?!)")
    dated: dict[str, str] = {}
    for path in sorted(machine.rglob("*")):
        name = str(path.relative_to(machine))
        if PASSED_OVER.fullmatch(name):
            continue
        found.update(f"{name}\0{path.lstat().st_mode}\0".encode())
        if path.is_symlink():
            found.update(os.readlink(path).encode())
        elif path.is_file():
            content = path.read_bytes()
            # The system's log holds heads of the journal, and a hash of an event holds its time.
            plain = undated(name, hashes.sub(b"head", content) if name.startswith("var/log/") else content)
            if name.startswith("boot/") and plain != content:
                dated[hashlib.sha256(content).hexdigest()] = f"{name}, but for when it was made"
            found.update(plain)
    setups = json.dumps([_essence(one) for one in fold(told)], sort_keys=True, default=str)
    for digest, name in dated.items():
        setups = setups.replace(digest, name)
    found.update(f"\0{setups}\0{len(running(Machine(machine)))}".encode())
    return found.hexdigest()


def _essence(setup: Setup) -> dict[str, Any]:
    """A setup without times of day and without the words of a failure, which change nothing that is done next."""
    found = asdict(setup)
    for name in ("created", "since"):
        del found[name]
    failure: Event | None = setup.last_failure
    found["last_failure"] = failure and [
        failure.kind,
        failure.step,
        failure.attempt,
        failure.boot,
        failure.data.get("code"),
    ]
    return found


def _settled(machine: Path) -> None:
    """The next run that writes finds the events that a reader found, and leaves a whole journal."""
    if not (machine / JOURNAL).exists():
        return
    before: Sequence[Event] = events(machine)
    try:
        with contextlib.closing(Journal.open(machine / JOURNAL, write=True)) as journal:
            after = list(journal.events())
            found = audit(journal, set(LEGAL))
    except VfiostateError as error:
        raise NotAsPromised(f"the journal does not open for a run that writes: {error}") from error
    if after != before:
        raise NotAsPromised(f"a reader finds {len(before)} events, a writer {len(after)}, or others")
    if not found.ok:
        raise NotAsPromised(f"a writer's journal is not whole: {found.checks}")
