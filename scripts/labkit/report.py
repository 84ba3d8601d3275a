"""What a run of the lab found: checks in phases, as a table and as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .base import say
from .channel import Ran


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    phase: str
    what: str
    ok: bool
    found: str


@dataclass
class Report:
    """The checks and phases of one run, in a directory with everything needed to understand a failure."""

    directory: Path
    checks: list[Check] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    _phase: str = ""

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "transcript.txt").unlink(missing_ok=True)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times what is done in it."""
        say(f"{name} …")
        self._phase = name
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0) + time.monotonic() - started

    def check(self, what: str, ok: bool, found: object = "") -> bool:
        """Records one check and returns whether it held."""
        self.checks.append(Check(self._phase, what, ok, str(found)))
        if not ok:
            say(f"NOT OK: {what}: {found}")
        return ok

    def equal(self, what: str, found: object, expected: object) -> bool:
        """A check that two values are the same."""
        return self.check(what, found == expected, found if found == expected else f"{found!r}, expected {expected!r}")

    def ran(self, ran: Ran) -> None:
        """Adds a command of the machine to the transcript."""
        with open(self.directory / "transcript.txt", "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} # {' '.join(ran.argv)}\n{ran.stdout}")
            if ran.stderr:
                file.write(f"---- stderr\n{ran.stderr}")
            file.write(f"---- {'TIMED OUT' if ran.timed_out else ran.rc} after {ran.seconds} s\n\n")

    def save(self, name: str, text: str) -> None:
        """Keeps a text for later."""
        (self.directory / name).write_text(text, encoding="utf-8")

    @property
    def passed(self) -> bool:
        """Whether every check held, and there were any."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    def table(self) -> str:
        """All checks by phase, and the seconds of each phase."""
        lines = []
        for phase, seconds in self.seconds.items():
            lines.append(f"{phase:<58} {seconds:7.1f} s")
            for check in self.checks:
                if check.phase == phase:
                    found = check.found.replace("\n", "\n" + " " * 10)
                    lines.append(f"  {'ok    ' if check.ok else 'NOT OK'} {check.what}{': ' + found if found else ''}")
        failed = sum(not check.ok for check in self.checks)
        verdict = "all ok" if self.passed else f"{failed} NOT OK" if self.checks else "nothing was checked"
        lines.append(f"{len(self.checks)} checks, {verdict}; {sum(self.seconds.values()):.0f} s")
        return "\n".join(lines)

    def write(self) -> None:
        """Keeps table and checks in the directory."""
        self.save("table.txt", self.table() + "\n")
        document = {"checks": [asdict(check) for check in self.checks], "seconds": self.seconds, "passed": self.passed}
        self.save("report.json", json.dumps(document, indent=1) + "\n")
