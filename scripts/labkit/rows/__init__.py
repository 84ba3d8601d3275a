"""The rows of the lab's matrix, by name. Which were chosen, and why, stands with the rows themselves."""

from __future__ import annotations

from ..base import LabError
from ..lab import Row
from . import cards, hosts, packages, refused, surprises

ROWS: dict[str, Row] = {
    row.name: row for row in (*hosts.ROWS, *cards.ROWS, *packages.ROWS, *refused.ROWS, *surprises.ROWS)
}


def named(names: list[str]) -> list[Row]:
    """The rows of these names, all of them where none is named. LabError for one that is not there."""
    if unknown := [name for name in names if name not in ROWS]:
        raise LabError(f"no row {', '.join(unknown)}\n  there are: {', '.join(ROWS)}")
    return [ROWS[name] for name in names] or list(ROWS.values())
