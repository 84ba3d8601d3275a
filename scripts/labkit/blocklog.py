"""The log of a recorded disk, as QEMU's blklogwrites and the kernel's dm-log-writes write it, and what may survive.

A superblock, then entry after entry, each a header in a sector of its own with the data behind it
(Documentation/admin-guide/device-mapper/log-writes.rst, drivers/md/dm-log-writes.c). Nothing here touches a disk.
"""

from __future__ import annotations

import bisect
import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag
from random import Random
from typing import Protocol

from .base import LabError

MAGIC = 0x6A736677736872
VERSION = 1
SUPERBLOCK = struct.Struct("<QQQI")
HEADER = struct.Struct("<QQQQ")
MARK_SIZE = 512  # bytes


class LogFormatError(LabError):
    """The log is not what it should be; the message says where."""


class Flag(IntFlag):
    """What an entry is besides a write (drivers/md/dm-log-writes.c)."""

    FLUSH = 1
    FUA = 2
    DISCARD = 4
    MARK = 8
    METADATA = 16


class Bytes(Protocol):
    """What a log is read from: bytes, or a file that is mapped."""

    def __len__(self) -> int: ...

    def __getitem__(self, where: slice, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One request to the disk: where it goes (bytes), how much, and where its data lie in the log (None: no data)."""

    number: int
    start: int
    length: int
    flags: Flag
    data: int | None

    @property
    def writes(self) -> bool:
        """Whether it changes the disk."""
        return self.length > 0 and not self.flags & Flag.MARK


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an entry that reached the disk: `length` bytes from `offset` on."""

    entry: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Note:
    """What the recording machine wrote down between the writes, and the number of the entry that carries it."""

    entry: int
    said: dict[str, object]


def read_log(log: Bytes) -> tuple[int, list[Entry]]:
    """The sector size and the entries of a log. Raises LogFormatError."""
    if len(log) < SUPERBLOCK.size:
        raise LogFormatError(f"no superblock: the log has {len(log)} bytes")
    magic, version, count, sector = SUPERBLOCK.unpack(log[0 : SUPERBLOCK.size])
    if magic != MAGIC or version != VERSION:
        raise LogFormatError(f"no log of version {VERSION}: magic {magic:#x}, version {version}")
    if sector < 512 or sector & (sector - 1):
        raise LogFormatError(f"sectors of {sector} bytes")
    return sector, list(_entries(log, count, sector))


def _entries(log: Bytes, count: int, sector: int) -> Iterator[Entry]:
    at = sector
    for number in range(count):
        header = log[at : at + HEADER.size]
        if len(header) < HEADER.size:
            raise LogFormatError(f"entry {number} of {count} begins beyond the end of the log")
        start, sectors, flags, mark_length = HEADER.unpack(header)
        at += sector
        if Flag(flags) & Flag.MARK:
            stored = -(-mark_length // sector) * sector
        else:
            stored = 0 if Flag(flags) & Flag.DISCARD else sectors * sector
        if at + stored > len(log):
            raise LogFormatError(f"the data of entry {number} end beyond the end of the log")
        yield Entry(number, start * sector, sectors * sector, Flag(flags), at if stored else None)
        at += stored


def encode_note(said: dict[str, object]) -> bytes:
    """A note as the bytes of one sector. Raises ValueError where it does not fit."""
    text = json.dumps(said).encode()
    if len(text) > MARK_SIZE:
        raise ValueError(f"a note of {len(text)} bytes")
    return text.ljust(MARK_SIZE)


def notes(log: Bytes, entries: Sequence[Entry], place: int) -> list[Note]:
    """The notes written to the disk at `place` (bytes), which belongs to no file system. Raises LogFormatError."""
    found = []
    for entry in entries:
        if entry.data is None or not entry.writes or entry.start != place:
            continue
        try:
            said = json.loads(log[entry.data : entry.data + MARK_SIZE])
        except ValueError as error:
            raise LogFormatError(f"entry {entry.number}: a note that cannot be read: {error}") from error
        found.append(Note(entry.number, said))
    return found


class Epochs:
    """Which writes are surely on the disk at some moment, and which are only perhaps.

    A flush makes durable what was written before it. The disk may keep any part of the rest, in any order, sector by
    sector. `place` and what lies behind it carry notes and are left out.
    """

    def __init__(self, entries: Sequence[Entry], place: int) -> None:
        self.entries = entries
        self.place = place
        self.flushes = [entry.number for entry in entries if entry.flags & Flag.FLUSH]

    def settled(self, upto: int) -> int:
        """The number of the last flush before the entry `upto`: what comes before that flush is durable."""
        found = bisect.bisect_left(self.flushes, upto)
        return self.flushes[found - 1] if found else 0

    def loose(self, upto: int) -> list[Entry]:
        """The writes before the entry `upto` that no flush has made durable."""
        first = self.settled(upto)
        return [one for one in self.entries[first:upto] if self._counts(one) and not one.flags & Flag.FUA]

    def forced(self, upto: int) -> list[Entry]:
        """The writes since the last flush before `upto` that asked to be durable by themselves (FUA)."""
        first = self.settled(upto)
        return [one for one in self.entries[first:upto] if self._counts(one) and one.flags & Flag.FUA]

    def durable(self, begin: int, end: int) -> list[Entry]:
        """The writes among the entries `begin` to `end`."""
        return [one for one in self.entries[begin:end] if self._counts(one)]

    def _counts(self, entry: Entry) -> bool:
        return entry.writes and entry.start < self.place


def whole(entries: Sequence[Entry]) -> tuple[Piece, ...]:
    """All of these writes."""
    return tuple(Piece(one.number, 0, one.length) for one in entries)


def some(entries: Sequence[Entry], dice: Random, sector: int) -> tuple[Piece, ...]:
    """A random part of these writes: some whole, some not at all, some torn between two of their sectors."""
    share = dice.choice((0.1, 0.5, 0.9))
    torn = dice.choice((0.0, 0.3))
    found: list[Piece] = []
    for one in entries:
        if one.length > sector and not one.flags & Flag.DISCARD and dice.random() < torn:
            found += (
                Piece(one.number, offset, sector) for offset in range(0, one.length, sector) if dice.random() < share
            )
        elif dice.random() < share:
            found.append(Piece(one.number, 0, one.length))
    return tuple(found)
