"""A simulated machine to try a step on: its actions carried out and undone without a journal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.effects import carry_out
from engine.hosts.simulated.host import SimulatedHost
from steps.actions import Action, EditFile, Inverse, RunCommand, Write, WriteAttribute

Before = list[tuple[Action, bytes | None]]


def machine(directory: Path, name: str) -> SimulatedHost:
    """A machine of that name in a directory."""
    return SimulatedHost.create_if_missing(directory, name)


def do(host: SimulatedHost, actions: Sequence[Action]) -> Before:
    """Carry the actions out; every one must succeed. What is needed to undo them."""
    done: Before = []
    for action in actions:
        before = host.read(action.path) if isinstance(action, EditFile) and action.before else None
        effect = carry_out(host, action, lambda line: None)
        assert effect.result == "done", (action, effect)
        done.append((action, before))
    return done


def undo(host: SimulatedHost, done: Before) -> None:
    """Undo them in reverse; every undo must succeed."""
    for action, before in reversed(done):
        match action:
            case EditFile() if before is None:
                host.remove_file(action.path)
            case EditFile():
                host.write_file(action.path, before or b"", host.attributes(action.path))
            case WriteAttribute(undo=Write(path, value)):
                host.write_attribute(path, value, timeout=5)
            case RunCommand(undo=Inverse(argv)):
                ran = host.run(argv, timeout=60)
                assert ran.ok, ran
            case _:
                pass


def files(directory: Path) -> dict[str, bytes]:
    """Every file of the machine below /etc and /usr/local, symlinks by their text."""
    found: dict[str, bytes] = {}
    for top in ("etc", "usr/local"):
        for path in sorted((directory / top).rglob("*")):
            if path.is_symlink():
                found[str(path)] = str(path.readlink()).encode()
            elif path.is_file():
                found[str(path)] = path.read_bytes()
    return found
