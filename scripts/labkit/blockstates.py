"""Crash states of a recorded disk: which are looked at, the image of each, and the files that are on it.

No mount and no root: e2fsck replays ext4's journal, debugfs takes the files out.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .base import LabError
from .blocklog import Entry, Epochs, Flag, LogFormatError, Note, Piece, notes, read_log, some, whole

SEARCH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
# What lies on a disk. The rest of a simulated host (proc, sys, run, dev) is a kernel's memory: gone with the power.
ON_DISK = ("etc", "boot", "usr", "lib", "bin", "sbin", "root", "var", "machine.json")
# The magic number of ext4's journal and the type of a commit record, big endian (include/linux/jbd2.h).
JBD2_COMMIT = bytes.fromhex("c03b3998 00000002")
# What e2fsck says where it did no more than replay ext4's journal, finish the deletions that it names, and put the sums
# into the superblock that a kernel writes there only when it unmounts. "Fix? yes" answers a line of its own.
JOURNAL_ONLY = re.compile(
    r"^(e2fsck \d|.*: recovering journal$|Pass \d|.*: \*{5} FILE SYSTEM WAS MODIFIED \*{5}$|.*: \d+/\d+ files|\s*$"
    r"|(Clearing|Truncating) orphaned inode|Free (blocks|inodes) count wrong \(|Fix\? yes$)"
)


@dataclass(frozen=True, slots=True)
class CrashState:
    """The power goes before the entry `upto`: of what no flush had made durable by then, the disk has `kept`."""

    upto: int
    kept: tuple[Piece, ...]
    why: str


class Recorded:
    """A recording that is read: its entries, its notes, and when the program was at work."""

    def __init__(self, before: Path, log: Path, place: int) -> None:
        self.before = before
        self._file = open(log, "rb")  # noqa: SIM115  lives as long as the mapping
        self.log = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self.sector, self.entries = read_log(self.log)
        self.epochs = Epochs(self.entries, place)
        self.notes = notes(self.log, self.entries, place)
        if [one.said["kind"] for one in self.notes if one.said["kind"] in ("record", "done")] != ["record", "done"]:
            raise LogFormatError(f"{log}: the recording has no beginning or no end")
        self.first = next(one.entry for one in self.notes if one.said["kind"] == "record")
        self.last = next(one.entry for one in self.notes if one.said["kind"] == "done")

    def data(self, piece: Piece) -> tuple[int, bytes]:
        """Where a piece goes on the disk, and its bytes."""
        entry = self.entries[piece.entry]
        start = entry.start + piece.offset
        if entry.data is None:
            return start, bytes(piece.length)
        return start, self.log[entry.data + piece.offset : entry.data + piece.offset + piece.length]

    def tears_commit(self, state: CrashState) -> bool:
        """Whether the disk tore a commit record of ext4's own journal, the first sector of which it kept.

        ext4 counts on that block being written whole or not at all: its checksum is over all of it, and e2fsck stops
        there and looks at the whole file system (kernel documentation, filesystems/ext4/journal.rst, "Commit Block").
        """
        kept: dict[int, int] = {}
        for piece in state.kept:
            kept[piece.entry] = kept.get(piece.entry, 0) + piece.length
        begun = {piece.entry for piece in state.kept if piece.offset == 0}
        torn = (number for number, length in kept.items() if number in begun and length < self.entries[number].length)
        return any(self._is_commit(number) for number in torn)

    def _is_commit(self, number: int) -> bool:
        start = self.entries[number].data
        return start is not None and self.log[start : start + len(JBD2_COMMIT)] == JBD2_COMMIT

    def acknowledged(self, upto: int) -> Note | None:
        """The last commit of the journal that had returned before an entry."""
        commits = [one for one in self.notes if one.entry < upto and one.said["kind"] == "commit"]
        return commits[-1] if commits else None

    def command(self, upto: int) -> str:
        """What ran when the power went."""
        begun = [one for one in self.notes if one.entry < upto and one.said["kind"] in ("begin", "end", "rebooted")]
        if not begun or begun[-1].said["kind"] != "begin":
            return "between two commands"
        words = begun[-1].said["words"]
        assert isinstance(words, list)
        return " ".join(map(str, words))

    def at_work(self) -> list[int]:
        """The entries before which the power may go: all while the program ran or had ended, none while the simulated
        machine rebooted, for then nothing but the model writes."""
        found: list[int] = []
        since: int | None = self.first + 1
        for note in self.notes:
            if note.said["kind"] == "begin" and note.said["words"] == ["machine", "reboot"] and since is not None:
                found += range(since, note.entry + 1)
                since = None
            elif note.said["kind"] == "rebooted":
                since = note.entry + 1
        return found + list(range(since if since is not None else self.last, self.last + 1))


def choose(recorded: Recorded, count: int, seed: int) -> list[CrashState]:
    """The states that are looked at, in the order of the log: every prefix of the log; at every flush also what was
    durable for sure and nothing more; and `count` random parts of what was not durable."""
    epochs = recorded.epochs
    allowed = recorded.at_work()
    found = [CrashState(upto, whole(epochs.loose(upto)), "prefix") for upto in allowed]
    ends = [upto for upto in allowed if upto == len(epochs.entries) or epochs.entries[upto].flags & Flag.FLUSH]
    found += [CrashState(upto, (), "durable") for upto in (*ends, allowed[-1])]
    dice = Random(seed)
    open_ends = [upto for upto in allowed if epochs.loose(upto)]
    # As often in a small epoch as in a large one: half of the states by epoch, half by entry.
    by_epoch: dict[int, list[int]] = {}
    for upto in open_ends:
        by_epoch.setdefault(epochs.settled(upto), []).append(upto)
    groups = list(by_epoch.values())
    for number in range(count if open_ends else 0):
        upto = dice.choice(dice.choice(groups) if number % 2 else open_ends)
        found.append(CrashState(upto, some(epochs.loose(upto), dice, recorded.sector), "random"))
    unique = {(one.upto, one.kept): one for one in reversed(found)}
    return sorted(unique.values(), key=lambda one: (one.upto, one.why, one.kept != ()))


def same_disk(recorded: Recorded, state: CrashState) -> tuple[int, tuple[Piece, ...]]:
    """What two states have in common whose disks are byte for byte the same: the last write that is wholly there with
    all before it, and the pieces besides."""
    epochs = recorded.epochs
    upto = state.upto if state.kept == whole(epochs.loose(state.upto)) else epochs.settled(state.upto)
    kept = () if upto == state.upto else (*whole(epochs.forced(state.upto)), *state.kept)
    written = [one.number for one in epochs.durable(max(0, upto - 200), upto)]
    return (written[-1] if written else -1 - upto), kept


class Builder:
    """Builds the images of states in the order of the log."""

    def __init__(self, recorded: Recorded, scratch: Path) -> None:
        self._recorded = recorded
        self._durable = scratch / "durable.img"
        self._image = scratch / "state.img"
        self._done = 0
        shutil.copyfile(recorded.before, self._durable)

    def image(self, state: CrashState) -> Path:
        """The disk in this state; valid until the next call."""
        epochs = self._recorded.epochs
        settled = epochs.settled(state.upto)
        self._write(self._durable, whole(epochs.durable(self._done, settled)))
        self._done = max(self._done, settled)
        subprocess.run(["cp", "--sparse=always", self._durable, self._image], env=SEARCH, check=True)
        pieces = (*whole(epochs.forced(state.upto)), *state.kept)
        self._write(self._image, tuple(sorted(pieces, key=lambda piece: (piece.entry, piece.offset))))
        return self._image

    def _write(self, image: Path, pieces: Sequence[Piece]) -> None:
        with open(image, "r+b") as file:
            for piece in pieces:
                start, data = self._recorded.data(piece)
                file.seek(start)
                file.write(data)


def repair(image: Path) -> list[str]:
    """Replay ext4's journal; what e2fsck had to say beyond that. Raises LabError where it cannot repair."""
    done = subprocess.run(["e2fsck", "-fy", str(image)], capture_output=True, text=True, env=SEARCH, check=False)
    if done.returncode not in (0, 1):
        raise LabError(f"e2fsck ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return [line for line in (done.stdout + done.stderr).splitlines() if not JOURNAL_ONLY.match(line)]


def extract(image: Path, top: str, target: Path) -> None:
    """Take the files of a simulated host out of an image; debugfs keeps owners, modes, times and symlinks."""
    target.mkdir()
    wanted = "\n".join(f"rdump /{top}/{name} {target}" for name in ON_DISK) + "\n"
    subprocess.run(
        ["debugfs", "-f", "-", str(image)], input=wanted, text=True, capture_output=True, env=SEARCH, check=True
    )
    if not (target / "machine.json").is_file():
        raise LabError(f"the simulated host is not on the disk: {image}")


def manifest(host: Path) -> dict[str, tuple[int, int, int, str]]:
    """The host's own files, directories and symlinks, but not what varies of itself (var): path -> mode, owner,
    group, and content or target. Directories without a file are left out: `systemctl disable` removes a .wants
    directory that it empties.
    """
    tops = [host / name for name in ON_DISK if name != "var"]
    return {
        str(path.relative_to(host)): _described(path)
        for path in _walk(tops)
        if path.is_symlink() or not path.is_dir() or any(not below.is_dir() for below in path.rglob("*"))
    }


def digest(host: Path, *, without: str = "") -> str:
    """Two hosts with the same digest are the same to the program: names, modes, owners, contents; but for the files
    whose paths begin with `without`."""
    found = hashlib.sha256()
    for path in _walk([host / name for name in ON_DISK]):
        if without and str(path.relative_to(host)).startswith(without):
            continue
        found.update(f"{path.relative_to(host)}\0{_described(path)}\0".encode())
    return found.hexdigest()


def _described(path: Path) -> tuple[int, int, int, str]:
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        return info.st_mode, info.st_uid, info.st_gid, os.readlink(path)
    content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(info.st_mode) else ""
    return info.st_mode, info.st_uid, info.st_gid, content


def _walk(tops: Sequence[Path]) -> Iterator[Path]:
    for top in tops:
        if top.is_symlink() or top.exists():
            yield top
        if top.is_dir() and not top.is_symlink():
            yield from sorted(top.rglob("*"))


def entries_of(recorded: Recorded) -> dict[str, int]:
    """How many entries of which kind the log has."""
    kinds: dict[str, int] = {"writes": 0, "flushes": 0, "notes": len(recorded.notes)}

    def kind(entry: Entry) -> str:
        return "flushes" if entry.flags & Flag.FLUSH else "writes"

    for entry in recorded.entries:
        kinds[kind(entry)] += 1
    kinds["writes"] -= kinds["notes"]
    return kinds
