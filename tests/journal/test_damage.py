"""Whatever happens to the journal's file is found, or provably touched no record; what is still good can be saved.

The everyday run takes a sample, another one each day. All ten thousand: VFIOSTATE_DAMAGES=10000 pytest -s
tests/journal/test_damage.py, which prints the table; VFIOSTATE_DAMAGE_COMMANDS=300 for the command line.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import date
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest

from journal.audit import Subject
from journal.errors import Exit, JournalError
from journal.salvage import salvage
from journal.store import Journal
from tests.badinput.support import Answer, copy, manifest, run
from tests.journal import damages
from tests.journal.damages import JOURNAL, Corpus, Verdict

COUNT = int(os.environ.get("VFIOSTATE_DAMAGES", "160"))
COMMANDS_COUNT = int(os.environ.get("VFIOSTATE_DAMAGE_COMMANDS", "21"))
SEED = int(os.environ.get("VFIOSTATE_DAMAGE_SEED", str(date.today().toordinal())))
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("journal", "show"),
    ("journal", "verify"),
    ("journal", "export", "--complete"),
    ("advance",),
    ("rollback",),
)
WRITING = COMMANDS[-2:]
# What a run that writes refuses to go on with, whatever the damage: the rest may not concern what it needs.
GRAVE = {Subject.DATABASE, Subject.GUARDS, Subject.CONTIGUITY, Subject.CHAIN}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A good journal."""
    return damages.corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine on the way; its files live on in `machine`."""
    place = tmp_path_factory.mktemp("older") / "m"
    run(place, "machine", "create", "--from", "debian12-lab").is_(0)
    run(place, "init", *damages.DEVICES).is_(0)
    run(place, "advance").is_(0)
    return place


@pytest.fixture(scope="module")
def machine(older: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine in the middle of the way, where both `advance` and `rollback` have something to do."""
    place = copy(older, tmp_path_factory.mktemp("machine") / "m")
    run(place, "advance").is_(0)
    return place


def corpus_of(machine: Path, older: Path) -> Corpus:
    """The journal of a machine, as it is."""
    path, found = machine / JOURNAL, damages.read(machine / JOURNAL)
    heads = damages.heads_of(machine)
    return Corpus(path.read_bytes(), ((older / JOURNAL).read_bytes(),), {}, found.records, found.blobs, heads)


@pytest.mark.slow
def test_every_damage_is_found_or_touched_no_record(known: Corpus, tmp_path: Path) -> None:
    tallies, missed = damages.inflict(COUNT, SEED, tmp_path, known)
    print(f"\n{COUNT} damages to {known!r}, seed {SEED}\n{damages.table(tallies)}")  # noqa: T201  # for -s
    assert missed == []
    assert sum(tally.verdicts[Verdict.FOUND] for tally in tallies.values()) > COUNT / 2


@pytest.mark.slow
def test_no_command_falls_over_a_damaged_journal_or_changes_anything_by_it(
    older: Path, machine: Path, tmp_path: Path
) -> None:
    good, before = corpus_of(machine, older), manifest(machine)
    answers: dict[tuple[str, ...], Counter[int]] = {argv: Counter() for argv in COMMANDS}
    kinds = [name for name in damages.names(COMMANDS_COUNT, Random(SEED)) if name != "an image damaged"]
    for number, name in enumerate(kinds):
        place = copy(machine, tmp_path / "m")
        path = place / JOURNAL
        damages.DAMAGES[name](Random(f"{SEED}/{number}"), path, good)
        damaged, found = path.read_bytes(), damages.failing(path, good)
        grave = isinstance(found, JournalError) or found & GRAVE
        for argv in COMMANDS:
            answer = run(place, *argv)  # which sees to it that there is no traceback
            answers[argv][answer.code] += 1
            shown = (name, SEED, number, argv, answer.code, answer.text)
            assert answer.code in set(Exit), shown
            if argv == ("journal", "verify"):
                assert (answer.code == Exit.DONE) == (not found), shown
            if argv in WRITING and grave:
                assert answer.code == Exit.DAMAGED, shown
            if argv in WRITING and answer.code != Exit.DAMAGED:
                break  # it had no reason to stop: from here on it is another machine
            assert path.read_bytes() == damaged, shown
            assert manifest(place) == before, shown
        shutil.rmtree(place)
    for argv, codes in answers.items():
        print(" ".join(argv), dict(sorted(codes.items())))  # noqa: T201  # for -s


# --- what is still good is said and saved


def exported(place: Path, *options: str) -> tuple[list[dict[str, Any]], Answer]:
    """The lines of an export, and the answer."""
    answer = run(place, "journal", "export", "--complete", *options)
    return [json.loads(line) for line in answer.out.splitlines()], answer


