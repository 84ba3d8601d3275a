"""What is still good in a journal whose database is not: found in the bytes of the file, without SQLite's help.

Every record proves itself: an event carries the sha256 of what it says, a before-image lies under its own. So it does
not matter where a record is found; pages, indexes, the schema and the header may all be damaged. The layout of records
and of pages that overflow is https://www.sqlite.org/fileformat.html (2.1 records, 1.6 b-tree pages).
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from sqlalchemy import text

from journal.before import Where, named
from journal.chain import GENESIS, Record, decoded
from journal.database import Database, hot_journal_of, locate, wal_of
from journal.errors import JournalError
from journal.events import Event, Kind

# The header of an event's record after its first byte: seq is the row's number and not stored (0), two texts of 64
# characters (2 * 64 + 13), the body's length. An event's values follow.
_EVENT = re.compile(rb"\x00\x81\x0d\x81\x0d([\x80-\xff]{0,4}[\x00-\x7f])")
_BLOB = re.compile(rb"\x81\x0d([\x80-\xff]{0,4}[\x00-\x7f])([0-9a-f]{64})")
# An event whose record header is damaged and whose values are not: two hashes, then its JSON.
_BARE = re.compile(rb'([0-9a-f]{64})([0-9a-f]{64})(?=\{"at":")')
_USUAL_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Broken:
    """A place in the file where an event lay: its number, if that can be told, the page (from 1) and the byte."""

    seq: int | None
    page: int
    byte: int


@dataclass(frozen=True, slots=True)
class Salvage:
    """What was found: the events that carry their own hash, by number, the before-images, and damaged places."""

    records: Mapping[int, Record] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    broken: tuple[Broken, ...] = ()

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The numbers that are there, as (first, last) without a gap."""
        found: list[tuple[int, int]] = []
        for seq in sorted(self.records):
            if found and found[-1][1] == seq - 1:
                found[-1] = found[-1][0], seq
            else:
                found.append((seq, seq))
        return tuple(found)

    def unlinked(self) -> tuple[int, ...]:
        """The events that do not follow the one before, though that is there: one of the two was changed."""
        return tuple(
            seq
            for seq, record in sorted(self.records.items())
            if record.prev != (GENESIS if seq == 1 else self.records[seq - 1].hash if seq - 1 in self.records else None)
            and (seq == 1 or seq - 1 in self.records)
        )

    def events(self) -> Iterator[Event]:
        """The events, as far as this version knows their form."""
        for _, record in sorted(self.records.items()):
            with contextlib.suppress(JournalError):
                yield from decoded([record])

    def named(self, where: Where) -> dict[str, int]:
        """The before-images that the events name there, each with the event that names it."""
        events = (event for event in self.events() if event.kind is Kind.INTENT)
        return {digest: event.seq for event in events for digest in named(event.data, where)}


def salvage(where: str | Path) -> Salvage:
    """Find what is still good. Reads only; raises nothing: what cannot be read, or is no file, holds nothing."""
    place = locate(where)
    records: dict[int, list[Record]] = {}
    blobs: dict[str, bytes] = {}
    broken: list[Broken] = []
    if place.path is not None and place.path.is_file():
        with contextlib.suppress(OSError), _bytes_of(place.path) as data:
            page = _page_size(data)
            found, broken = _events(data, page)
            for record in (*found, *_bare(data, {record.hash for record in found})):
                _add(records, record)
            blobs.update(_blobs(data, page))
    with contextlib.suppress(JournalError), contextlib.closing(Database(place, write=False)) as database:
        for record in _rows(database):
            _add(records, record)
        blobs.update(_contents(database))
    chosen = _choose(records)
    return Salvage(chosen, blobs, tuple(_still_broken(broken, chosen)))


@contextlib.contextmanager
def _bytes_of(path: Path) -> Iterator[bytes]:
    """The file's content; where a hot journal or a WAL lies beside it, that of a copy in which SQLite settled it."""
    beside = [place for place in (hot_journal_of(path), wal_of(path)) if place.exists()]
    if not beside:
        yield path.read_bytes()
        return
    with tempfile.TemporaryDirectory(prefix="vfiostate-journal-") as directory:
        for place in (path, *beside):
            shutil.copyfile(place, Path(directory, place.name))
        copy = Path(directory, path.name)
        with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
            connection = sqlite3.connect(copy)
            with contextlib.closing(connection):
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield copy.read_bytes()


def _page_size(data: bytes) -> int:
    """As the header says, where that can be true; that of every journal we make, where not."""
    size = int.from_bytes(data[16:18], "big")
    size = 65536 if size == 1 else size
    return size if size >= 512 and size & (size - 1) == 0 else _USUAL_PAGE


