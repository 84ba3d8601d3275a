"""Ctrl-C and SIGTERM: noted when they come, obeyed between two actions, never in the middle of one.

A signal's disposition belongs to the process, so the note is kept here and not in a session.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from journal.errors import VfiostateError

_received: list[signal.Signals] = []
_held = 0


class InterruptedByUser(VfiostateError):
    """The run was asked to end by a signal. `number` is the signal's."""

    code = "interrupted"

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(
            f"Ended by {number.name}.", hint="`vfiostate advance` goes on, `vfiostate rollback` takes everything back."
        )
        self.number = number


def _note(number: int, frame: FrameType | None) -> None:
    _received.append(signal.Signals(number))


def listen() -> None:
    """Note SIGINT, SIGTERM and SIGHUP from now on instead of dying of them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _note)


def check() -> None:
    """Raise InterruptedByUser when a signal came, unless held."""
    if _received and not _held:
        raise InterruptedByUser(_received[0])


@contextlib.contextmanager
def held() -> Iterator[None]:
    """While a step is taken back, signals wait."""
    global _held
    _held += 1
    try:
        yield
    finally:
        _held -= 1
