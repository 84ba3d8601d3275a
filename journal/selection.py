"""Which lines of the timeline are asked for: those of a setup, a boot, a step, of some kinds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from journal.errors import UsageError
from journal.events import Kind
from journal.timeline import Row


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked for; None and the empty set stand for all. `boot` counts from 1, the first the journal knows."""

    setup: str | None = None
    boot: int | None = None
    step: str | None = None
    kinds: frozenset[Kind] = frozenset()

    def takes(self, row: Row) -> bool:
        """Whether a row is among it."""
        return (
            self.setup in (None, row.setup)
            and self.boot in (None, row.place)
            and self.step in (None, row.step)
            and (not self.kinds or row.kind in self.kinds)
        )


def setup_of(text: str, setups: Iterable[str]) -> str:
    """The setup whose id begins so. Raises UsageError where none does, or more than one."""
    known = list(dict.fromkeys(setups))
    found = [one for one in known if one.startswith(text)] if text else []
    if text in known:
        return text
    if len(found) != 1:
        said = "more than one setup begins so" if found else "the journal knows no such setup"
        raise UsageError(
            f"Setup {text!r}: {said}.",
            hint=f"Name one of those it knows: {', '.join(known)}."
            if known
            else "It knows none: `vfiostate advance` begins one.",
        )
    return found[0]


def boot_of(number: int, rows: Sequence[Row]) -> int:
    """The boot of that number as `journalctl -b` counts them: from 1 the first, the second …; 0 the last, -1 the one
    before it. Raises UsageError where the journal knows none."""
    last = max((row.place for row in rows), default=0)
    found = number if number > 0 else last + number
    if not 1 <= found <= last:
        raise UsageError(
            f"Boot {number}: the journal knows no such boot.", hint=f"Name one from 1 to {last}; 0 is the last."
        )
    return found
