"""Random damage to a journal: to the bytes of its file, by somebody with root and sqlite3, and to the images beside it.

`python -m tests.journal.damages 10000 [SEED]` prints the table of what was found; the tests take a sample of the same.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from random import Random

from engine.heads import LINE
from engine.states import LEGAL
from journal.audit import Announced, Subject, audit
from journal.chain import Head, Record
from journal.errors import JournalError
from journal.events import Draft, Json, Kind, Origin
from journal.images import BLOB_LIMIT, Images
from journal.salvage import salvage
from journal.store import Journal
from tests.kill.crash import run

JOURNAL = "var/lib/vfiostate/journal.db"
DEVICES = ("--device=01:00.0", "--device=01:00.1", "--device=02:00.0", "--accel=tcg")
ORIGIN = Origin("5e2a2b6c-8c8a-4a53-9d0f-4f0a5f3f6c11", 0, None, "0.1.0")


SALVAGED = 0.25
"""The part of the damaged journals that is also salvaged, which takes longer than finding the damage."""


class Verdict(StrEnum):
    """What became of a damage."""

    FOUND = "found"
    HARMLESS = "harmless"
    MISSED = "missed"


@dataclass(frozen=True)
class Corpus:
    """A good journal: its bytes, older copies of it, its images, and what is in it."""

    data: bytes
    older: tuple[bytes, ...]
    images: Mapping[str, bytes]
    records: tuple[Record, ...]
    blobs: Mapping[str, bytes]
    known: Announced

    def __repr__(self) -> str:
        return f"<a journal of {len(self.records)} events in {len(self.data)} bytes>"

    def lay(self, directory: Path) -> Path:
        """Put it into a directory, and nothing else."""
        (directory / "images").mkdir(parents=True, exist_ok=True)
        for digest, content in self.images.items():
            place = directory / "images" / digest
            if not place.exists() or place.read_bytes() != content:
                place.write_bytes(content)
        path = directory / "journal.db"
        path.write_bytes(self.data)
        return path


@dataclass(frozen=True)
class Read:
    """What a journal gives to who reads it."""

    records: tuple[Record, ...]
    blobs: Mapping[str, bytes]


def read(path: Path) -> Read:
    """All events and before-images. Raises JournalError."""
    with Journal.open(path, write=False) as journal:
        return Read(tuple(journal.records()), {digest: journal.blob(digest) for digest in journal.blobs()})


def corpus(base: Path) -> Corpus:
    """A life on a simulated machine, there and back, and after it a longer setup with large before-images."""
    base.mkdir(exist_ok=True)
    machine, path = base / "m", base / "m" / JOURNAL
    older = []
    for argv in (
        ("machine", "create", "--from", "debian12-lab"),
        ("init", *DEVICES),
        ("advance", "--until", "modules_loaded"),
        ("advance", "--until", "stubbed"),
        ("machine", "reboot"),
        ("advance", "--until", "bound"),
        ("rollback",),
        ("machine", "reboot"),
        ("rollback",),
    ):
        result = run(machine, *argv)
        assert result.code in (0, 3), result.output
        if path.exists():
            older.append(path.read_bytes())
    heads = list(heads_of(machine).heads)
    images = Images(base / "images")
    with Journal.open(path, write=True) as journal:
        heads.append(_lengthen(journal, images, base / "source"))
    kept = {place.name: place.read_bytes() for place in (base / "images").iterdir()}
    found = read(path)
    return Corpus(path.read_bytes(), tuple(older), kept, found.records, found.blobs, Announced(tuple(heads)))


def heads_of(machine: Path) -> Announced:
    """What the system's log of a simulated machine remembers."""
    lines = LINE.findall((machine / "var/log/syslog").read_text())
    return Announced(tuple(Head(int(seq), digest) for _, seq, digest in lines))