def _events(data: bytes, page: int) -> tuple[list[Record], list[Broken]]:
    """The events in the order they lie there, and the places of those that do not carry their hash."""
    good, bad = [], []
    for match in _EVENT.finditer(data):
        length = (_varint(match[1]) - 13) // 2
        header = 6 + len(match[1])
        start = match.start() - 1
        payload = _payload(data, start, header + 128 + length, page) if length > 0 else b""
        record = _record(payload[header : header + 64], payload[header + 64 : header + 128], payload[header + 128 :])
        if record is not None:
            good.append(record)
        elif length > 0:
            bad.append(Broken(_number_before(data, start), start // page + 1, start))
    return good, bad


def _number_before(data: bytes, start: int) -> int | None:
    """The row's number, the varint that stands before a record: its last byte has no high bit, those before have."""
    begin = start - 1
    while begin > 0 and start - begin < 9 and data[begin - 1] & 0x80:
        begin -= 1
    # The length of the record, a varint too, stands before the number: one with a high bit cannot be its last byte.
    number = _varint(data[begin:start]) if begin >= 0 else 0
    return number if 0 < number < 1 << 32 else None


def _bare(data: bytes, found: Container[str]) -> Iterator[Record]:
    """Events whose record header was damaged, as long as their content lies in one piece; without those found."""
    decoder = json.JSONDecoder()
    for match in _BARE.finditer(data):
        if match[2].decode() in found:
            continue
        body = data[match.end() : match.end() + 65536].decode("latin-1")
        with contextlib.suppress(ValueError, RecursionError):
            _, end = decoder.raw_decode(body)
            record = _record(match[1], match[2], body[:end].encode("latin-1"))
            if record is not None:
                yield record


def _blobs(data: bytes, page: int) -> Iterator[tuple[str, bytes]]:
    for match in _BLOB.finditer(data):
        serial = _varint(match[1])
        if serial < 12 or serial % 2:
            continue
        header = 3 + len(match[1])
        payload = _payload(data, match.start() - 1, header + 64 + (serial - 12) // 2, page)
        content = payload[header + 64 :]
        if sha256(content).hexdigest().encode() == match[2]:
            yield match[2].decode(), content


def _varint(data: bytes) -> int:
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value


def _payload(data: bytes, start: int, total: int, page: int) -> bytes:
    """The record that begins at a byte, with what overflows into other pages; shorter where the chain is broken."""
    if start < 0 or total > len(data):
        return b""
    local = total
    if total > page - 35:
        least = (page - 12) * 32 // 255 - 23
        local = least + (total - least) % (page - 4)
        local = local if local <= page - 35 else least
    parts = [data[start : start + local]]
    left, pointer = total - local, start + local
    while left > 0:
        begin = (int.from_bytes(data[pointer : pointer + 4], "big") - 1) * page
        if not 0 <= begin < len(data):
            break
        parts.append(data[begin + 4 : begin + 4 + min(left, page - 4)])
        left, pointer = left - (page - 4), begin
    return b"".join(parts)


def _record(prev: bytes, mark: bytes, body: bytes) -> Record | None:
    """The record, if it carries its own hash and says its own number."""
    if len(prev) != 64 or sha256(b"%b\n%b" % (prev, body)).hexdigest().encode() != mark:
        return None
    try:
        fields = json.loads(body)
        seq = fields["seq"]
        text_of_body, text_of_prev = body.decode("ascii"), prev.decode("ascii")
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Record(seq, text_of_prev, mark.decode("ascii"), text_of_body) if type(seq) is int and seq > 0 else None


def _rows(database: Database) -> Iterator[Record]:
    """What the database itself still gives, row by row up to where it gives up."""
    kind = "BLOB" if database.place.path is not None else "TEXT"
    columns = ", ".join(f"CAST({name} AS {kind})" for name in ("prev", "hash", "body"))
    with contextlib.suppress(JournalError), database.reading() as connection:
        for row in connection.execute(text(f"SELECT {columns} FROM events")):
            values = [value.encode() if isinstance(value, str) else value for value in row]
            record = _record(*values) if all(isinstance(value, bytes) for value in values) else None
            if record is not None:
                yield record


def _contents(database: Database) -> Iterator[tuple[str, bytes]]:
    with contextlib.suppress(JournalError), database.reading() as connection:
        for (value,) in connection.execute(text("SELECT content FROM blobs")):
            if isinstance(value, bytes):
                yield sha256(value).hexdigest(), value


def _add(records: dict[int, list[Record]], record: Record) -> None:
    known = records.setdefault(record.seq, [])
    if record not in known:
        known.append(record)


def _choose(records: Mapping[int, Iterable[Record]]) -> dict[int, Record]:
    """One of each number: the one that its neighbours vouch for, where there are several."""
    chosen: dict[int, Record] = {}
    for seq in sorted(records):
        before = chosen[seq - 1].hash if seq - 1 in chosen else GENESIS if seq == 1 else None
        wanted = {record.prev for record in records.get(seq + 1, ())}
        follows = {record: record.prev == before for record in records[seq]}
        chosen[seq] = max(follows, key=lambda one: (follows[one] + (one.hash in wanted), follows[one]))
    return chosen


def _still_broken(broken: Iterable[Broken], chosen: Mapping[int, Record]) -> Iterator[Broken]:
    """Without what a page split left behind of an event that is whole elsewhere."""
    return (one for one in broken if one.seq is None or one.seq not in chosen)
