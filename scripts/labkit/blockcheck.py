"""Whether the program keeps its promise on the files that a power cut left: run for real, in children of its own."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from .base import REPOSITORY
from .blockstates import manifest

# Loaded once: these imports take most of a second, a fork takes milliseconds.
PRELOADED = (
    "asyncio engine.advance engine.cli engine.cli.machine engine.cli.status engine.guest engine.hosts.simulated "
    "engine.rollback engine.status journal.store qemu.qmp sqlalchemy.dialects.sqlite steps.bind steps.check "
    "steps.modules steps.reboot steps.run steps.stub"
).split()
JOURNAL = "var/lib/vfiostate/journal.db"
REBOOT_FIRST = 3
INTERNAL = 99
PATIENCE = 60  # seconds for one command
NO_SCRIPT = "there is no restore.sh"


@dataclass
class Verdict:
    """What was found on one set of files: the journal's events by their hashes, and what was wrong."""

    hashes: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)
    way: str = ""
    remarks: list[str] = field(default_factory=list)


def load_program() -> None:
    """Load the program of this checkout. Raises ImportError where what it needs is not installed."""
    if str(REPOSITORY) not in sys.path:
        sys.path.insert(0, str(REPOSITORY))
    for name in PRELOADED:
        importlib.import_module(name)


class Host:
    """The simulated host in a directory, after a power cut."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.said: list[str] = []

    def run(self, *words: str) -> int:
        """Run the program; INTERNAL for a traceback."""
        out = self.directory.with_name(f"{self.directory.name}.out")
        child = os.fork()
        if child == 0:
            _child(self.directory, words, out)
        _, status = os.waitpid(child, 0)
        text = out.read_text(errors="replace")
        code = os.waitstatus_to_exitcode(status)
        self.said.append(f"$ vfiostate {' '.join(words)}\n{text}[{code}]")
        return INTERNAL if "Traceback" in text or "internal error" in text else code

    def over_reboots(self, *words: str) -> int:
        """Run a command again as a user would, with the reboots it asks for; its last answer."""
        code = REBOOT_FIRST
        for _ in range(12):
            code = self.run(*words)
            if code != REBOOT_FIRST:
                return code
            if self.run("machine", "reboot") != 0:
                return INTERNAL
        return code

    def tail(self) -> str:
        """What the last commands said."""
        return "\n".join(self.said[-2:])[-1800:]


def _child(directory: Path, words: Sequence[str], out: Path) -> None:
    code = INTERNAL
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout = io.TextIOWrapper(os.fdopen(os.dup(1), "wb", 0), write_through=True)
        sys.stderr = io.TextIOWrapper(os.fdopen(os.dup(2), "wb", 0), write_through=True)
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(PATIENCE)
        from engine.cli import main

        code = main(["--simulate", str(directory), *words])
    finally:
        # Whatever happened, the child must not run on as a second harness.
        if code == INTERNAL:
            traceback.print_exc()
        os._exit(code)


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    os.write(2, b"Traceback: no end within the time\n")
    os._exit(INTERNAL)


def check(directory: Path, known: Sequence[str] | None, before: Mapping[str, object], *, forward: bool) -> Verdict:
    """Look at a host after a power cut: power comes back, the journal is whole and tells nothing but what was
    recorded (`known`, None for any), and one command goes on (`forward`, then back) or goes back, to `before`."""
    host, verdict = Host(directory), Verdict()
    try:
        _check(host, verdict, known, before, forward)
    except Exception as error:  # noqa: BLE001  whatever the program does to us is a finding, with its transcript
        verdict.problems.append(f"the harness met {type(error).__name__}: {error}")
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(directory)
    if verdict.problems:
        verdict.remarks.append(host.tail())
    return verdict


def _check(
    host: Host, verdict: Verdict, known: Sequence[str] | None, before: Mapping[str, object], forward: bool
) -> None:
    if host.run("machine", "reboot") != 0 and not _rescued(host, verdict):
        return
    if (host.directory / JOURNAL).exists():
        verdict.hashes = events(host.directory)
        if host.run("journal", "verify") != 0:
            verdict.problems.append("journal verify is not content")
    if known is not None and verdict.hashes != tuple(known[: len(verdict.hashes)]):
        verdict.problems.append("the journal tells what was not recorded")
    verdict.way = "back"
    # Before the first event there is nothing to take back.
    if not verdict.hashes or (forward and not half_back(host)):
        verdict.way = "there and back"
        if host.over_reboots("advance", "--until", "running") != 0:
            verdict.problems.append("advance does not get to running")
    if host.over_reboots("rollback") != 0:
        verdict.problems.append("rollback does not get back")
    after = manifest(host.directory)
    different = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if different:
        verdict.problems.append(f"not as before: {', '.join(different[:6])}")


def _rescued(host: Host, verdict: Verdict) -> bool:
    """The machine does not come up: take the way back of a rescue system, and see whether it comes up then."""
    verdict.problems.append("the machine does not boot")
    verdict.remarks.append(host.tail())
    script = host.directory / "var/lib/vfiostate/restore.sh"
    if not script.exists():
        verdict.remarks.append(NO_SCRIPT)
        return False
    done = subprocess.run(["sh", str(script), str(host.directory)], capture_output=True, text=True, check=False)
    back = done.returncode == 0 and host.run("machine", "reboot") == 0
    verdict.remarks.append("restore.sh mends it" if back else f"restore.sh does not mend it: {done.stderr[-300:]}")
    return False


def events(directory: Path) -> tuple[str, ...]:
    """The hashes of the journal's events, in order; as many as can be read."""
    from journal.errors import JournalError
    from journal.store import Journal

    found: list[str] = []
    with contextlib.suppress(JournalError), Journal.open(directory / JOURNAL, write=False) as journal:
        found.extend(record.hash for record in journal.records())
    return tuple(found)


def half_back(host: Host) -> bool:
    """Whether a way back was begun and not finished: then only `rollback` goes on."""
    host.run("status")
    return "rollback" in host.said[-1].partition("\n")[2]
