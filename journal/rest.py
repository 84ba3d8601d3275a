"""What is left of a damaged journal, in words: where the damage is, what is still good, which images are lost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from journal.before import Where
from journal.chain import Record
from journal.errors import JournalDamagedError
from journal.events import Json, Kind
from journal.images import Images
from journal.salvage import Salvage


@dataclass(frozen=True, slots=True)
class Rest:
    """What was found: events as (first, last), where damaged ones lie, and before-images by sha256, good and lost.

    A lost one is told with the event that names it.
    """

    events: tuple[tuple[int, int], ...]
    unlinked: tuple[int, ...]
    places: tuple[str, ...]
    good: Mapping[Where, tuple[str, ...]]
    lost: Mapping[Where, Mapping[str, int]]

    def lines(self) -> Iterator[str]:
        """For `journal verify`."""
        for place in self.places:
            yield f"damaged: {place}"
        for seq in self.unlinked:
            yield f"damaged: event {seq} does not follow event {seq - 1} as it is here: one of the two was changed"
        yield f"still good: {numbers(self.events)}"
        for where, name in _NAMES.items():
            count = len(self.good[where])
            if count or self.lost[where]:
                yield f"still good: {count} of {count + len(self.lost[where])} before-images {name}"
            for digest, seq in self.lost[where].items():
                yield f"lost: {digest}, the before-image that event {seq} names"

    def as_json(self) -> dict[str, Json]:
        """For `journal verify --json`."""
        return {
            "damaged": [*self.places, *(f"event {seq} does not follow event {seq - 1}" for seq in self.unlinked)],
            "events": [list(pair) for pair in self.events],
            "before_images": {where.value: list(found) for where, found in self.good.items()},
            "lost": {where.value: dict(found) for where, found in self.lost.items()},
        }


_NAMES = {Where.BLOB: "in the journal", Where.IMAGE: "in images/"}


def rest(shown: str, saved: Salvage, images: Images | None) -> Rest:
    """What is left, by what was salvaged; images are read and hashed."""
    wanted = {where: saved.named(where) for where in Where}
    there = {Where.BLOB: set(saved.blobs), Where.IMAGE: {one for one in wanted[Where.IMAGE] if _holds(images, one)}}
    return Rest(
        saved.ranges,
        saved.unlinked(),
        tuple(
            f"{'a record' if one.seq is None else f'event {one.seq}'}, page {one.page} of {shown} (at byte {one.byte})"
            for one in saved.broken
        ),
        {where: tuple(sorted(there[where])) for where in Where},
        {where: {one: seq for one, seq in wanted[where].items() if one not in there[where]} for where in Where},
    )


def _holds(images: Images | None, digest: str) -> bool:
    try:
        return images is not None and bool(images.check(digest))
    except (JournalDamagedError, ValueError):
        return False


def numbers(ranges: Iterable[tuple[int, int]]) -> str:
    """Which events, in words."""
    words = [str(first) if first == last else f"{first} to {last}" for first, last in ranges]
    return f"event{'s' if len(words) != 1 or ' ' in words[0] else ''} {', '.join(words)}" if words else "no event"


def marked(records: Iterable[Record], after: Record | None, until: int) -> Iterator[Record | dict[str, Json]]:
    """The records that were salvaged after one, with a mark where events are missing or do not follow one another.

    `until` is the last number that somebody remembers.
    """
    seq, tip = (after.seq, after.hash) if after is not None else (0, None)
    for record in records:
        if record.seq > seq + 1:
            yield _gap(seq + 1, record.seq - 1)
        elif tip is not None and record.prev != tip:
            words = f"event {record.seq} does not follow event {seq} as it is here: one of the two was changed"
            yield {"damage": words, "from": seq, "to": record.seq}
        yield record
        seq, tip = record.seq, record.hash
    if until > seq:
        yield _gap(seq + 1, until)


def _gap(first: int, last: int) -> dict[str, Json]:
    return {"damage": f"{numbers([(first, last)])}: not to be found", "from": first, "to": last}


def index(saved: Salvage) -> Iterator[str]:
    """Which before-image is which file: a line for each, as columns between tabs, a heading first."""
    yield "event\tpath\tmode\tuid:gid\tsha256"
    for event in saved.events():
        before = event.data.get("before") if event.kind is Kind.INTENT else None
        for path, image in before.items() if isinstance(before, dict) else ():
            if isinstance(image, dict):
                mode = image.get("mode")
                shown = f"{mode:04o}" if isinstance(mode, int) else "-"
                owner = f"{image.get('uid')}:{image.get('gid')}" if isinstance(mode, int) else "-"
                yield f"{event.seq}\t{json.dumps(path)}\t{shown}\t{owner}\t{image.get('sha256') or 'did not exist'}"
