"""How long commands take on this host, learnt from the journal's earlier runs of the very same command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from journal.events import Event, Json, Kind
from steps.actions import RunCommand

# What a host took long ago, with other kernels and another disk, says little.
LATEST = 5

# Seconds: a command that is given more than usual may take long, and its limit is worth a word.
LONG = 600.0


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds that each command took, oldest run first; only runs that ended well and were timed."""

    runs: Mapping[tuple[str, ...], tuple[float, ...]] = field(default_factory=dict)

    def expected(self, argv: tuple[str, ...]) -> float | None:
        """The median of the latest runs, in seconds; None for a command that was not run here yet."""
        found = self.runs.get(argv)
        return None if not found else median(found[-LATEST:])

    def words(self, action: RunCommand) -> str:
        """What to expect, for a reader; nothing of a command that is new here and cannot take long."""
        seconds, runs = self.expected(action.argv), len(self.runs.get(action.argv, ()))
        if seconds is None:
            return f"not known yet; given up after {_span(action.timeout)}" if action.timeout > LONG else ""
        said = "under 1 s" if seconds < 1 else f"about {_span(seconds)}"
        return f"{said} ({runs} earlier run{'s' if runs > 1 else ''} here)"


def learn(events: Iterable[Event], host: str) -> Durations:
    """Read them from the events; `host` is the identity that a setup of this host carries, for a shared journal."""
    foreign: set[str] = set()
    begun: dict[int, tuple[str, ...]] = {}
    runs: dict[tuple[str, ...], list[float]] = {}
    for event in events:
        if event.kind is Kind.SETUP_CREATED and event.data.get("host") not in (None, "", host):
            foreign.add(event.setup)
        elif event.setup in foreign:
            continue
        elif event.kind is Kind.INTENT:
            if argv := _argv(event.data.get("action")):
                begun[event.seq] = argv
        elif event.kind is Kind.OUTCOME:
            intent, seconds = event.data.get("intent"), event.data.get("seconds")
            argv = begun.pop(intent, ()) if isinstance(intent, int) else ()
            if argv and isinstance(seconds, int | float) and event.data.get("result") in ("done", "regenerated"):
                runs.setdefault(argv, []).append(float(seconds))
    return Durations({argv: tuple(found) for argv, found in runs.items()})


def _argv(action: Json) -> tuple[str, ...]:
    if not isinstance(action, dict) or action.get("type") != "run_command":
        return ()
    argv = action.get("argv")
    return tuple(str(word) for word in argv) if isinstance(argv, list) else ()


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
