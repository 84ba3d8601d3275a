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
    "asyncio engine.advance engine.cli engine.cli.machine engine.cli.status engine.guests.guest engine.hosts.simulated "
    "engine.rollback engine.status journal.store qemu.qmp sqlalchemy.dialects.sqlite steps.bind steps.check "
    "steps.modules steps.reboot steps.run steps.stub"
).split()
JOURNAL = "var/lib/vfiostate/journal.db"
REBOOT_FIRST = 3
REFUSED = 5
USED_UP = "The trial boot failed"
INTERNAL = 99
PATIENCE = 300  # seconds for one command, on a machine that may be busy


@dataclass
class Verdict:
    """What became of one host: which way it went, and what was wrong."""

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
        """Run a command again as a user would, with the reboots it asks for; its last answer.

        A trial boot that the power cut used up is made once more, as `advance` says.
        """
        code = REBOOT_FIRST
        for _ in range(12):
            code = self.run(*words)
            if code == REFUSED and USED_UP in self.said[-1]:
                code = self.run("advance", "--again")
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


@dataclass(frozen=True, slots=True)
class Memory:
    """What the journal on a disk tells: the hashes of its events, the last of a way back that was begun and not
    finished, and what is wrong with it."""

    hashes: tuple[str, ...] = ()
    half_back: bool = False
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def remember(directory: Path, known: Sequence[str]) -> Memory:
    """Have the journal verified and, as by the next writer, recovered; it may tell nothing but what was recorded
    (`known`), in that order."""
    if not (directory / JOURNAL).exists():
        return Memory()
    host, problems = Host(directory), []
    if host.run("journal", "verify") != 0:
        problems.append("journal verify is not content")
    kinds = events(directory, write=True)
    hashes = tuple(digest for digest, _ in kinds)
    if hashes != tuple(known[: len(hashes)]):
        problems.append("the journal tells what was not recorded")
    way = [kind for _, kind in kinds if kind in ("rollback_started", "rollback_finished")]
    return Memory(hashes, way[-1:] == ["rollback_started"], tuple(problems), (host.tail(),) if problems else ())


def check(directory: Path, memory: Memory, before: Mapping[str, object], *, forward: bool) -> Verdict:
    """Look at a host after a power cut: power comes back, and one command goes on (`forward`, then back) or goes back,
    to `before`."""
    host, verdict = Host(directory), Verdict()
    try:
        _check(host, verdict, memory, before, forward)
    except Exception as error:  # noqa: BLE001  whatever the program does to us is a finding, with its transcript
        verdict.problems.append(f"the harness met {type(error).__name__}: {error}")
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(directory)
    if verdict.problems:
        verdict.remarks.append(host.tail())
    return verdict


def _check(host: Host, verdict: Verdict, memory: Memory, before: Mapping[str, object], forward: bool) -> None:
    if host.run("machine", "reboot") != 0:
        _rescue(host, verdict)
        return
    verdict.way = "back"
    # Before the first event there is nothing to take back; where a way back was begun, only `rollback` goes on.
    if not memory.hashes or (forward and not memory.half_back):
        verdict.way = "there and back"
        if host.over_reboots("advance", "--until", "running") != 0:
            verdict.problems.append("advance does not get to running")
    if host.over_reboots("rollback") != 0:
        verdict.problems.append("rollback does not get back")
    after = manifest(host.directory)
    different = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if different:
        verdict.problems.append(f"not as before: {', '.join(different[:6])}")


def _rescue(host: Host, verdict: Verdict) -> None:
    """The machine does not come up: take the way back of a rescue system, and see whether it comes up then."""
    verdict.problems.append("the machine does not boot")
    verdict.remarks.append(host.tail())
    script = host.directory / "var/lib/vfiostate/restore.sh"
    if not script.exists():
        verdict.remarks.append("there is no restore.sh")
        return
    done = subprocess.run(["sh", str(script), str(host.directory)], capture_output=True, text=True, check=False)
    back = done.returncode == 0 and host.run("machine", "reboot") == 0
    verdict.remarks.append("restore.sh mends it" if back else f"restore.sh does not mend it: {done.stderr[-300:]}")


def events(directory: Path, *, write: bool) -> list[tuple[str, str]]:
    """The hashes and kinds of the journal's events, in order; as many as can be read."""
    from journal.errors import JournalError
    from journal.store import Journal

    found: list[tuple[str, str]] = []
    with contextlib.suppress(JournalError), Journal.open(directory / JOURNAL, write=write) as journal:
        found.extend((event.hash, event.kind.value) for event in journal.events())
    return found
