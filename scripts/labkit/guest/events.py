#!/usr/bin/python3
"""Reads vfiostate's journal with sqlite3 alone, without vfiostate: what came after an event, and the event itself.

usage: events.py SEQ
Writes JSON: the events from SEQ on as [seq, hash, kind, back, to], oldest first; an empty list where there is no
journal yet.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys

JOURNAL = "/var/lib/vfiostate/journal.db"


def main() -> None:
    """Reads, and writes to standard output."""
    if not os.path.exists(JOURNAL):
        print("[]")
        return
    # Not read-only: a journal file that a power cut left hot is rolled back by whoever reads first.
    connection = sqlite3.connect(JOURNAL, timeout=30)
    found = []
    for seq, digest, body in connection.execute(
        "SELECT seq, hash, body FROM events WHERE seq >= ? ORDER BY seq", (int(sys.argv[1]),)
    ):
        event = json.loads(body)
        data = event["data"]
        found.append([seq, digest, event["kind"], bool(data.get("back")), str(data.get("to", ""))])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
