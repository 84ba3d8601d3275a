"""Crash states on the level of blocks: a recorded life of a simulated host, cut off at every write and in between.

The program keeps its promise where no state violates it; the harness is believed because it finds violations in the
same life recorded with the fsyncs taken out.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from . import blockrecord
from .base import REPOSITORY, LabError, need_commands, say
from .blockcheck import JOURNAL, Memory, Verdict, check, events, load_program, remember
from .blocklog import LogFormatError, Piece, whole
from .blockrecord import HOST, NOTES_AT, Recording
from .blockstates import (
    Builder,
    CrashState,
    Recorded,
    choose,
    digest,
    entries_of,
    extract,
    manifest,
    repair,
    same_disk,
)

CHUNKS = 6  # for each process, so that none has to wait long for the last
CONTROL_SHARE = 10  # the negative control takes that part of the random states


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of one crash state."""

    upto: int
    why: str
    during: str
    files: str
    host: str
    way: str
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    torn: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """What is held against every state: the host's files before, and the journal's hashes in the end."""

    before: dict[str, tuple[int, int, int, str]]
    known: tuple[str, ...]


def main_job(*, states: int, seed: int, control_only: bool, log: Path | None, jobs: int | None = None) -> int:
    """Record what is not recorded in `log` yet, replay, print the numbers; 0 if the program keeps its promise and the
    negative control does not."""
    need_commands(["mke2fs"])
    with_requirements()
    scratch = tempfile.TemporaryDirectory(prefix="vfiostate-blocks-")
    with scratch:
        directory = log or Path(scratch.name)
        wanted: dict[Recording, tuple[str, ...]] = {} if control_only else {Recording(directory / "true"): ()}
        wanted[Recording(directory / "no-fsync")] = ("--no-fsync",)
        if missing := {one: flags for one, flags in wanted.items() if not one.complete()}:
            blockrecord.record(missing)
        passed = True
        for recording, flags in wanted.items():
            count = states if not flags else max(1, states // CONTROL_SHARE)
            found = replay(recording, count, seed, jobs or os.cpu_count() or 1)
            bad = [one for one in found if one.problems]
            if flags:
                print(f"negative control, fsyncs taken out: {len(bad)} of {len(found)} states violate the promise")
                passed &= bool(bad)
            else:
                print(f"violations: {len(bad)} of {len(found)} states")
                passed &= not bad
        return 0 if passed else 1


def with_requirements() -> None:
    """Have the program and what it needs in this process; starts anew with the checkout's own Python where it must."""
    try:
        load_program()
    except ImportError as error:
        own = REPOSITORY / ".venv" / "bin" / "python"
        if own.exists() and Path(sys.prefix).resolve() != own.parents[1].resolve():
            os.execv(own, [str(own), *sys.argv])
        raise LabError(
            f"the program does not load here: {error}\n  scripts/test makes a .venv with all it needs, or: "
            f"pip install -e {REPOSITORY}"
        ) from None


def scratch_space() -> str | None:
    """Where images are built: in memory where there is room for it."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > 4 << 30 else None


def replay(recording: Recording, count: int, seed: int, jobs: int) -> list[Found]:
    """Look at every chosen state of a recording; prints its numbers and writes the findings beside it."""
    started = time.monotonic()
    recorded = Recorded(recording.before, recording.log, NOTES_AT)
    expected = _expected(recorded)
    chosen = choose(recorded, count, seed)
    say(f"{recording.directory.name}: {len(chosen)} states of {entries_of(recorded)}")
    size = -(-len(chosen) // (jobs * CHUNKS))
    chunks = [chosen[start : start + size] for start in range(0, len(chosen), size)]
    # Forked, so that no process loads the program again.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        tasks = [pool.submit(look_at, recording, expected, chunk) for chunk in chunks]
        found: list[Found] = []
        for number, task in enumerate(tasks):
            found += task.result()
            write_findings(recording, found)
            bad = sum(bool(one.problems) for one in found)
            say(f"  {number + 1}/{len(tasks)}: {len(found)} states, {bad} with a violation")
    print(summary(recording, recorded, found, time.monotonic() - started, seed))
    return found


def _expected(recorded: Recorded) -> Expected:
    with tempfile.TemporaryDirectory(dir=scratch_space()) as name:
        scratch = Path(name)
        builder = Builder(recorded, scratch)
        found = []
        for number, upto in enumerate((recorded.first, len(recorded.entries))):
            image = builder.image(CrashState(upto, whole(recorded.epochs.loose(upto)), "prefix"))
            repair(image)
            extract(image, HOST, scratch / str(number))
            found.append(scratch / str(number))
        known = tuple(mark for mark, _ in events(found[1], write=False))
        commits = [one.said for one in recorded.notes if one.said["kind"] == "commit"]
        told = [known[int(str(one["seq"])) - 1 :][:1] == (one["hash"],) for one in commits]
        if not told or not all(told):
            raise LogFormatError("the notes do not fit the journal that was recorded")
        return Expected(manifest(found[0]), known)


# What this process has looked at. Disks that are the same byte for byte need one look; the program sees files, not
# blocks, and the same files need one look at the journal; hosts that differ in nothing but how SQLite had come to write
# the same events need one way there and back.
_taken_out: dict[tuple[Path, tuple[int, tuple[Piece, ...]]], tuple[str, list[str]]] = {}
_remembered: dict[tuple[Path, str], tuple[Memory, str]] = {}
_checked: dict[tuple[Path, str], Verdict] = {}


def look_at(recording: Recording, expected: Expected, chosen: Sequence[CrashState]) -> list[Found]:
    """Build each state and check it; run in a process of its own."""
    recorded = Recorded(recording.before, recording.log, NOTES_AT)
    with tempfile.TemporaryDirectory(dir=scratch_space()) as name:
        builder = Builder(recorded, Path(name))
        return [_look(recording, recorded, expected, builder, Path(name) / "host", one) for one in chosen]


def _look(
    recording: Recording, recorded: Recorded, expected: Expected, builder: Builder, host: Path, state: CrashState
) -> Found:
    during = recorded.command(state.upto)
    disk = recording.directory, same_disk(recorded, state)
    if disk not in _taken_out:
        try:
            image = builder.image(state)
            said = repair(image)
            shutil.rmtree(host, ignore_errors=True)
            extract(image, HOST, host)
        except LabError as error:
            return Found(state.upto, state.why, during, "", "", "", ("the file system is lost",), (str(error),))
        _taken_out[disk] = digest(host), said
        _go_on(recording.directory, expected, host, _taken_out[disk][0])
    files, beyond = _taken_out[disk]
    memory, told = _remembered[recording.directory, files]
    verdict = _checked[recording.directory, told]
    problems = [*memory.problems, *verdict.problems, *_lost(recorded, state, memory)]
    torn = bool(beyond) and recorded.tears_commit(state)
    if beyond and not torn:
        problems.append("e2fsck had more to do than to replay the journal")
    remarks = (*beyond, *memory.remarks, *verdict.remarks)
    return Found(state.upto, state.why, during, files, told, verdict.way, tuple(problems), remarks, torn)


def _go_on(of: Path, expected: Expected, host: Path, files: str) -> None:
    if (of, files) not in _remembered:
        memory = remember(host, expected.known)
        told = files if memory.problems else f"{digest(host, without=JOURNAL)} {memory.hashes[-1:]}"
        _remembered[of, files] = memory, told
    memory, told = _remembered[of, files]
    if (of, told) not in _checked:
        # There and back, and only back, by turns.
        _checked[of, told] = check(host, memory, expected.before, forward=len(_checked) % 2 == 0)


def _lost(recorded: Recorded, state: CrashState, memory: Memory) -> list[str]:
    note = recorded.acknowledged(state.upto)
    if note is None:
        return []
    seq = int(str(note.said["seq"]))
    if memory.hashes[seq - 1 : seq] == (note.said["hash"],):
        return []
    return [f"acknowledged and lost: event {seq} (the journal ends with {len(memory.hashes)})"]


def write_findings(recording: Recording, found: Sequence[Found]) -> None:
    """Every state with a violation, as JSON lines."""
    with open(recording.directory / "violations.jsonl", "w", encoding="utf-8") as file:
        for one in found:
            if one.problems:
                file.write(json.dumps(asdict(one)) + "\n")


def summary(recording: Recording, recorded: Recorded, found: Sequence[Found], seconds: float, seed: int) -> str:
    """The numbers of a replay."""
    by_why = Counter(one.why for one in found)
    ways = Counter(one.way for one in {one.host: one for one in found}.values())
    during = Counter(one.during for one in found)
    kinds = Counter(problem.partition(":")[0] for one in found for problem in one.problems)
    counts = ", ".join(f"{number} {kind}" for kind, number in entries_of(recorded).items())
    lines = [
        f"{recording.directory.name}: log of {counts}; seed {seed}; {seconds:.0f} s",
        f"  states: {len(found)} ({', '.join(f'{number} {why}' for why, number in sorted(by_why.items()))})",
        f"  different contents, in each the journal verified and recovered: {len({one.files for one in found})}",
        f"  different hosts, each taken on by the program: {sum(ways.values())} "
        f"({', '.join(f'{number} {way or chr(45)}' for way, number in sorted(ways.items()))})",
        f"  acknowledged commits: {sum(one.said['kind'] == 'commit' for one in recorded.notes)}",
        *(f"  power gone during: {what}: {number}" for what, number in sorted(during.items())),
        f"  ext4's own commit record torn, so that e2fsck repaired it (the promise was held all the same): "
        f"{sum(one.torn for one in found)}",
        *(f"  violation: {what}: {number}" for what, number in kinds.most_common()),
    ]
    return "\n".join(lines)
