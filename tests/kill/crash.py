"""The program run in a child process and killed at a chosen point: between any two changes it makes.

A point is the moment before or after a commit of the journal, an effect on the host, or a system call of a file effect
(fsync, rename, unlink). The child dies by _exit: nothing is flushed, no handler runs, as after SIGKILL.
"""

from __future__ import annotations

import functools
import io
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KILLED = 137
EFFECTS = ("write_file", "put_file", "remove_file", "run", "write_attribute", "start", "kill", "request_reboot")
CALLS = ("fsync", "rename", "unlink", "replace")


@dataclass(frozen=True, slots=True)
class Run:
    """How a run of the program ended: its exit code, what it printed, and the points it passed."""

    code: int
    output: str
    points: tuple[str, ...]


class Points:
    """Counts the points that are passed and dies at one of them."""

    def __init__(self, kill_at: int | None, passed: int) -> None:
        self._kill_at = kill_at
        self._passed = passed
        self.count = 0

    def point(self, name: str) -> None:
        """One more point; the end, where it is the chosen one."""
        os.write(self._passed, name.encode() + b"\n")
        if self.count == self._kill_at:
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

    points.around(Journal, "append", "commit")
    for name in EFFECTS:
        points.around(SimulatedHost, name, name)
    for name in CALLS:
        points.around(os, name, name)


def run(machine: Path, *argv: str, kill_at: int | None = None) -> Run:
    """Run `vfiostate --simulate MACHINE ARGV` in a child, to its end or to the point with the number `kill_at`."""
    reader, writer = os.pipe()
    out = machine.parent / f"{machine.name}.out"
    child = os.fork()
    if child == 0:
        _child(machine, argv, kill_at, writer, out)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        passed = stream.read().decode().splitlines()
    _, status = os.waitpid(child, 0)
    return Run(os.waitstatus_to_exitcode(status), out.read_text(errors="replace"), tuple(passed))


def _child(machine: Path, argv: tuple[str, ...], kill_at: int | None, writer: int, out: Path) -> None:
    code = 99
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout = io.TextIOWrapper(os.fdopen(os.dup(1), "wb"), write_through=True)
        sys.stderr = io.TextIOWrapper(os.fdopen(os.dup(2), "wb"), write_through=True)
        from engine.cli import main

        _instrument(Points(kill_at, writer))
        code = main(["--simulate", str(machine), *argv])
    except BaseException:  # the child must not run on as a second test runner
        traceback.print_exc()
    finally:
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
