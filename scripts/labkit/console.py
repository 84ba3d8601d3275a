"""The machine's serial console: what a person with a screen and a keyboard sees and types when nothing else answers."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from pathlib import Path

from .base import LabError
from .machine import Machine


class Console:
    """The console of a running machine from the moment this was made on. What it says is read from its log."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._from = size(machine.serial)

    def wait(self, pattern: str, timeout: float) -> str:
        """Waits until the pattern is seen; returns what was said since the last wait. LabError after `timeout` s."""
        deadline = time.monotonic() + timeout
        while True:
            said = self.said()
            if found := re.search(pattern, said):
                self._from += len(said[: found.end()].encode("latin-1"))
                return said[: found.end()]
            if time.monotonic() > deadline:
                raise LabError(f"the console does not say {pattern!r} within {timeout:.0f} s:\n{said[-2000:]}")
            time.sleep(0.3)

    def said(self) -> str:
        """What was said since the last wait; one character per byte."""
        with open(self._machine.serial, "rb") as log:
            log.seek(self._from)
            return log.read().decode("latin-1")

    def type(self, line: str) -> None:
        """Types a line and Return."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as keyboard:
            keyboard.connect(str(self._machine.directory / "console.sock"))
            for character in line + "\n":
                # As slowly as a person: an emulated UART has no room for a whole line.
                keyboard.sendall(character.encode("ascii"))
                time.sleep(0.01)
            time.sleep(0.5)

    def command(self, line: str, timeout: float) -> tuple[int, str]:
        """Types a shell command and waits for its end; returns its exit status and what it said."""
        self.type(f"{line}; echo ended-$?-here")
        said = self.wait(r"ended-[0-9]+-here", timeout)
        status = re.findall(r"ended-([0-9]+)-here", said)[-1]
        return int(status), said


def size(path: Path) -> int:
    """Bytes in a file, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0
