"""`scripts/lab matrix`: rows one after another, and one table of what held and how long it took."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

from . import scenario
from .base import REPOSITORY, LabError, say
from .lab import Row
from .report import Report

# What was played last of each row, for the README's table of what is supported.
PROVEN = Path(__file__).with_name("proven.json")


@dataclass(frozen=True)
class Proof:
    """A row of which every check held: how many, in how many seconds, on which day, and with which recipe."""

    checks: int
    seconds: int
    day: str
    recipe: str


def main_job(
    rows: list[Row],
    *,
    output: Path | None = None,
    keep: bool = False,
    record: bool = False,
    minutes: float = math.inf,
) -> int:
    """Plays each row; prints the table; 0 if every check of every row that was played held.

    No row but the first is begun after so many minutes: it is said which were left out. With `record`, rows that held
    are written down as proven, and others are no longer.
    """
    directory = output or REPOSITORY / "build" / "lab"
    directory.mkdir(parents=True, exist_ok=True)
    played: list[tuple[Row, Report, float]] = []
    began = time.monotonic()
    for row in rows:
        if played and time.monotonic() > began + minutes * 60:
            say(f"not played, for want of time: {', '.join(each.name for each in rows[len(played) :])}")
            break
        say(f"row {len(played) + 1} of {len(rows)}: {row.name}: {row.shows}")
        started = time.monotonic()
        try:
            report = scenario.play(row, output=directory / row.name, keep=keep)
        except LabError as error:
            # An image that cannot be built, say: the other rows are played all the same.
            report = Report(directory / row.name)
            report.check("the row could be played", False, error)
            report.write()
        played.append((row, report, time.monotonic() - started))
        # As far as it is: a run that is ended from outside leaves what it found.
        (directory / "matrix.txt").write_text(table(played) + "\n", encoding="utf-8")
    print(table(played))
    if record:
        write_down(played)
    return 0 if all(report.passed for _, report, _ in played) else 1


def proven() -> dict[str, Proof]:
    """The rows that are written down as proven."""
    return {name: Proof(**proof) for name, proof in json.loads(PROVEN.read_text(encoding="utf-8")).items()}


def write_down(played: list[tuple[Row, Report, float]], path: Path = PROVEN) -> None:
    """Takes what was played into the file; rows that were not played stay as they are."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for row, report, seconds in played:
        known.pop(row.name, None)
        if report.passed:
            day = time.strftime("%Y-%m-%d")
            known[row.name] = Proof(len(report.checks), round(seconds), day, row.recipe.key).__dict__
    path.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")


def table(played: list[tuple[Row, Report, float]]) -> str:
    """A line for each row, and what did not hold."""
    lines = [
        f"{'row':<30} {'release':<9} {'loader':<13} {'initramfs':<16} {'IOMMU':<6} {'checks':>6} {'not ok':>6} {'s':>6}"
    ]
    for row, report, seconds in played:
        bad = sum(not check.ok for check in report.checks)
        made = row.recipe
        lines.append(
            f"{row.name:<30} {made.suite:<9} {made.loader:<13} {made.generator:<16} {row.shape.iommu:<6}"
            f" {len(report.checks):>6} {bad:>6} {seconds:>6.0f}"
        )
    for row, report, _ in played:
        lines += [f"NOT OK {row.name}: {check.phase}: {check.what}" for check in report.checks if not check.ok]
    checks = sum(len(report.checks) for _, report, _ in played)
    good = sum(report.passed for _, report, _ in played)
    lines.append(f"{good} of {len(played)} rows, {checks} checks, {sum(seconds for *_, seconds in played):.0f} s")
    return "\n".join(lines)
