"""Reading along: what is appended to a journal, as it comes. Holds no lock while it waits, and writes nothing."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator

from journal.errors import JournalMissingError
from journal.events import Event
from journal.store import Journal

# Seconds between two looks: at a file's size and times, which costs a writer nothing; at a database server's table.
GLANCE, ASK = 0.25, 2.0
FRESH = 1_000_000_000


def follow(journal: Journal, after: int) -> Iterator[Event | None]:
    """The events after number `after` as they are appended, for ever; None each time all that there was has come.

    Raises JournalError, among it JournalMissingError where the file was moved away or replaced.
    """
    seen = _mark(journal)
    while True:
        for event in journal.events(after):
            after = event.seq
            yield event
        yield None
        seen = _changed(journal, seen)


def wait(seconds: float) -> None:
    """Sleep; shorter where whoever reads our output goes away, as poll(2) tells of a pipe (POLLERR)."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        gone = bool(poll.poll(seconds * 1000))
    except (OSError, ValueError):
        time.sleep(seconds)
        return
    if gone:
        raise BrokenPipeError


Mark = tuple[int, int, int, int] | None


def _mark(journal: Journal) -> Mark:
    """What shows that a file was written to, and that it still is the same one; None where it is in a server."""
    if journal.path is None:
        return None
    try:
        stat = os.stat(journal.path)
    except FileNotFoundError:
        raise _gone(journal) from None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _changed(journal: Journal, seen: Mark) -> Mark:
    """Wait until there may be something new."""
    if seen is None:
        wait(ASK)
        return None
    wait(GLANCE)
    # Two commits within a tick of the clock leave the same time: what was just written is looked at once more.
    while (now := _mark(journal)) == seen and abs(time.time_ns() - seen[3]) > FRESH:
        wait(GLANCE)
    if now is None or now[:2] != seen[:2]:
        raise _gone(journal)
    return now


def _gone(journal: Journal) -> JournalMissingError:
    return JournalMissingError(
        "The journal was moved away or replaced while it was followed.",
        evidence=(journal.shown,),
        hint="`vfiostate journal show --follow` again follows the one that is there now, if there is one.",
    )
