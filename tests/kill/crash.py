"""The program run in a child process and killed at a chosen point: between any two changes it makes.

A point is the moment before or after a commit of the journal, an effect on the host, or a system call of a file effect
(fsync, rename, unlink). The child dies by _exit: nothing is flushed, no handler runs, as after SIGKILL.
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

# Loaded once, so that each child starts with them: a fork costs milliseconds, these imports most of a second.
PRELOADED = (
    "asyncio engine.advance engine.cli engine.cli.machine engine.cli.status engine.guest engine.hosts.simulated "
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
    """What the kernel has not written yet: a power cut may lose any part of it.

    Watches renames, unlinks and writes to new files. A rename or unlink is durable once its directory was synced, a
    new file's content once the file was. At the end each of what is left is lost or kept by a throw of the dice.
    """

    def __init__(self, dice: Random | None) -> None:
        self._dice = dice
        self._names: dict[str, list[Callable[[], None]]] = {}
        self._contents: dict[tuple[int, int], str] = {}

    def watch(self) -> None:
        """From now on."""
        if self._dice is None:
            return
        rename, unlink, fsync, opened = os.rename, os.unlink, os.fsync, os.open

        def watched_rename(source: Any, target: Any, **kwargs: Any) -> None:
            self._name_changes(target)
            rename(source, target, **kwargs)

        def watched_unlink(path: Any, **kwargs: Any) -> None:
            self._name_changes(path)
            unlink(path, **kwargs)

        def watched_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            descriptor = opened(path, flags, *args, **kwargs)
            # SQLite syncs its own files, below Python: they are not watched.
            if flags & os.O_CREAT and flags & os.O_EXCL and "journal.db" not in os.fspath(path):
                found = os.fstat(descriptor)
                self._contents[found.st_dev, found.st_ino] = f"/proc/self/fd/{os.dup(descriptor)}"
            return descriptor

        def watched_fsync(descriptor: Any) -> None:
            fsync(descriptor)
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            found = os.fstat(number)
            self._contents.pop((found.st_dev, found.st_ino), None)
            self._names.pop(os.path.realpath(f"/proc/self/fd/{number}"), None)

        os.rename, os.unlink, os.fsync, os.open = watched_rename, watched_unlink, watched_fsync, watched_open  # type: ignore[assignment]  # the watched forms take what callers here pass

    def _name_changes(self, path: Any) -> None:
        place = Path(os.fspath(path))
        directory = os.path.realpath(place.parent)
        was = place.read_bytes() if place.is_file() and not place.is_symlink() else None
        mode = place.stat().st_mode if was is not None else 0

        def lost() -> None:
            place.unlink(missing_ok=True)
            if was is not None:
                place.write_bytes(was)
                place.chmod(mode & 0o7777)

        self._names.setdefault(directory, []).append(lost)

    def lose(self) -> None:
        """The power goes."""
        dice = self._dice
        if dice is None:
            return
        for place in self._contents.values():
            if dice.random() < 0.5:
                os.truncate(place, 0)
        for changes in self._names.values():
            # Later changes of a directory go before earlier ones: it comes back as it was at some moment.
            for lost in changes[len(changes) - dice.randint(0, len(changes)) :][::-1]:
                lost()


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


def _instrument(points: Points) -> None:
    from engine.hosts.simulated import SimulatedHost
    from journal.store import Journal

    points.cache.watch()
    points.around(Journal, "append", "commit")
    for name in EFFECTS:
        points.around(SimulatedHost, name, name)
    for name in CALLS:
        points.around(os, name, name)


def run(machine: Path, *argv: str, kill_at: int | None = None, lose: Random | None = None) -> Run:
    """Run `vfiostate --simulate MACHINE ARGV` in a child, to its end or to the point with the number `kill_at`.

    With `lose` the end is a power cut: what was not synced is lost or not, as `lose` decides.
    """
    reader, writer = os.pipe()
    out = machine.parent / f"{machine.name}.out"
    child = os.fork()
    if child == 0:
        _child(machine, argv, kill_at, lose, writer, out)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        passed = stream.read().decode().splitlines()
    _, status = os.waitpid(child, 0)
    return Run(os.waitstatus_to_exitcode(status), out.read_text(errors="replace"), tuple(passed))


def _child(
    machine: Path, argv: tuple[str, ...], kill_at: int | None, lose: Random | None, writer: int, out: Path
) -> None:
    code = INTERNAL
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout = io.TextIOWrapper(os.fdopen(os.dup(1), "wb", 0), write_through=True)
        sys.stderr = io.TextIOWrapper(os.fdopen(os.dup(2), "wb", 0), write_through=True)
        from engine.cli import main

        _instrument(Points(kill_at, writer, Cache(lose)))
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
