"""How many power cuts each step is to get, at which moments, and what came of them: shared by the machines of a run."""

from __future__ import annotations

import math
import random
import threading
import time
from dataclasses import dataclass, field

TURNS = ("modules_loaded", "stubbed", "rebooted", "bound", "running")
BACK = {state: f"rollback from {state}" for state in TURNS}
FINISH = "rollback's end"
BOOT = "the boot after a cut"
# Seconds under emulation on a quiet machine, until a run has measured its own.
NOMINAL = {
    "checked": 5.0,
    "modules_loaded": 7.0,
    "stubbed": 92.0,
    "rebooted": 8.0,
    "bound": 10.0,
    "running": 15.0,
    BACK["modules_loaded"]: 6.0,
    BACK["stubbed"]: 8.0,
    BACK["rebooted"]: 9.0,
    BACK["bound"]: 12.0,
    BACK["running"]: 15.0,
    FINISH: 4.0,
    BOOT: 25.0,
}


@dataclass
class Cut:
    """One power cut: when it came, what had been told by then, and what was found afterwards.

    A cut after which nothing was looked at yet is not `examined`: it says nothing, neither good nor bad.
    """

    number: int
    label: str
    machine: int
    life: int
    moment: float
    nominal: float
    head: int = 0
    told: int = 0
    kept: int = 0
    found: str = ""
    boot_seconds: float = 0.0
    booted: bool = False
    unbootable: bool = False
    examined: bool = False
    whole: bool = False
    lost: list[str] = field(default_factory=list)
    then: str = ""


@dataclass
class Quota:
    """The cuts that are still to be made, and those that were made. Methods may be called by several threads."""

    wanted: int
    rng: random.Random
    labels: tuple[str, ...] = tuple(NOMINAL)
    deadline: float = math.inf  # of time.monotonic; no cut is begun after it
    cuts: list[Cut] = field(default_factory=list)
    nominal: dict[str, float] = field(default_factory=lambda: dict(NOMINAL))
    claimed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NOMINAL, 0))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _phase: dict[str, float] = field(default_factory=dict)
    _measured: set[str] = field(default_factory=set)

    def share(self, label: str) -> int:
        """How many cuts this label is to get: all the same, the first ones one more."""
        if label not in self.labels:
            return 0
        return self.wanted // len(self.labels) + (self.labels.index(label) < self.wanted % len(self.labels))

    def left(self, label: str) -> int:
        """How many cuts of a label are still to be made."""
        return max(0, self.share(label) - self.claimed[label]) if time.monotonic() < self.deadline else 0

    def all_left(self) -> int:
        """How many are still to be made at all."""
        return sum(self.left(label) for label in NOMINAL)

    def boot_chance(self) -> float:
        """How likely the boot after a cut is to be cut too, so that these are spread over the run."""
        return self.left(BOOT) / max(1, self.all_left())

    @property
    def examined(self) -> int:
        """After how many cuts it was looked what had come of them."""
        return sum(cut.examined for cut in self.cuts)

    def claim(self, label: str) -> float | None:
        """The moment of the next cut of a label in seconds from its beginning; None where it has had its share.

        The moments of one label are spread evenly over its duration, at random within each part.
        """
        with self._lock:
            if self.left(label) == 0:
                return None
            # Golden-section steps: any first few of them are spread already.
            phase = self._phase.setdefault(label, self.rng.random())
            position = (phase + self.claimed[label] * 0.6180339887) % 1
            self.claimed[label] += 1
            return position * self.duration(label)

    def duration(self, label: str) -> float:
        """Seconds that a label takes here: as measured, or as much slower than on a quiet machine as the boots are."""
        slower = max(1.0, self.nominal[BOOT] / NOMINAL[BOOT])
        return self.nominal[label] if label in self._measured else NOMINAL[label] * slower

    def turn(self) -> str:
        """The state from which the next life goes back: where most cuts are left of the way there and back."""
        with self._lock:
            return max(TURNS, key=lambda state: (self._left_on(state), self.rng.random()))

    def _left_on(self, state: str) -> float:
        way = [label for label in ("checked", *TURNS) if label in ("checked", *TURNS[: TURNS.index(state) + 1])]
        there = sum(min(2, self.left(label)) for label in way)
        finish = min(2, self.left(FINISH)) if TURNS.index(state) >= TURNS.index("rebooted") else 0
        back = 3 * self.left(BACK[state])
        # A life that goes as far as `stubbed` takes four times as long as one that does not.
        return (there + back + finish) / (1 if state == "modules_loaded" else 2)

    def measured(self, label: str, seconds: float) -> None:
        """A whole, undisturbed run of a label took so long."""
        with self._lock:
            self.nominal[label] = seconds
            self._measured.add(label)

    def record(self, label: str, machine: int, life: int, moment: float) -> Cut:
        """A cut that is being made now."""
        with self._lock:
            cut = Cut(len(self.cuts) + 1, label, machine, life, moment, round(self.duration(label), 1))
            self.cuts.append(cut)
            return cut
