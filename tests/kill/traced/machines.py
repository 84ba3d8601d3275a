"""Simulated machines in every state, what the journal tells of them, and what "byte for byte as before" compares."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.hosts.simulated.guests import running
from engine.hosts.simulated.machine import Machine
from journal.errors import JournalMissingError
from journal.events import Event, Kind
from journal.store import Journal
from steps.base import State
from tests.kill.traced.program import Ended, crash, run

MACHINES = {
    "article": (
        "--device=03:00.0=10de:1200",
        "--device=03:00.1",
        "--device=00:12.0",
        "--device=00:12.2",
        "--stub=pci-stub",
    ),
    "debian12-lab": ("--device=01:00.0", "--device=01:00.1", "--device=02:00.0", "--accel=tcg", "--cpu=qemu64"),
}
JOURNAL = "var/lib/vfiostate/journal.db"
MOVES = frozenset({Kind.TRANSITION, Kind.HOST_REBOOTED})


class NotAsPromised(AssertionError):
    """A run that did not do what is promised; says which, and what it printed."""


def expect(ended: Ended, *codes: int, doing: str) -> Ended:
    """The run, when it ended with one of these codes and shows nothing that no run may show."""
    if ended.fault or ended.code not in codes:
        raise NotAsPromised(f"{doing}: exit {ended.code} {ended.fault}\n{ended.output}")
    return ended


@dataclass(frozen=True, slots=True)
class Stages:
    """One machine in each state; `rebooting` is `stubbed`, and the reboot has been made."""

    name: str
    base: Path
    at: Mapping[State, Path]
    rebooting: Path

    def before(self, target: State) -> Path:
        """The machine on which the step to `target` is next."""
        return self.rebooting if target is State.REBOOTED else self.at[list(State)[target.rank - 1]]

    def place(self, state: State, to: Path) -> Path:
        """A machine in a state of its own: where a guest runs, it is this machine's and no other's."""
        if state is not State.RUNNING:
            return crash.copy(self.at[state], to)
        machine = crash.copy(self.at[State.BOUND], to)
        expect(run(machine, "advance"), 0, doing="start the guest")
        return machine


def make(name: str, base: Path) -> Stages:
    """Go the whole way once, and keep a copy of each state."""
    base.mkdir(parents=True, exist_ok=True)
    machine = base / "m"
    expect(run(machine, "machine", "create", "--from", name), 0, doing="create")
    expect(run(machine, "init", *MACHINES[name]), 0, doing="init")
    found = {State.NEW: crash.copy(machine, base / "new")}
    rebooting = base / "rebooting"
    for state in list(State)[1:-1]:
        if state is State.REBOOTED:
            expect(run(machine, "machine", "reboot"), 0, doing="reboot")
            crash.copy(machine, rebooting)
        expect(run(machine, "advance"), 0, doing=f"advance to {state.value}")
        found[state] = crash.copy(machine, base / state.value)
    return Stages(name, base, found, rebooting)


def finish(machine: Path, target: State) -> None:
    """Run again until the state is reached, as a user would: with a reboot where one is asked for."""
    for _ in range(8):
        ended = expect(run(machine, "advance", "--until", target.value), 0, 3, doing=f"advance to {target.value}")
        if ended.code == 0:
            return
        expect(run(machine, "machine", "reboot"), 0, doing="reboot")
    raise NotAsPromised(f"{target.value} is not reached by running again")


def arrived(stages: Stages, machine: Path, state: State) -> None:
    """The machine is in the state, byte for byte as one that went there in one go. Raises NotAsPromised."""
    # A guest leaves nothing in what is compared.
    there = host(stages.at[State.BOUND if state is State.RUNNING else state])
    if differ := different(_undated(host(machine)), _undated(there)):
        raise NotAsPromised(f"the journal tells {state.value}, and the host is not so: {differ}")


def undated(name: str, content: bytes) -> bytes:
    """A file's content without when it was made, which an initramfs says; that is no difference."""
    return re.sub(rb'"made": \d+', b"", content) if name.startswith("boot/initrd") else content


def _undated(found: Mapping[str, object]) -> dict[str, object]:
    kept = dict(found)
    for name, value in found.items():
        if name.startswith("boot/initrd") and isinstance(value, tuple):
            kept[name] = undated(name, bytes.fromhex(value[1]))
    return kept


def different(now: Mapping[str, object], then: Mapping[str, object]) -> list[str]:
    """In what two hosts differ."""
    return sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))


def take_back(machine: Path) -> None:
    """Roll back to the beginning, over the reboot that finishes it."""
    for _ in range(3):
        if expect(run(machine, "rollback"), 0, 3, doing="rollback").code == 0:
            return
        expect(run(machine, "machine", "reboot"), 0, doing="reboot")
    raise NotAsPromised("the rollback does not finish by running again")


def events(machine: Path) -> list[Event]:
    """What the journal holds; nothing where there is none."""
    try:
        with contextlib.closing(Journal.open(machine / JOURNAL, write=False)) as journal:
            return list(journal.events())
    except JournalMissingError:
        return []


def told(machine: Path) -> tuple[str, ...]:
    """The states the journal tells, in order: every life of the setup, every move, every end."""
    found = []
    for event in events(machine):
        if event.kind is Kind.SETUP_CREATED:
            found.append("new")
        elif event.kind in MOVES:
            found.append(str(event.data["to"]))
        elif event.kind is Kind.ROLLBACK_FINISHED:
            found.append("as before")
    return tuple(found)


def verified(machine: Path) -> None:
    """The journal, where there is one, is whole: chain, before-images, states."""
    if (machine / JOURNAL).exists():
        expect(run(machine, "journal", "verify"), 0, doing="journal verify")


def host(machine: Path) -> dict[str, object]:
    """All that the way back must bring back: every file by mode and content, every device's driver and override."""
    found: dict[str, object] = dict(crash.manifest(machine))
    for device in sorted((machine / "sys/bus/pci/devices").iterdir()):
        driver, override = device / "driver", device / "driver_override"
        found[f"driver of {device.name}"] = driver.readlink().name if driver.is_symlink() else None
        found[f"override of {device.name}"] = override.read_text() if override.exists() else None
    return found


def as_before(machine: Path, before: Mapping[str, object]) -> None:
    """Byte for byte what it was, and nothing of ours left lying. Raises NotAsPromised that names what differs."""
    differ = different(host(machine), before)
    left = [str(path.relative_to(machine)) for path in machine.rglob(".vfiostate-*")]
    left += [name for name in ("var/lib/vfiostate/restore.sh",) if (machine / name).exists()]
    left += [f"guest {pid}" for pid in running(Machine(machine))]
    if differ or left:
        raise NotAsPromised(f"not as before: {differ}; left lying: {left}")


@contextlib.contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """A directory for one machine, which is gone afterwards with whatever runs on it."""
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        for machine in place.iterdir():
            if (machine / "machine.json").exists():
                end_guests(machine)
        shutil.rmtree(place)


def without_guest(copied: Path) -> Path:
    """A copy that does not take the original's guest for its own, and end it: the pid file went along."""
    for place in (copied / "run/vfiostate").glob("*.pid"):
        place.unlink()
    return copied


def end_guests(machine: Path) -> None:
    """End what runs on a machine: its processes name its directory."""
    for pid in running(Machine(machine)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
