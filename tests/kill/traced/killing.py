"""`scripts/crash kills`: which points are tried, and the tables of what came of them."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tests.kill.traced.kills import WAYS, Result, Way, killed
from tests.kill.traced.matrix import Laboratory, each, laboratory
from tests.kill.traced.tracer import Call


@dataclass(frozen=True, slots=True)
class Task:
    """One machine to be killed at a call; with `dice` the run that goes on is killed too."""

    machine: str
    way: Way
    call: Call
    dice: int | None = None


@dataclass(frozen=True, slots=True)
class Kills:
    """All that came of a run: what could be tried, how much was to be, and each result with its task."""

    lab: Laboratory
    wanted: int
    results: Sequence[tuple[Task, Result]]

    @property
    def failures(self) -> list[tuple[Task, Result]]:
        """Where a promise was broken."""
        return [(task, result) for task, result in self.results if result.failure]


def tasks(lab: Laboratory, *, stride: int, pairs: int, seed: int) -> list[Task]:
    """Every stride-th point of each way, and pairs at random points of random ways."""
    dice = Random(seed)
    found = [
        Task(machine, way, call)
        for (machine, way), calls in lab.points.items()
        for call in calls[dice.randrange(min(stride, len(calls))) :: stride]
    ]
    where = list(lab.points.items())
    for _ in range(pairs):
        (machine, way), calls = dice.choice(where)
        found.append(Task(machine, way, dice.choice(calls), dice.getrandbits(32)))
    return found


def run(
    names: Sequence[str],
    *,
    stride: int,
    pairs: int,
    seed: int,
    jobs: int,
    ways: Sequence[Way] = WAYS,
    most: int | None = None,
    minutes: float = math.inf,
) -> Kills:
    """Kill, run again, take back, compare: each task on a machine of its own.

    `most` takes so many points by chance; none is begun after so many `minutes`.
    """
    with laboratory(names, ways) as lab:
        wanted = tasks(lab, stride=stride, pairs=pairs, seed=seed)
        if most is not None:
            wanted = [*Random(seed).sample(wanted[: len(wanted) - pairs], most), *wanted[len(wanted) - pairs :]]
        found: list[tuple[Task, Result]] = []
        for task, result in each(_Work(lab), wanted, jobs, seed=seed, minutes=minutes):
            found.append((task, result))
            if result.failure:
                # A run of hours that is ended from outside has told what it found.
                sys.stderr.write(f"\n{told_failures(found[-1:])}\n")
        return Kills(lab, len(wanted), found)


@dataclass(frozen=True, slots=True)
class _Work:
    lab: Laboratory

    def __call__(self, task: Task) -> Result:
        dice = None if task.dice is None else Random(task.dice)
        stages = self.lab.stages[task.machine]
        return killed(stages, task.way, task.call, self.lab.place(), self.lab.walked, dice)


def table(found: Kills) -> str:
    """What was tried and what came of it, a line for each way on each machine."""
    lines = [
        f"{'machine':13} {'way':29} {'calls':>5} {'killed':>6} {'pairs':>5} {'walked':>6} {'missed':>6} {'failed':>6}"
    ]
    total: Counter[str] = Counter()
    for (machine, way), calls in found.lab.points.items():
        ours = [(task, result) for task, result in found.results if (task.machine, task.way) == (machine, way)]
        row = Counter(
            calls=len(calls),
            killed=sum(result.reached for task, result in ours if task.dice is None),
            pairs=sum(result.reached for task, result in ours if task.dice is not None),
            walked=sum(result.walked for _, result in ours),
            missed=sum(not result.reached and not result.failure for _, result in ours),
            failed=sum(bool(result.failure) for _, result in ours),
        )
        total.update(row)
        lines.append(_line(machine, str(way), row))
    lines.append(_line("all", "", total))
    if left := found.wanted - len(found.results):
        lines.append(f"ended before its end: {left} of {found.wanted} were not tried")
    return "\n".join(lines)


def _line(machine: str, way: str, row: Counter[str]) -> str:
    counts = ("calls", 5), ("killed", 6), ("pairs", 5), ("walked", 6), ("missed", 6), ("failed", 6)
    return f"{machine:13} {way:29} " + " ".join(f"{row[name]:{width}}" for name, width in counts)


def sequences(found: Kills) -> str:
    """The states that the journal told at the kill and at the end; how often each pair of sequences was seen."""
    seen: Counter[tuple[str, str, str]] = Counter()
    for task, result in found.results:
        if result.reached and not result.failure:
            seen[str(task.way), " ".join(result.at_the_kill) or "nothing", " ".join(result.at_the_end)] += 1
    lines = []
    for way in dict.fromkeys(str(task.way) for task, _ in found.results):
        lines.append(f"{way}, killed when the journal told")
        lines += [f"  {n:5}  {cut}\n         -> {end}" for (one, cut, end), n in sorted(seen.items()) if one == way]
    return "\n".join(lines)


def kinds(found: Kills) -> str:
    """Which system calls the program was killed at, and what they would have changed."""
    seen: Counter[str] = Counter()
    for _, result in found.results:
        for call in result.calls if result.reached else ():
            seen[f"{call.name:10} {_place(call.where)}"] += 1
    return "\n".join(f"  {n:5}  {what}" for what, n in sorted(seen.items(), key=lambda item: (-item[1], item[0])))


def _place(where: str) -> str:
    """What a path is, for a table."""
    if "journal.db" in where:
        return where.rpartition("/")[2] if not where.endswith(".new") and ".new" not in where else "a new journal.db"
    if where.startswith(("sys/", "proc/", "dev/", ".kernel/")):
        return "the kernel"
    if ".vfiostate-" in where:
        return f"a temporary file in {where.rpartition('/')[0]}"
    return where


def told_failures(failures: Sequence[tuple[Task, Result]]) -> str:
    """What was promised and not kept, each with what it takes to try it again."""
    return "\n\n".join(
        f"FAILED {task.machine}, {task.way}, killed at {' and at '.join(map(str, result.calls))}:\n{result.failure}"
        for task, result in failures
    )
