"""`scripts/crash faults`: which errors are given where, and the table of what the program answered."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tests.kill.traced.faults import Answer, errors_of, failed
from tests.kill.traced.kills import WAYS, Way
from tests.kill.traced.matrix import Laboratory, each, laboratory
from tests.kill.traced.scenarios import SCENARIOS, played
from tests.kill.traced.tracer import Call


@dataclass(frozen=True, slots=True)
class Task:
    """One machine and one fault: an error of a call, or a scenario by its name."""

    machine: str
    way: Way
    call: Call | None
    error: str
    on: bool = False


def tasks(lab: Laboratory, *, stride: int, seed: int) -> list[Task]:
    """Each kind of call at each place of each way with each of its errors, and each scenario."""
    found: list[Task] = []
    dice = Random(seed)
    for (machine, way), calls in lab.reads.items():
        for same in _alike(calls):
            call = dice.choice(same)
            found += [Task(machine, way, call, error) for error in errors_of(call, reading=True)]
    for (machine, way), calls in lab.points.items():
        for same in _alike(calls):
            # The first of its kind, and one more: what comes later finds more to take back.
            for error in errors_of(same[0]):
                found += [Task(machine, way, call, error) for call in dict.fromkeys((same[0], dice.choice(same)))]
            if same[0].name != "write":
                # A disk does not mend itself. (Standard output has `write` too, and there it must still be said.)
                found += [Task(machine, way, dice.choice(same), error, True) for error in errors_of(same[0])[:1]]
    found += [Task(machine, way, None, name) for machine, way in lab.points for name in SCENARIOS]
    return found[dice.randrange(stride) :: stride]


def _alike(calls: Sequence[Call]) -> list[list[Call]]:
    """The calls of the same name at the same place, together."""
    places: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        places.setdefault((call.name, call.where.partition(".db.")[0]), []).append(call)
    return list(places.values())


@dataclass(frozen=True, slots=True)
class Faults:
    """All that came of a run: how many faults were to be tried, and the answers."""

    wanted: int
    answers: Sequence[Answer]


def run(
    names: Sequence[str],
    *,
    stride: int,
    seed: int,
    jobs: int,
    ways: Sequence[Way] = WAYS,
    most: int | None = None,
    minutes: float = math.inf,
) -> Faults:
    """Give each fault to a machine of its own; `most` takes so many of all by chance; none is begun after `minutes`."""
    with laboratory(names, ways, reads=True) as lab:
        wanted = tasks(lab, stride=stride, seed=seed)
        if most is not None:
            wanted = Random(seed).sample(wanted, min(most, len(wanted)))
        found: list[Answer] = []
        for _, answer in each(_Work(lab), wanted, jobs, seed=seed, minutes=minutes):
            found.append(answer)
            if answer.failure:
                sys.stderr.write(f"\n{told_failures(found[-1:])}\n")
        return Faults(len(wanted), found)


@dataclass(frozen=True, slots=True)
class _Work:
    lab: Laboratory

    def __call__(self, task: Task) -> Answer:
        stages, place, walked = self.lab.stages[task.machine], self.lab.place(), self.lab.walked
        if task.call is None:
            return played(stages, task.way, task.error, place, walked)
        return failed(stages, task.way, task.call, task.error, place, walked, on=task.on)


def table(found: Faults) -> str:
    """Fault by kind of call: how often, with which exit codes, how many tracebacks and broken promises."""
    rows: dict[tuple[str, str], list[Answer]] = {}
    for answer in found.answers:
        if answer.code is not None or answer.failure:
            rows.setdefault((answer.kind, answer.fault), []).append(answer)
    lines = [f"{'at':32} {'fault':24} {'points':>6} {'tracebacks':>10} {'failed':>6}  exit codes"]
    lines += [_line(kind, fault, rows[kind, fault]) for kind, fault in sorted(rows)]
    lines.append(_line("all", "", [answer for row in rows.values() for answer in row]))
    if missed := sum(answer.code is None and not answer.failure for answer in found.answers):
        lines.append(f"{missed} more never came to their point: other numbers, or no use of the command")
    if left := found.wanted - len(found.answers):
        lines.append(f"ended before its end: {left} of {found.wanted} were not tried")
    return "\n".join(lines)


def steps(found: Sequence[Answer]) -> str:
    """The same by step."""
    lines = [f"{'step':32} {'':24} {'points':>6} {'tracebacks':>10} {'failed':>6}  exit codes"]
    for way in dict.fromkeys(answer.way for answer in found):
        lines.append(_line(str(way), "", [one for one in found if one.way == way and one.code is not None]))
    return "\n".join(lines)


def _line(kind: str, fault: str, row: Sequence[Answer]) -> str:
    codes = Counter(answer.code for answer in row if answer.code is not None)
    said = ", ".join(f"{code} ({count})" for code, count in sorted(codes.items()))
    tracebacks, broken = sum(answer.tracebacks for answer in row), sum(bool(answer.failure) for answer in row)
    return f"{kind:32} {fault:24} {len(row):6} {tracebacks:10} {broken:6}  {said}"


def told_failures(found: Sequence[Answer]) -> str:
    """What was promised and not kept."""
    return "\n\n".join(f"FAILED {answer.way}, {answer.failure}" for answer in found if answer.failure)