def spoil(path: Path, start: int, count: int) -> None:
    """Zeros over a part of a file."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(count))


def page_of(path: Path, seq: int) -> int:
    """Where the page begins that holds an event."""
    with Journal.open(path, write=False) as journal:
        body = next(record.body for record in journal.records() if record.seq == seq)
    return path.read_bytes().index(body[:200].encode()) // 4096 * 4096


def test_without_the_first_page_every_event_and_before_image_is_saved(machine: Path, tmp_path: Path) -> None:
    place = copy(machine, tmp_path / "m")
    path = place / JOURNAL
    whole = damages.read(path)
    spoil(path, 0, 4096)
    damaged = path.read_bytes()
    lines, answer = exported(place, "--before-images", str(tmp_path / "saved"))
    answer.is_(Exit.DAMAGED).with_hint()
    assert [line["hash"] for line in lines] == [record.hash for record in whole.records]
    for digest, content in whole.blobs.items():
        assert (tmp_path / "saved" / digest).read_bytes() == content
    assert "/etc/modules" in (tmp_path / "saved/index.tsv").read_text()
    assert (tmp_path / "saved").stat().st_mode & 0o777 == 0o700
    found = run(place, "journal", "verify").is_(Exit.DAMAGED, f"still good: events 1 to {len(lines)}", "restore.sh")
    assert f"{len(whole.blobs)} of {len(whole.blobs)} before-images" in found.out
    assert path.read_bytes() == damaged


def test_a_damaged_page_in_the_middle_leaves_a_marked_gap(machine: Path, tmp_path: Path) -> None:
    place = copy(machine, tmp_path / "m")
    path = place / JOURNAL
    whole = damages.read(path).records
    spoil(path, page_of(path, 5), 4096)
    lines, answer = exported(place)
    answer.is_(Exit.DAMAGED)
    gaps = [line for line in lines if "damage" in line]
    missing = {seq for gap in gaps for seq in range(gap["from"], gap["to"] + 1)}
    assert 5 in missing
    assert {line["seq"] for line in lines if "seq" in line} | missing == {record.seq for record in whole}
    assert all(line["hash"] == whole[line["seq"] - 1].hash for line in lines if "seq" in line)
    told = json.loads(run(place, "journal", "verify", "--json").out)
    assert told["ok"] is False
    assert told["still_good"]["events"][0][1] == min(missing) - 1
    assert told["next"]


def test_a_damaged_event_is_named_with_its_page(machine: Path, tmp_path: Path) -> None:
    place = copy(machine, tmp_path / "m")
    path = place / JOURNAL
    page = page_of(path, 7) // 4096 + 1
    data = bytearray(path.read_bytes())
    at = data.index(b'"seq":7,')
    data[at - 3] ^= 1
    path.write_bytes(data)
    run(place, "journal", "verify").is_(Exit.DAMAGED, f"event 7, page {page} of", "still good: events 1 to 6, 8 to")
    lines, _ = exported(place)
    assert [line for line in lines if "damage" in line] == [
        {"damage": "event 7: not to be found", "from": 7, "to": 7},
    ]


def test_a_damaged_index_costs_nothing(machine: Path, tmp_path: Path) -> None:
    place = copy(machine, tmp_path / "m")
    path = place / JOURNAL
    blobs = damages.read(path).blobs
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE type = 'index'").fetchone()
    spoil(path, (root - 1) * 4096, 4096)
    run(place, "journal", "verify").is_(Exit.DAMAGED, "DAMAGED  database")
    run(place, "advance").is_(Exit.DAMAGED)
    exported(place, "--before-images", str(tmp_path / "saved"))
    assert {name: (tmp_path / "saved" / name).read_bytes() for name in blobs} == blobs


def test_what_was_rewritten_with_fitting_hashes_is_marked_where_it_no_longer_links(
    machine: Path, tmp_path: Path
) -> None:
    place = copy(machine, tmp_path / "m")
    path = place / JOURNAL
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        prev, body = connection.execute("SELECT prev, body FROM events WHERE seq = 4").fetchone()
        forged = body.replace('"data":{', '"data":{"forged":1,')
        mark = sha256(f"{prev}\n{forged}".encode()).hexdigest()
        connection.execute("UPDATE events SET hash = ?, body = ? WHERE seq = 4", (mark, forged))
    run(place, "journal", "verify").is_(Exit.DAMAGED, "event 5 does not follow event 4")
    lines, _ = exported(place)
    assert [line["to"] for line in lines if "damage" in line] == [5]


def test_a_directory_that_is_there_is_not_written_into(machine: Path, tmp_path: Path) -> None:
    run(machine, "journal", "export", "--before-images", str(tmp_path)).is_(Exit.USAGE).with_hint()
    assert list(tmp_path.iterdir()) == []


def test_a_whole_journal_gives_its_before_images_too(machine: Path, tmp_path: Path) -> None:
    run(machine, "journal", "export", "--before-images", str(tmp_path / "saved")).is_(0)
    names = {place.name for place in (tmp_path / "saved").iterdir()}
    assert names == {*damages.read(machine / JOURNAL).blobs, "index.tsv"}


def test_a_file_without_a_record_of_ours_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(Random(1).randbytes(50_000))
    assert salvage(path).ranges == ()


def test_after_a_crash_in_a_commit_only_what_was_acknowledged_is_salvaged(machine: Path, tmp_path: Path) -> None:
    place = copy(machine, tmp_path / "m")
    path = place / JOURNAL
    whole = damages.read(path)
    child = os.fork()
    if child == 0:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA cache_size = 2")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DROP TRIGGER events_no_update")
        connection.execute("UPDATE events SET body = body || ' '")
        os._exit(0)
    os.waitpid(child, 0)
    before = path.read_bytes()
    found = salvage(path)
    assert tuple(found.records.values()) == whole.records
    assert path.read_bytes() == before
