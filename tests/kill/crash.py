"""The program run in a child process and killed at a chosen point: between any two changes it makes.

A point is the moment before or after a commit of the journal, an effect on the host, or a system call of a file effect
(fsync, rename, unlink); where it is asked for, also each file that a command of the simulated machine writes. The child
dies by _exit: nothing is flushed, no handler runs, as after SIGKILL.
"""

from __future__ import annotations

import functools
import importlib
import io
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.support.watched import Watched

# Loaded once, so that each child starts with them: a fork costs milliseconds, these imports most of a second.
PRELOADED = (
    "asyncio engine.advance engine.cli engine.cli.machine engine.cli.status engine.guests.guest engine.hosts.simulated "
    "engine.rollback engine.status qemu.qmp sqlalchemy.dialects.sqlite steps.bind steps.check steps.modules "
    "steps.reboot steps.run steps.stub"
).split()
for _module in PRELOADED:
    importlib.import_module(_module)

KILLED = 137
INTERNAL = 99
EFFECTS = ("write_file", "put_file", "remove_file", "run", "write_attribute", "start", "kill", "request_reboot")
CALLS = ("fsync", "rename", "unlink", "replace")


@dataclass(frozen=True, slots=True)
class Run:
    """How a run of the program ended: its exit code, what it printed, and the points it passed."""

    code: int
    output: str
    points: tuple[str, ...]


class Cache:
    """What the kernel has not written yet: a power cut may lose any part of it (see tests/support/volatile.py).

    Of what lies on the machine's disk: pages of files, sizes, modes and names, each until its file or its directory was
    synced, also what the doubles of commands write. The content of SQLite's own files counts as synced.
    """

    def __init__(self, machine: Path, dice: Random | None) -> None:
        self._dice = dice
        self._watched = Watched(machine, wanted=on_disk)

    def watch(self) -> None:
        """From now on."""
        if self._dice is not None:
            self._watched.begin()

    def lose(self) -> None:
        """The power goes. Half of the times as on ext4, where most was written: a tenth is lost; else any part."""
        dice = self._dice
        if dice is None:
            return
        lost = dice.choice([0.1, 0.5, 1.0])
        self._watched.lose(lambda count: dice.randrange(count) if dice.random() < lost else count - 1)


def on_disk(path: str) -> bool:
    """Whether a path of a simulated machine lies on its disk: the kernel's own file systems do not."""
    return path.split("/")[1] in ("etc", "boot", "usr", "lib", "var")


class Points:
    """Counts the points that are passed and dies at one of them."""

    def __init__(self, kill_at: int | None, passed: int, cache: Cache) -> None:
        self.cache = cache
        self._kill_at = kill_at
        self._passed = passed
        self.count = 0

    def point(self, name: str) -> None:
        """One more point; the end, where it is the chosen one."""
        os.write(self._passed, name.encode() + b"\n")
        if self.count == self._kill_at:
            self.cache.lose()
            os._exit(KILLED)
        self.count += 1

    def around(self, owner: Any, name: str, label: str) -> None:
        """Make a function pass a point before and after."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.point(f"before {label}")
            result = function(*args, **kwargs)
            self.point(f"after {label}")
            return result

        setattr(owner, name, wrapped)


def _instrument(points: Points, *, inside: bool) -> None:
    from engine.hosts.simulated import SimulatedHost
    from engine.hosts.simulated.machine import Machine
    from journal.store import Journal

    points.cache.watch()
    points.around(Journal, "append", "commit")
    for name in EFFECTS:
        points.around(SimulatedHost, name, name)
    for name in CALLS:
        points.around(os, name, name)
    if inside:
        points.around(Machine, "put", "put")


def run(machine: Path, *argv: str, kill_at: int | None = None, lose: Random | None = None, inside: bool = False) -> Run:
    """Run `vfiostate --simulate MACHINE ARGV` in a child, to its end or to the point with the number `kill_at`.

    With `lose` the end is a power cut: what was not synced is lost or not, as `lose` decides. With `inside` there are
    points within commands, too: before and after each file that they write.
    """
    reader, writer = os.pipe()
    out = machine.parent / f"{machine.name}.out"
    child = os.fork()
    if child == 0:
        _child(machine, argv, kill_at, lose, writer, out, inside=inside)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        passed = stream.read().decode().splitlines()
    _, status = os.waitpid(child, 0)
    return Run(os.waitstatus_to_exitcode(status), out.read_text(errors="replace"), tuple(passed))


def _child(
    machine: Path,
    argv: tuple[str, ...],
    kill_at: int | None,
    lose: Random | None,
    writer: int,
    out: Path,
    *,
    inside: bool,
) -> None:
    code = INTERNAL
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout = io.TextIOWrapper(os.fdopen(os.dup(1), "wb", 0), write_through=True)
        sys.stderr = io.TextIOWrapper(os.fdopen(os.dup(2), "wb", 0), write_through=True)
        from engine.cli import main

        _instrument(Points(kill_at, writer, Cache(machine, lose)), inside=inside)
        code = main(["--simulate", str(machine), *argv])
    finally:
        # Whatever happened, the child must not run on as a second test runner.
        if code == INTERNAL:
            traceback.print_exc()
        os._exit(code)


def copy(machine: Path, to: Path) -> Path:
    """A copy of a machine, links and modes and all; sockets of a running guest are not copied."""

    def sockets(directory: str, names: list[str]) -> list[str]:
        return [name for name in names if name.endswith(".qmp")]

    shutil.copytree(machine, to, symlinks=True, ignore=sockets)
    return to


def manifest(machine: Path) -> dict[str, tuple[int, str]]:
    """What counts as the host's own: every file of etc, boot, usr and lib, by mode and content or target."""
    found = {}
    for top in ("etc", "boot", "usr", "lib"):
        for path in sorted((machine / top).rglob("*")):
            if path.is_symlink():
                found[str(path.relative_to(machine))] = (0, os.readlink(path))
            elif path.is_file():
                found[str(path.relative_to(machine))] = (path.stat().st_mode, path.read_bytes().hex())
    return found
