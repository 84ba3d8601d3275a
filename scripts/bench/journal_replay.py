#!/usr/bin/env python3
"""How many events a second are read, held against the chain and made into events. Budget: 85,000."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from journal.events import Draft, Json, Kind, Origin
from journal.store import Journal

BUDGET = 85_000
COUNT = 20_000
CONTENT = b"GRUB_DEFAULT=0\n"
ORIGIN = Origin("5e2a2b6c-8c8a-4a53-9d0f-4f0a5f3f6c11", 0, 1000, "0.1.0")


def drafts() -> Iterator[Draft]:
    """Intents and outcomes as a setup makes them; some 435 bytes each."""
    action: dict[str, Json] = {
        "type": "edit_file",
        "path": "/etc/default/grub",
        "content": sha256(CONTENT).hexdigest(),
        "why": "the kernel has to set the devices aside before their drivers come",
    }
    for number in range(COUNT // 2):
        yield Draft(Kind.INTENT, "0123456789ab", {"n": number, "action": action, "back": False}, "stubbed", 1)
        data: dict[str, Json] = {"intent": number, "result": "done", "after": {"/etc/default/grub": "0" * 64}}
        yield Draft(Kind.OUTCOME, "0123456789ab", data, "stubbed", 1)


def main() -> int:
    """Print the best of five readings; 1 when it is under the budget."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "journal.db")
        with Journal.create(path) as journal:
            journal.append(list(drafts()), origin=ORIGIN, blobs=[CONTENT])
        taken = []
        for _ in range(5):
            with Journal.open(path, write=False) as journal:
                start = time.perf_counter()
                count = sum(1 for _ in journal.events())
                taken.append(time.perf_counter() - start)
        size = path.stat().st_size // count
    rate = count / min(taken)
    print(f"replay with chain check: {rate:,.0f} events/s of {size} bytes (budget {BUDGET:,})")
    return 0 if rate >= BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())