def _lengthen(journal: Journal, images: Images, source: Path) -> Head:
    """More events than one page of the index points to, blobs that overflow, images; the head as it is then."""
    dice, setup = Random(1), "0123456789ab"
    journal.append([Draft(Kind.SETUP_CREATED, setup, {"state": "new"})], origin=ORIGIN)
    for number in range(150):
        data: dict[str, Json] = {"n": number, "action": {"type": "run_command", "argv": ["true"]}}
        blobs = []
        before: dict[str, Json] = {}
        if number % 10 == 0:
            content = dice.randbytes(dice.choice([0, 10, 3000, 5000, 60_000]))
            blobs = [content]
            before[f"/etc/{number}"] = {"sha256": sha256(content).hexdigest(), "where": "blob", "mode": 0o644}
        if number in (40, 80):
            source.write_bytes(dice.randbytes(1000) * (BLOB_LIMIT // 1000 + number))
            before["/boot/initrd.img"] = {"sha256": images.keep(source), "where": "image", "mode": 0o644}
        data["before"] = before
        drafts = [Draft(Kind.INTENT, setup, data, "stubbed", 1)]
        said: dict[str, Json] = {"intent": 0, "result": "done", "output": ["x" * dice.choice([0, 20, 500, 6000])]}
        drafts.append(Draft(Kind.OUTCOME, setup, said, "stubbed", 1))
        last = journal.append(drafts, origin=ORIGIN, blobs=blobs)[-1]
    return Head(last.seq, last.hash)


# --- damages: each changes what lies in the directory of the journal

Damage = Callable[[Random, Path, Corpus], None]
DAMAGES: dict[str, Damage] = {}


def damage(name: str) -> Callable[[Damage], Damage]:
    """Register one under a name, for the table."""

    def register(function: Damage) -> Damage:
        DAMAGES[name] = function
        return function

    return register


def _bytes(dice: Random, path: Path, start: int, what: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(what)


def _page(dice: Random, known: Corpus) -> int:
    return dice.randrange(len(known.data) // 4096) * 4096


@damage("one bit")
def one_bit(dice: Random, path: Path, known: Corpus) -> None:
    """Flipped, anywhere."""
    at = dice.randrange(len(known.data))
    _bytes(dice, path, at, bytes([known.data[at] ^ 1 << dice.randrange(8)]))


@damage("one bit of the first page")
def one_bit_in_front(dice: Random, path: Path, known: Corpus) -> None:
    """Flipped in SQLite's header or in the schema."""
    at = dice.randrange(dice.choice([100, 4096]))
    _bytes(dice, path, at, bytes([known.data[at] ^ 1 << dice.randrange(8)]))


@damage("a range overwritten")
def overwritten(dice: Random, path: Path, known: Corpus) -> None:
    """By random bytes."""
    start = dice.randrange(len(known.data))
    _bytes(dice, path, start, dice.randbytes(min(dice.choice([1, 8, 64, 600, 9000]), len(known.data) - start)))


@damage("a range zeroed")
def zeroed(dice: Random, path: Path, known: Corpus) -> None:
    """As a drive does that lost sectors."""
    start = dice.randrange(len(known.data)) & ~511
    _bytes(dice, path, start, bytes(min(512 * dice.choice([1, 2, 8, 20]), len(known.data) - start)))


@damage("a page zeroed")
def page_zeroed(dice: Random, path: Path, known: Corpus) -> None:
    """One of the database's own."""
    _bytes(dice, path, _page(dice, known), bytes(4096))


@damage("a page in another's place")
def page_elsewhere(dice: Random, path: Path, known: Corpus) -> None:
    """A misdirected write."""
    source = _page(dice, known)
    _bytes(dice, path, _page(dice, known), known.data[source : source + 4096])


@damage("truncated")
def truncated(dice: Random, path: Path, known: Corpus) -> None:
    """At any length."""
    os.truncate(path, dice.randrange(len(known.data)))


@damage("lengthened")
def lengthened(dice: Random, path: Path, known: Corpus) -> None:
    """By bytes that nobody asked for."""
    with path.open("ab") as file:
        file.write(dice.randbytes(dice.choice([1, 512, 4096, 10_000])))


@damage("an old copy put back")
def old_copy(dice: Random, path: Path, known: Corpus) -> None:
    """As a backup would."""
    path.write_bytes(dice.choice(known.older))


@damage("pages of an old copy")
def old_pages(dice: Random, path: Path, known: Corpus) -> None:
    """Writes that were lost: some pages are as they were."""
    old = dice.choice(known.older)
    for start in range(0, len(old), 4096):
        if dice.random() < 0.3:
            _bytes(dice, path, start, old[start : start + 4096])


Work = Callable[[Random, sqlite3.Connection, int], None]


def by_sql(name: str) -> Callable[[Work], Work]:
    """Register what somebody with root and sqlite3 does; most put the triggers back, to leave no trace."""

    def register(work: Work) -> Work:
        def apply(dice: Random, path: Path, known: Corpus) -> None:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
                connection.execute("PRAGMA synchronous = OFF")
                for trigger, _ in triggers:
                    connection.execute(f"DROP TRIGGER {trigger}")
                with suppress(sqlite3.Error):
                    work(dice, connection, len(known.records))
                if dice.random() < 0.8:
                    for _, sql in triggers:
                        with suppress(sqlite3.Error):
                            connection.execute(sql)

        DAMAGES[f"sqlite3: {name}"] = apply
        return work

    return register


def _some(dice: Random, count: int) -> int:
    return dice.randint(1, count)


@by_sql("a row edited")
def row_edited(dice: Random, connection: sqlite3.Connection, count: int) -> None:
    """One character of one field, or a field as a whole."""
    column = dice.choice(["body", "hash", "prev"])
    seq = _some(dice, count)
    (was,) = connection.execute(f"SELECT {column} FROM events WHERE seq = ?", (seq,)).fetchone()
    at = dice.randrange(len(was))
    new: object = was[:at] + dice.choice("0123456789abcdef ") + was[at + dice.choice([0, 1]) :]
    new = dice.choice([new, new, new, "", b"\xff", was.encode(), was + " ", 7])
    connection.execute(f"UPDATE events SET {column} = ? WHERE seq = ?", (new, seq))


@by_sql("a row edited and its hash made to fit")
def row_forged(dice: Random, connection: sqlite3.Connection, count: int) -> None:
    """Also those of all rows after it: only who remembers the head can tell."""
    seq = _some(dice, count)
    everything = dice.random() < 0.6
    rows = connection.execute("SELECT seq, prev, body FROM events WHERE seq >= ? ORDER BY seq", (seq,)).fetchall()
    tip = rows[0][1]
    for number, _, body in rows if everything else rows[:1]:
        text = body.replace('"data":{', '"data":{"forged":true,', 1) if number == seq else body
        mark = sha256(f"{tip}\n{text}".encode()).hexdigest()
        connection.execute("UPDATE events SET prev = ?, hash = ?, body = ? WHERE seq = ?", (tip, mark, text, number))
        tip = mark


@by_sql("rows deleted")
def rows_deleted(dice: Random, connection: sqlite3.Connection, count: int) -> None:
    """Anywhere."""
    first = _some(dice, count)
    connection.execute("DELETE FROM events WHERE seq BETWEEN ? AND ?", (first, first + dice.choice([0, 0, 3, 50])))


@by_sql("the tail deleted")
def tail_deleted(dice: Random, connection: sqlite3.Connection, count: int) -> None:
    """The last rows, or all."""
    connection.execute("DELETE FROM events WHERE seq > ?", (count - dice.choice([1, 2, 5, 100, count]),))


@by_sql("rows inserted")
def rows_inserted(dice: Random, connection: sqlite3.Connection, count: int) -> None:
    """At the end, before the beginning, or far off; some with a hash that fits."""
    seq = dice.choice([count + 1, count + 1, 0, -5, count + 100])
    (prev,) = connection.execute("SELECT hash FROM events WHERE seq = ?", (count,)).fetchone()
    (body,) = connection.execute("SELECT body FROM events WHERE seq = ?", (_some(dice, count),)).fetchone()
    mark = sha256(f"{prev}\n{body}".encode()).hexdigest()
    connection.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (seq, prev, mark, body))


@by_sql("rows reordered")
def rows_reordered(dice: Random, connection: sqlite3.Connection, count: int) -> None:
    """Two change places, or all after one move up."""
    a, b = _some(dice, count), _some(dice, count)
    if dice.random() < 0.5:
        for old, new in ((a, -1), (b, a), (-1, b)):
            connection.execute("UPDATE events SET seq = ? WHERE seq = ?", (new, old))
    else:
        connection.execute("UPDATE events SET seq = -seq - 1 WHERE seq >= ?", (a,))
        connection.execute("UPDATE events SET seq = -seq WHERE seq < 0")


@by_sql("a before-image edited")
def blob_edited(dice: Random, connection: sqlite3.Connection, count: int) -> None:
    """Its content, its name, or it is gone; or one more is there."""
    names = [name for (name,) in connection.execute("SELECT sha256 FROM blobs ORDER BY 1")]
    name = dice.choice(names)
    match dice.randrange(5):
        case 0:
            connection.execute("UPDATE blobs SET content = ? WHERE sha256 = ?", (dice.randbytes(50), name))
        case 1:
            connection.execute("UPDATE blobs SET sha256 = ? WHERE sha256 = ?", (dice.randbytes(32).hex(), name))
        case 2:
            connection.execute("DELETE FROM blobs WHERE sha256 = ?", (name,))
        case 3:
            connection.execute("UPDATE blobs SET content = CAST(content AS TEXT) WHERE sha256 = ?", (name,))
        case _:
            content = dice.randbytes(50)
            mark = dice.choice([sha256(content).hexdigest(), dice.randbytes(32).hex()])
            connection.execute("INSERT INTO blobs VALUES (?, ?)", (mark, content))


SCHEMA_CHANGES = (
    "ALTER TABLE events ADD COLUMN more TEXT",
    "ALTER TABLE blobs RENAME TO images",
    "ALTER TABLE events RENAME COLUMN body TO said",
    "CREATE TABLE m (a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO m VALUES (9); UPDATE sqlite_sequence SET seq=3",
    "CREATE TRIGGER gone AFTER INSERT ON events BEGIN DELETE FROM events WHERE seq = NEW.seq; END",
    "CREATE INDEX bodies ON events (body)",
    "CREATE VIEW seen AS SELECT * FROM events",
    "DROP TABLE blobs",
    "DROP TABLE events",
    "CREATE TABLE other AS SELECT * FROM events; DROP TABLE events; ALTER TABLE other RENAME TO events",
    "PRAGMA user_version = 2",
    "PRAGMA user_version = 0",
    "PRAGMA application_id = 1",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 2 WHERE type = 'table'",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE type = 'table'",
    "PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE type = 'index'",
    "PRAGMA journal_mode = WAL",
    "PRAGMA auto_vacuum = FULL; VACUUM",
    "PRAGMA page_size = 1024; VACUUM",
    "PRAGMA encoding = 'UTF-16le'; VACUUM",
    "VACUUM",
    "ANALYZE",
    "REINDEX",
)


@by_sql("the schema changed")
def schema_changed(dice: Random, connection: sqlite3.Connection, count: int) -> None:
    """Columns, tables, triggers, marks; and what leaves every record as it was."""
    connection.executescript(dice.choice(SCHEMA_CHANGES))


@damage("triggers dropped")
def triggers_dropped(dice: Random, path: Path, known: Corpus) -> None:
    """One or all, nothing else."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        for name in dice.sample(names, dice.choice([1, len(names)])):
            connection.execute(f"DROP TRIGGER {name}")


@damage("an image damaged")
def image_damaged(dice: Random, path: Path, known: Corpus) -> None:
    """A bit, the end, the whole, or the other one's content."""
    places = sorted((path.parent / "images").iterdir())
    place = dice.choice(places)
    content = bytearray(place.read_bytes())
    match dice.randrange(4):
        case 0:
            content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
            place.write_bytes(content)
        case 1:
            os.truncate(place, dice.randrange(len(content)))
        case 2:
            place.unlink()
        case _:
            shutil.copyfile(places[1 - places.index(place)], place)


# --- and what is found of them


def apply(name: str, dice: Random, known: Corpus, directory: Path) -> Path:
    """Lay out the good journal and damage it; where its file is."""
    path = known.lay(directory)
    DAMAGES[name](dice, path, known)
    return path


def failing(path: Path, known: Corpus) -> set[Subject] | JournalError:
    """What `journal verify` finds: subjects that are not in order, or the error that it is answered with."""
    try:
        with Journal.open(path, write=False) as journal:
            report = audit(journal, set(LEGAL), images=Images(path.parent / "images"), known=known.known)
    except JournalError as error:
        return error
    return {check.subject for check in report.checks if not check.ok}


def judge(path: Path, known: Corpus) -> Verdict:
    """Found; or harmless, which is proved: every event, blob and image reads byte for byte as before, no more is there
    that was not, and chain, schema and database are whole. Anything else was missed."""
    if failing(path, known):
        return Verdict.FOUND
    seen = read(path)
    images = {place.name: place.read_bytes() for place in (path.parent / "images").iterdir()}
    same = seen.records == known.records and known.blobs.items() <= seen.blobs.items() and images == known.images
    return Verdict.HARMLESS if same else Verdict.MISSED


def saved(path: Path, known: Corpus) -> float:
    """Which part of the events `journal export` saves of a damaged journal, 0 to 1."""
    found = salvage(path)
    return sum(found.records.get(record.seq) == record for record in known.records) / len(known.records)


def names(count: int, dice: Random) -> Iterator[str]:
    """Kinds in turn, in a random order; the plain bit twice as often."""
    kinds = [*DAMAGES, "one bit"]
    for number in range(count):
        if number % len(kinds) == 0:
            dice.shuffle(kinds)
        yield kinds[number % len(kinds)]


@dataclass
class Tally:
    """What became of the damages of one kind; `parts` are the parts of the events saved of those that were found."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    parts: list[float] = field(default_factory=list)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.verdicts + other.verdicts, self.parts + other.parts)

    def line(self) -> str:
        """As a row of the table."""
        mean = f"{sum(self.parts) / len(self.parts):8.1%}" if self.parts else f"{'-':>8}"
        return "  ".join([*(f"{self.verdicts[verdict]:8d}" for verdict in Verdict), mean])


def table(tallies: Mapping[str, Tally]) -> str:
    """The numbers, a line for each kind; the last column: events saved of the journals whose damage was found."""
    width = max(map(len, tallies), default=0)
    lines = [f"{'':{width}}  " + "  ".join(f"{word:>8}" for word in (*Verdict, "saved"))]
    lines += [f"{name:{width}}  {tallies[name].line()}" for name in DAMAGES if name in tallies]
    return "\n".join([*lines, f"{'all':{width}}  {sum(tallies.values(), Tally()).line()}"])


def inflict(count: int, seed: int, base: Path, known: Corpus) -> tuple[dict[str, Tally], list[str]]:
    """So many damages from a seed: the numbers, and which were missed."""
    tallies: dict[str, Tally] = {}
    missed = []
    dice = Random(seed)
    for number, name in enumerate(names(count, Random(seed))):
        path = apply(name, Random(f"{seed}/{number}"), known, base / "state")
        damaged = path.read_bytes()
        tally = tallies.setdefault(name, Tally())
        verdict = judge(path, known)
        tally.verdicts[verdict] += 1
        if verdict is Verdict.FOUND and dice.random() < SALVAGED:
            tally.parts.append(saved(path, known))
        if verdict is Verdict.MISSED:
            missed.append(f"{name}: seed {seed}, number {number}")
        left = set(os.listdir(base / "state"))
        assert path.read_bytes() == damaged and left == {"journal.db", "images"}, (name, seed, number, left)
    return tallies, missed


def main(count: int, seed: int) -> int:
    """So many damages from a seed; prints the table, and which were missed."""
    with tempfile.TemporaryDirectory(prefix="vfiostate-damage-") as directory:
        base = Path(directory)
        known = corpus(base / "corpus")
        tallies, missed = inflict(count, seed, base, known)
    print(f"{count} damages to {known!r}, seed {seed}\n{table(tallies)}")  # noqa: T201  # the result
    for line in missed:
        print(f"missed: {line}")  # noqa: T201  # the result
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
