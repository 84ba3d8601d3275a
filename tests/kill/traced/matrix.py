"""Many points in little time: what a run shall try is listed first, then tried by a few processes side by side."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.kill.traced import machines
from tests.kill.traced.kills import WAYS, Way, count, read
from tests.kill.traced.machines import Stages
from tests.kill.traced.sameness import Walked
from tests.kill.traced.tracer import Call

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


def each(work: Callable[[Task], Found], tasks: Sequence[Task], jobs: int) -> Iterator[Found]:
    """The result of each task, as they come; progress on stderr where that is a terminal."""
    began = time.monotonic()
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("fork")) as pool:
        for done, result in enumerate(
            pool.map(work, tasks, chunksize=min(SIDE_BY_SIDE, 1 + len(tasks) // (8 * jobs))), 1
        ):
            if sys.stderr.isatty():
                left = (time.monotonic() - began) / done * (len(tasks) - done)
                sys.stderr.write(f"\r{done}/{len(tasks)}, {left / 60:.0f} min left ")
                sys.stderr.flush()
            yield result
