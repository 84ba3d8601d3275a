"""What every command double is: a function of the machine, the arguments and standard input."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from engine.hosts.simulated.machine import Machine
from steps.base import Completed

Double = Callable[[Machine, Sequence[str], bytes], Completed]


def answer(argv: Sequence[str], stdout: str = "", *, stderr: str = "", status: int = 0) -> Completed:
    """A command's end, from text."""
    return Completed(tuple(argv), status, stdout.encode(), stderr.encode())


def silent(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """A command that succeeds and leaves nothing that the model knows of."""
    return answer(argv)


CALLS = "/var/log/calls"


def record(machine: Machine, argv: Sequence[str]) -> None:
    """Keep what was called, one call a line, as a shell would take it."""
    machine.put(CALLS, f"{machine.text(CALLS)}{shlex.join(argv)}\n")
