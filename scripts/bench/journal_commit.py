#!/usr/bin/env python3
"""A commit through the store, as a multiple of the same commit through sqlite3. Budget: 1.3.

Both do what an append needs: take the write lock, read what follows the known head, insert one event of about 435
bytes with its hash, commit with synchronous=EXTRA. They take turns, so that a noisy machine troubles both alike.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
import time
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from statistics import median

from journal.events import Draft, Json, Kind, Origin
from journal.store import Journal

BUDGET = 1.3
ORIGIN = Origin("5e2a2b6c-8c8a-4a53-9d0f-4f0a5f3f6c11", 0, 1000, "0.1.0")
DATA: dict[str, Json] = {
    "n": 1,
    "action": {"type": "edit_file", "path": "/etc/default/grub", "why": "the kernel has to set the devices aside"},
    "back": False,
    "undoes": None,
    "before": {"/etc/default/grub": {"sha256": None, "mode": 0o644, "uid": 0, "gid": 0, "xattrs": {}, "where": "none"}},
}


class Plain:
    """The same commit by hand."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = EXTRA")
        query = "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1"
        self.seq, self.tip = self.connection.execute(query).fetchone()

    def append(self) -> None:
        """One event, durable when it returns."""
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        query = "SELECT seq, prev, hash, body FROM events WHERE seq > ? ORDER BY seq"
        assert not execute(query, (self.seq,)).fetchall()
        seq = self.seq + 1
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        event = {"form": 1, "seq": seq, "at": at, "boot": ORIGIN.boot, "who": "0/1000", "kind": "intent"}
        event |= {"setup": "0123456789ab", "step": "stub", "attempt": 1, "data": DATA}
        body = json.dumps(event, sort_keys=True, separators=(",", ":"))
        digest = sha256(f"{self.tip}\n{body}".encode()).hexdigest()
        execute("INSERT INTO events VALUES (?, ?, ?, ?)", (seq, self.tip, digest, body))
        execute("COMMIT")
        json.loads(body)
        self.seq, self.tip = seq, digest


def seconds(rounds: int) -> tuple[list[float], list[float]]:
    """What each commit took: through the store, through sqlite3."""
    through_store, by_hand = [], []
    draft = Draft(Kind.INTENT, "0123456789ab", DATA, "stub", 1)
    with tempfile.TemporaryDirectory(dir=Path(sys.argv[1]) if len(sys.argv) > 1 else None) as directory:
        paths = [Path(directory, name, "journal.db") for name in ("store", "plain")]
        for path in paths:
            with Journal.create(path) as journal:
                journal.append([draft], origin=ORIGIN)
        with Journal.open(paths[0], write=True) as journal:
            plain = Plain(paths[1])
            for number in range(rounds + 20):
                start = time.perf_counter()
                journal.append([draft], origin=ORIGIN)
                between = time.perf_counter()
                plain.append()
                end = time.perf_counter()
                if number >= 20:
                    through_store.append(between - start)
                    by_hand.append(end - between)
    return through_store, by_hand


def main() -> int:
    """Print the ratio of the medians; 1 when it is over the budget."""
    through_store, by_hand = seconds(400)
    store, plain = median(through_store), median(by_hand)
    ratio = store / plain
    print(f"commit: store {store * 1e6:.0f} us, sqlite3 {plain * 1e6:.0f} us, ratio {ratio:.2f} (budget {BUDGET})")
    return 0 if ratio <= BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())
