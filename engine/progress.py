"""How a run says what it does while it does it: a line that moves on a terminal, one line per action elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Protocol

from engine.console import BOLD, DIM, RED, clean, err, is_terminal, paint

# Results of an action that need no mention on a plain stream: the action's own line has said it.
_QUIET = frozenset({"done", ""})


class Reporter(Protocol):
    """What the engine tells while it works. Nothing of it raises."""

    def step(self, name: str) -> None:
        """A step (or an undoing) begins."""
        ...

    def action(self, text: str) -> None:
        """An action begins."""
        ...

    def line(self, text: str) -> None:
        """The last output line of the command that runs; again every second while it says nothing new."""
        ...

    def done(self, result: str) -> None:
        """The action ended so (`done`, `failed`, `merged`, …)."""
        ...

    def say(self, text: str) -> None:
        """Something worth a line of its own."""
        ...


class Plain:
    """One line per action on stderr; the output of commands is not repeated."""

    def __init__(self) -> None:
        self._began = 0.0

    def step(self, name: str) -> None:
        """A step begins."""
        err(f"{clean(name)}:")

    def action(self, text: str) -> None:
        """An action begins."""
        self._began = time.monotonic()
        err(f"  {clean(text)}")

    def line(self, text: str) -> None:
        """Not shown."""

    def done(self, result: str) -> None:
        """Shown where it is not simply `done`, or took seconds."""
        taken = time.monotonic() - self._began
        if result not in _QUIET or taken >= 1:
            err(f"    {clean(result)}{_seconds(taken)}")

    def say(self, text: str) -> None:
        """A line."""
        err(f"  {clean(text)}")


class Terminal:
    """As Plain, with a last line that shows how long a command has been running and what it said last."""

    def __init__(self) -> None:
        self._began = 0.0
        self._action = ""

    def step(self, name: str) -> None:
        """A step begins."""
        err(paint(f"{clean(name)}:", BOLD, stream=sys.stderr))

    def action(self, text: str) -> None:
        """An action begins."""
        self._began = time.monotonic()
        self._action = clean(text)
        self._show(f"  {self._action}")

    def line(self, text: str) -> None:
        """The last output line, beside what runs and for how long."""
        said = clean(text).replace("\t", " ").strip()
        self._show(f"  {self._action} ({_clock(time.monotonic() - self._began)})" + (f" | {said}" if said else ""))

    def done(self, result: str) -> None:
        """The action's line for good."""
        taken = time.monotonic() - self._began
        style = DIM if result in _QUIET else RED if result == "failed" else BOLD
        self._clear()
        err(f"  {self._action}  {paint(clean(result) + _seconds(taken), style, stream=sys.stderr)}")

    def say(self, text: str) -> None:
        """A line."""
        self._clear()
        err(f"  {clean(text)}")

    def _show(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._raw(f"\r\x1b[K{text[:width]}")

    def _clear(self) -> None:
        self._raw("\r\x1b[K")

    def _raw(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            # A terminal that went away (hangup) must not stop a step halfway.
            return


def _clock(taken: float) -> str:
    return f"{taken:.0f} s" if taken < 60 else f"{taken // 60:.0f}:{taken % 60:02.0f} min"


def _seconds(taken: float) -> str:
    return f" ({_clock(taken)})" if taken >= 1 else ""


def reporter() -> Reporter:
    """The one for this stderr."""
    return Terminal() if is_terminal(sys.stderr) else Plain()
