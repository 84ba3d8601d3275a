"""`scripts/lab cuts`: machines that live lives of power cuts, and the table of what came of them."""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path

from . import prepared
from .base import REPOSITORY, LabError, say
from .lives import Lives
from .quota import NOMINAL, Cut, Quota

FAILURES_BORNE = 3  # of one machine; then it is given up
FOUND = (
    "nothing begun",
    "before the first intent",
    "an intent without its outcome",
    "between two actions",
    "completed",
)


def main_job(
    wanted: int,
    *,
    machines: int,
    seed: int,
    minutes: float,
    output: Path | None,
    keep: bool,
    words: tuple[str, ...] = (),
) -> int:
    """Makes so many cuts, only in steps with one of these words in their names; prints the table.

    Returns 0 if no promise was broken. LabError where no step has such a name.
    """
    labels = tuple(label for label in NOMINAL if not words or any(word in label for word in words))
    if not labels:
        raise LabError(f"no step has {' or '.join(words)} in its name\n  there are: {', '.join(NOMINAL)}")
    directory = output or REPOSITORY / "build" / "lab" / "cuts"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    disk = prepared.ensure()
    say(f"{wanted} cuts, {machines} machines, seed {seed}")
    started = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="vfiostate-cuts-"))
    quota = Quota(wanted, random.Random(seed), labels, started + minutes * 60)
    failures: list[str] = []
    lives: list[str] = []
    runners = [
        threading.Thread(target=run_machine, args=(number, disk, quota, work, directory, seed, failures, lives))
        for number in range(1, machines + 1)
    ]
    for runner in runners:
        runner.start()
    while any(runner.is_alive() for runner in runners):
        runners[0].join(20) if runners[0].is_alive() else runners[-1].join(20)
        # As far as it is: a run that is ended from outside leaves what it found.
        text = table(quota.cuts, lives, failures, time.monotonic() - started)
        (directory / "table.txt").write_text(text + "\n", encoding="utf-8")
        document = {"seed": seed, "machines": machines, "lives": lives, "failures": failures}
        found = json.dumps(document | {"cuts": [asdict(cut) for cut in quota.cuts]}, indent=1)
        (directory / "cuts.json").write_text(found + "\n", encoding="utf-8")
    if not keep and not failures:
        shutil.rmtree(work, ignore_errors=True)
    else:
        say(f"the machines' directories stay: {work}")
    print(text)
    say(f"table, cuts.json and transcripts: {directory}")
    return 0 if not failures and quota.examined >= wanted else 1


def run_machine(
    number: int,
    disk: prepared.Prepared,
    quota: Quota,
    work: Path,
    directory: Path,
    seed: int,
    failures: list[str],
    lives: list[str],
) -> None:
    """One machine until every cut is made; after a broken promise its directory stays and a new machine goes on."""
    for attempt in range(1, FAILURES_BORNE + 1):
        place = work / f"machine-{number}.{attempt}"
        one = Lives(number, disk, quota, place, random.Random(seed * 1000 + number * 10 + attempt))
        try:
            one.live()
            return
        except (LabError, LookupError, ValueError, OSError) as error:
            failures.append(f"machine {number}, life {one.life}: {type(error).__name__}: {error}; see {place}")
            say(f"FAILED {failures[-1]}")
        finally:
            lives += [f"machine {number}: {life}" for life in one.lives]
            for name in ("transcript.txt", "serial.log"):
                if (place / name).exists():
                    shutil.copyfile(place / name, directory / f"{place.name}-{name}")


def table(cuts: list[Cut], lives: list[str], failures: list[str], seconds: float) -> str:
    """Step by step: the cuts, how far each command had come by the journal, and what was unbootable, damaged, lost."""
    heads = ("cuts", "booted", "nothing", "before", "open", "between", "done", "damaged", "lost", "on", "back")
    lines = [f"{'step':<30}" + "".join(f"{head:>9}" for head in heads)]
    rows = [[cut for cut in cuts if cut.label == label] for label in NOMINAL]
    for label, row in [*zip(NOMINAL, rows, strict=True), ("all", cuts)]:
        numbers = [len(row), sum(cut.booted for cut in row)]
        numbers += [sum(cut.found == found for cut in row) for found in FOUND]
        numbers += [sum(damaged(cut) for cut in row), sum(bool(cut.lost) for cut in row)]
        numbers += [sum(cut.then == then for cut in row) for then in ("went on", "went back")]
        lines.append(f"{label:<30}" + "".join(f"{number:9}" for number in numbers))
    told = sum(cut.told for cut in cuts)
    boots = [cut.boot_seconds for cut in cuts if cut.booted] or [0.0]
    lines += [
        "",
        "nothing … done: how far the command was, by the journal: nothing begun, before its first intent, an intent",
        "open, between two actions, completed; on, back: what was done then: the same command again, or `rollback`",
        f"{sum(cut.examined for cut in cuts)} power cuts, unbootable {sum(cut.unbootable for cut in cuts)},"
        f" damaged {sum(damaged(cut) for cut in cuts)}, lost {sum(bool(cut.lost) for cut in cuts)}"
        f" (of {told} lines told before the cuts)",
        f"{len(lives)} lives, each as before byte for byte at its end: "
        + ", ".join(f"{lives_to(lives, turn)} from {turn}" for turn in sorted({turn_of(life) for life in lives})),
        f"{seconds / 60:.0f} min on {os.cpu_count()} CPUs; a boot after a cut took {statistics.median(boots):.0f} s"
        f" (median), {max(boots):.0f} s (longest)",
    ]
    if unknown := sum(not cut.examined for cut in cuts):
        lines.append(f"{unknown} more after which nothing was looked at: the run ended before")
    lines += [f"FAILED {failure}" for failure in failures]
    return "\n".join(lines)


def damaged(cut: Cut) -> bool:
    """Whether the journal was looked at after a cut and was not whole."""
    return cut.examined and not cut.unbootable and not cut.whole


def turn_of(life: str) -> str:
    """From where a life went back."""
    return life.partition(": ")[2].partition(",")[0]


def lives_to(lives: list[str], turn: str) -> int:
    """How many lives went back from there."""
    return sum(turn_of(life) == turn for life in lives)
