"""The log of a recorded disk: its format, and which parts of it a power cut may leave."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lab_unit.labkit import module

blocklog = module("blocklog")
blockstates = module("blockstates")

SECTOR = 512
PLACE = 64 * SECTOR
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


def log_of(*entries: tuple[int, bytes | int, int], count: int | None = None) -> bytes:
    """A log as QEMU writes it: sector, data (or the number of sectors discarded), flags."""
    head = struct.pack("<QQQI", 0x6A736677736872, 1, len(entries) if count is None else count, SECTOR)
    parts = [head.ljust(SECTOR, b"\0")]
    for sector, data, flags in entries:
        length = data if isinstance(data, int) else len(data) // SECTOR
        mark = len(data) if flags & MARK and isinstance(data, bytes) else 0
        parts.append(struct.pack("<QQQQ", sector, 0 if mark else length, flags, mark).ljust(SECTOR, b"\0"))
        parts.append(b"" if isinstance(data, int) else data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0"))
    return b"".join(parts)


def block(letter: str, sectors: int = 1) -> bytes:
    return letter.encode() * (SECTOR * sectors)


def note(**said: object) -> tuple[int, bytes, int]:
    return PLACE // SECTOR, blocklog.encode_note(said), 0


def test_a_log_is_read_entry_by_entry_with_the_places_of_its_data() -> None:
    log = log_of((3, block("a", 2), 0), (0, b"", FLUSH), (8, 4, DISCARD), (1, b"word", MARK), (5, block("b"), FUA))
    sector, entries = blocklog.read_log(log)
    assert sector == SECTOR
    assert [(one.start, one.length, one.writes) for one in entries] == [
        (3 * SECTOR, 2 * SECTOR, True),
        (0, 0, False),
        (8 * SECTOR, 4 * SECTOR, True),
        (SECTOR, 0, False),
        (5 * SECTOR, SECTOR, True),
    ]
    assert log[entries[0].data : entries[0].data + 2 * SECTOR] == block("a", 2)
    assert entries[2].data is None
    assert log[entries[4].data : entries[4].data + SECTOR] == block("b")


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (b"", "no superblock"),
        (b"\0" * 4096, "magic"),
        (log_of((0, block("a"), 0))[:-1], "entry 0 end beyond"),
        (log_of((0, block("a"), 0), count=2), "entry 1 of 2 begins beyond"),
    ],
)
def test_what_is_no_whole_log_is_refused_with_its_place(damaged: bytes, words: str) -> None:
    with pytest.raises(blocklog.LogFormatError, match=words):
        blocklog.read_log(damaged)


def test_notes_are_found_in_order_and_change_no_disk() -> None:
    log = log_of((1, block("a"), 0), note(kind="begin"), (0, b"", FLUSH), note(kind="end", code=0))
    _, entries = blocklog.read_log(log)
    assert [(one.entry, one.said["kind"]) for one in blocklog.notes(log, entries, PLACE)] == [(1, "begin"), (3, "end")]
    epochs = blocklog.Epochs(entries, PLACE)
    assert [one.number for one in epochs.durable(0, 4)] == [0]


def test_a_note_that_does_not_fit_its_sector_is_refused() -> None:
    with pytest.raises(ValueError, match="note of"):
        blocklog.encode_note({"kind": "x" * 600})


def test_a_flush_makes_durable_what_came_before_it_and_nothing_after() -> None:
    _, entries = blocklog.read_log(
        log_of((1, block("a"), 0), (2, block("b"), 0), (0, b"", FLUSH), (3, block("c"), 0), (4, block("d"), FUA))
    )
    epochs = blocklog.Epochs(entries, PLACE)
    assert [one.number for one in epochs.loose(2)] == [0, 1]
    # The power that goes before the flush ends leaves its writes undecided.
    assert epochs.settled(2) == 0
    assert epochs.settled(5) == 2
    assert [one.number for one in epochs.durable(0, epochs.settled(5))] == [0, 1]
    assert [one.number for one in epochs.loose(5)] == [3]
    assert [one.number for one in epochs.forced(5)] == [4]


LOGS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 3).map(lambda n: block("x", n)), st.sampled_from([0, 0, 0, FLUSH]))
)


@settings(deadline=None)
@given(LOGS, st.integers(0, 2**32), st.data())
def test_every_write_before_a_cut_is_either_durable_or_loose(
    parts: list[tuple[int, bytes, int]], seed: int, data: st.DataObject
) -> None:
    _, entries = blocklog.read_log(log_of(*parts))
    epochs = blocklog.Epochs(entries, PLACE)
    upto = data.draw(st.integers(0, len(entries)))
    durable = epochs.durable(0, epochs.settled(upto))
    loose = epochs.loose(upto)
    assert [*durable, *loose] == [one for one in entries[:upto] if one.writes]
    pieces = blocklog.some(loose, Random(seed), SECTOR)
    assert pieces == blocklog.some(loose, Random(seed), SECTOR), "the same seed gives the same part"
    by_number = {one.number: one for one in loose}
    for piece in pieces:
        assert piece.offset % SECTOR == 0 == piece.length % SECTOR
        assert piece.offset + piece.length <= by_number[piece.entry].length
    assert len({(piece.entry, piece.offset) for piece in pieces}) == len(pieces)


def test_random_parts_lose_keep_and_tear() -> None:
    _, entries = blocklog.read_log(log_of((0, block("a", 2), 0), (4, block("b"), 0)))
    dice = Random(1)
    seen = {blocklog.some(entries, dice, SECTOR) for _ in range(3000)}
    everything = [(0, 0, 2), (1, 0, 1)]
    torn = [(0, 0, 1)], [(0, 1, 1)]
    kept = [[(one.entry, one.offset // SECTOR, one.length // SECTOR) for one in pieces] for pieces in seen]
    assert [] in kept
    assert everything in kept
    assert all(one in kept for one in torn)


# --- states of a whole recording


@pytest.fixture
def recorded(tmp_path: Path) -> Any:
    """A disk of 64 sectors with a small protocol: a, flush, acknowledged, b and c, a reboot, d."""
    (tmp_path / "before.img").write_bytes(bytes(PLACE))
    log = log_of(
        note(kind="record"),
        note(kind="begin", words=["advance"]),
        (1, block("a"), 0),
        (0, b"", FLUSH),
        note(kind="commit", seq=1, hash="h1"),
        (2, block("b"), 0),
        (2, block("c"), 0),
        note(kind="end", code=0),
        note(kind="begin", words=["machine", "reboot"]),
        (9, block("r"), 0),
        note(kind="rebooted"),
        (0, b"", FLUSH),
        note(kind="done"),
    )
    (tmp_path / "writes.log").write_bytes(log)
    return blockstates.Recorded(tmp_path / "before.img", tmp_path / "writes.log", PLACE)


def test_what_was_acknowledged_and_what_ran_is_known_at_every_entry(recorded: Any) -> None:
    assert recorded.acknowledged(4) is None
    assert recorded.acknowledged(5).said["seq"] == 1
    assert [recorded.command(upto) for upto in (1, 3, 8, 9, 11)] == [
        "between two commands",
        "advance",
        "between two commands",
        "machine reboot",
        "between two commands",
    ]


def test_a_commit_record_of_ext4_is_torn_when_its_first_sector_is_there_and_another_is_not(tmp_path: Path) -> None:
    (tmp_path / "before.img").write_bytes(bytes(PLACE))
    commit = bytes.fromhex("c03b3998 00000002 00000007").ljust(8 * SECTOR, b"\0")
    log = log_of(note(kind="record"), (1, commit, 0), (20, block("a", 8), 0), note(kind="done"))
    (tmp_path / "writes.log").write_bytes(log)
    read = blockstates.Recorded(tmp_path / "before.img", tmp_path / "writes.log", PLACE)

    def torn(*kept: tuple[int, int, int]) -> bool:
        return bool(read.tears_commit(blockstates.CrashState(3, tuple(blocklog.Piece(*one) for one in kept), "random")))

    assert torn((1, 0, SECTOR)) and torn((1, 0, SECTOR), (1, 3 * SECTOR, SECTOR))
    assert not torn((1, 0, 8 * SECTOR)) and not torn((1, SECTOR, SECTOR)) and not torn((2, 0, SECTOR)) and not torn()


def test_no_state_lies_in_the_model_of_a_reboot(recorded: Any) -> None:
    assert recorded.at_work() == [1, 2, 3, 4, 5, 6, 7, 8, 11, 12]
    chosen = blockstates.choose(recorded, 50, 7)
    assert {one.upto for one in chosen} <= set(recorded.at_work())
    assert {one.why for one in chosen} == {"prefix", "durable", "random"}
    assert len({(one.upto, one.kept) for one in chosen}) == len(chosen)
    assert chosen == blockstates.choose(recorded, 50, 7)


@pytest.mark.skipif(not shutil.which("cp"), reason="cp(1) copies the images")
def test_images_are_what_the_log_says(recorded: Any, tmp_path: Path) -> None:
    builder = blockstates.Builder(recorded, tmp_path)

    def built(upto: int, *kept: int) -> dict[int, str]:
        pieces = tuple(blocklog.Piece(number, 0, SECTOR) for number in kept)
        image = builder.image(blockstates.CrashState(upto, pieces, "test")).read_bytes()
        letters = {number: image[number * SECTOR : (number + 1) * SECTOR] for number in range(PLACE // SECTOR)}
        return {number: chr(data[0]) for number, data in letters.items() if any(data) and data == data[:1] * SECTOR}

    assert built(3) == {}
    assert built(3, 2) == {1: "a"}
    assert built(4) == {1: "a"}
    assert built(8, 5) == {1: "a", 2: "b"}
    assert built(8, 5, 6) == {1: "a", 2: "c"}
    assert built(8) == {1: "a"}
    assert built(12) == {1: "a", 2: "c", 9: "r"}


def test_states_that_are_taken_for_the_same_disk_have_the_same_image(recorded: Any, tmp_path: Path) -> None:
    builder = blockstates.Builder(recorded, tmp_path)
    images: dict[object, bytes] = {}
    chosen = blockstates.choose(recorded, 50, 3)
    for state in chosen:
        image = builder.image(state).read_bytes()
        assert images.setdefault(blockstates.same_disk(recorded, state), image) == image
    assert len(set(images.values())) <= len(images) < len(chosen)


def test_a_recording_without_an_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "before.img").write_bytes(bytes(PLACE))
    (tmp_path / "writes.log").write_bytes(log_of(note(kind="record")))
    with pytest.raises(blocklog.LogFormatError, match="no end"):
        blockstates.Recorded(tmp_path / "before.img", tmp_path / "writes.log", PLACE)


@pytest.mark.skipif(
    not all(shutil.which(name, path=blockstates.SEARCH["PATH"]) for name in ("mke2fs", "debugfs", "e2fsck")),
    reason="e2fsprogs is not installed",
)
def test_files_come_out_of_an_image_with_their_modes_and_links(tmp_path: Path) -> None:
    source = tmp_path / "source" / "m"
    for name in ("etc", "var/lib", "usr/lib", "proc"):
        (source / name).mkdir(parents=True)
    (source / "machine.json").write_text("{}")
    (source / "etc/one").write_bytes(bytes(range(256)))
    (source / "etc/one").chmod(0o640)
    (source / "etc/link").symlink_to("one")
    (source / "lib").symlink_to("usr/lib")
    (source / "proc/gone").write_text("memory")
    image = tmp_path / "image"
    make = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", tmp_path / "source", image, "8M"]
    module("base").run(make)
    assert blockstates.repair(image) == []
    blockstates.extract(image, "m", tmp_path / "out")
    assert not (tmp_path / "out/proc").exists()
    assert blockstates.manifest(tmp_path / "out") == blockstates.manifest(source)
    assert blockstates.digest(tmp_path / "out") == blockstates.digest(source)
    (tmp_path / "out/etc/one").chmod(0o600)
    assert blockstates.digest(tmp_path / "out") != blockstates.digest(source)
