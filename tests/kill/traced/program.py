"""The program as a child of ours, from its first word to its exit code: alone, or held at a gate until it is traced.

It is forked from a process that has imported everything, since starting an interpreter would be most of a run, and to
import what a command needs most of the rest. What the child does from `main` on is what a fresh process does, but for
that; a test holds the two equal.
"""

from __future__ import annotations

import importlib
import io
import os
import pkgutil
import select
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import engine
import journal
import steps
from engine.cli import main
from tests.kill import crash

__all__ = ["Child", "Ended", "crash", "run", "start"]

LONGEST = 60.0
"""Seconds after which a run counts as hung; the longest takes one."""
CRASHED = 99
HUNG = 98


for package in (engine, journal, steps):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: its exit code (negative: the signal it died of), what it printed, how long it took (s)."""

    code: int
    output: str
    took: float

    @property
    def fault(self) -> str:
        """What no run may show, whatever happens to it; empty where it does not."""
        if self.code in (CRASHED, HUNG):
            return "it raised" if self.code == CRASHED else "it did not end"
        return next((f"it printed {word!r}" for word in ("Traceback", "internal error") if word in self.output), "")


@dataclass(frozen=True, slots=True)
class Child:
    """A run that has begun; one that was started `held` waits until it is let go."""

    pid: int
    gate: int
    printed: Path
    began: float

    def let_go(self) -> None:
        """Now it may run."""
        os.close(self.gate)

    def end(self) -> Ended:
        """Wait for it; a run that hangs is ended."""
        code = self._code()
        output = self.printed.read_text(errors="replace")
        self.printed.unlink()
        return Ended(code, output, time.monotonic() - self.began)

    def _code(self) -> int:
        deadline = time.monotonic() + LONGEST
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                return HUNG
            time.sleep(0.002)


def start(machine: Path, argv: Sequence[str], *, held: bool = False) -> Child:
    """Begin `vfiostate --simulate MACHINE ARGV`."""
    printed = machine.with_name(f"{machine.name}.printed")
    printed.unlink(missing_ok=True)
    # Opened before the fork: a tracer may be there before the child's first call, and would count it, or let it fail.
    output = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    waiting, gate = os.pipe()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(gate)
        _child(machine, argv, waiting, output)
    os.close(waiting)
    os.close(output)
    child = Child(pid, gate, printed, began)
    if not held:
        child.let_go()
    return child


def _child(machine: Path, argv: Sequence[str], gate: int, output: int) -> NoReturn:
    code = CRASHED
    try:
        for number in (1, 2):
            os.dup2(output, number)
        os.close(output)
        sys.stdout, sys.stderr = (io.TextIOWrapper(os.fdopen(number, "wb", 0), write_through=True) for number in (1, 2))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL if number is not signal.SIGINT else signal.default_int_handler)
        # Answers when the gate's other end is closed, by whoever held it. No read(2), which a tracer might count.
        select.select([gate], [], [])
        os.close(gate)
        code = main(["--simulate", str(machine), *argv])
    except BaseException:  # noqa: BLE001  # whatever it was: the child must not run on as a second harness
        traceback.print_exc()
    finally:
        os._exit(code)


def run(machine: Path, *argv: str) -> Ended:
    """The program, untouched, to its end."""
    return start(machine, argv).end()
