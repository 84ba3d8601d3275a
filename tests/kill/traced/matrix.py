"""Many points in little time: what a run shall try is listed first, then tried by a few processes side by side."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from random import Random
from typing import TypeVar

from tests.kill.traced import machines
from tests.kill.traced.kills import WAYS, Way, count, read
from tests.kill.traced.machines import Stages
from tests.kill.traced.sameness import Walked
from tests.kill.traced.tracer import Call

SELDOM = 300.0
"""So many seconds lie between two lines of progress in a log."""
SIDE_BY_SIDE = 24
"""So many tasks that follow one another go to one process: neighbours are mostly the same (see sameness.py)."""

_serial = itertools.count()
Task = TypeVar("Task")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Laboratory:
    """The machines that were made, in a directory of their own, and the points of each way on each of them."""

    base: Path
    stages: Mapping[str, Stages]
    points: Mapping[tuple[str, Way], Sequence[Call]]
    reads: Mapping[tuple[str, Way], Sequence[Call]]

    @property
    def walked(self) -> Walked:
        """What was walked to its end."""
        return Walked(self.base / "walked")

    def place(self) -> Path:
        """A directory that nobody else uses."""
        return self.base / f"{os.getpid()}-{next(_serial)}"


def _memory() -> str | None:
    """A file system in memory, where there is one; None: wherever temporary files go."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None


@contextmanager
def laboratory(names: Sequence[str], ways: Sequence[Way] = WAYS, *, reads: bool = False) -> Iterator[Laboratory]:
    """Make the machines and count what can be tried on them; with `reads`, also what they read."""
    # Nothing here depends on a disk: what a process has written outlives its end without any sync.
    with tempfile.TemporaryDirectory(prefix="vfiostate-crash-", dir=_memory()) as directory:
        base = Path(directory).resolve()
        stages = {name: machines.make(name, base / name) for name in names}
        points = {(name, way): count(stages[name], way, base / "count") for name in names for way in ways}
        seen = {(name, way): read(stages[name], way, base / "read") for name in names for way in ways if reads}
        yield Laboratory(base, stages, points, seen)


def each(
    work: Callable[[Task], Found], tasks: Sequence[Task], jobs: int, *, seed: int = 1, minutes: float = math.inf
) -> Iterator[tuple[Task, Found]]:
    """Each task with its result, as they come; progress on stderr, every few minutes where that is no terminal.

    Neighbours stay together and the groups of them are shuffled. So a run that ends early, after so many `minutes` or
    by Ctrl-C or SIGTERM, has tried a fair part of all, and what it found can be told.
    """
    began = time.monotonic()
    size = min(SIDE_BY_SIDE, 1 + len(tasks) // (8 * jobs))
    groups = [tasks[first : first + size] for first in range(0, len(tasks), size)]
    Random(seed).shuffle(groups)
    context = multiprocessing.get_context("fork")
    enough, turn = context.Event(), context.Value("l", os.getpid())
    with (
        _ended_by_signal(enough.set),
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_worker, initargs=(enough, turn)) as pool,
    ):
        done, said, terminal = 0, began, sys.stderr.isatty()
        for found in pool.map(partial(_group, work, began + minutes * 60), groups):
            yield from found
            done += len(found)
            now = time.monotonic()
            if found and (terminal or now - said > SELDOM):
                said, left = now, (now - began) / done * (len(tasks) - done)
                line = f"{done}/{len(tasks)}, {left / 60:.0f} min left "
                sys.stderr.write(f"\r{line}" if terminal else f"{line.rstrip()}\n")
                sys.stderr.flush()


def _group(work: Callable[[Task], Found], until: float, tasks: Sequence[Task]) -> list[tuple[Task, Found]]:
    """Those of the tasks that are begun in time."""
    found = []
    for task in tasks:
        if (_enough is not None and _enough.is_set()) or time.monotonic() > until:
            break
        found.append((task, work(task)))
    return found


_enough: Event | None = None


def _worker(enough: Event, turn: Synchronized[int]) -> None:
    """In a process group of its own: Ctrl-C is for the parent, and no interrupt of the program that is tried.

    And on one CPU: a tracer and what it traces wait for each other at every call, three times as long on two CPUs.
    """
    global _enough
    _enough = enough
    with turn.get_lock():
        turn.value += 1
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cpus[turn.value % len(cpus)]})
    os.setpgrp()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def _ended_by_signal(end: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM call `end` meanwhile; a second one does what it always does."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def once(number: int, _: object) -> None:
        signal.signal(number, before[signal.Signals(number)])
        end()

    for number in before:
        signal.signal(number, once)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
