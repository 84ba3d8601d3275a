#!/usr/bin/env python3
"""How many times a commit through the store makes the disk wait. Budget: 5. Counted by strace, not timed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from journal.events import Draft, Kind, Origin
from journal.store import Journal

BUDGET = 5
COMMITS = 20
CALLS = "fsync,fdatasync,sync,syncfs,sync_file_range,msync"
ORIGIN = Origin("5e2a2b6c-8c8a-4a53-9d0f-4f0a5f3f6c11", 0, None, "0.1.0")


def commit(path: Path, count: int) -> None:
    """So many commits, each of an intent with a before-image."""
    with Journal.open(path, write=True) as journal:
        for number in range(count):
            draft = Draft(Kind.OUTCOME, "0123456789ab", {"intent": number, "result": "done"}, "stubbed", 1)
            journal.append([draft, draft], origin=ORIGIN, blobs=[os.urandom(2000)])


def syncs(path: Path, count: int) -> int:
    """The syncs of a process that makes so many commits."""
    with tempfile.NamedTemporaryFile() as log:
        argv = ["strace", "-f", "-qq", "-o", log.name, "-e", f"trace={CALLS}"]
        subprocess.run([*argv, sys.executable, __file__, str(path), str(count)], check=True)
        return len(re.findall(rb"(?m)sync[a-z_]*\(", log.read()))


def main() -> int:
    """Print the syncs of one commit; 1 when they are over the budget, 0 also where there is no strace."""
    if len(sys.argv) == 3:
        commit(Path(sys.argv[1]), int(sys.argv[2]))
        return 0
    if shutil.which("strace") is None:
        print("syncs per commit: not counted, strace is not installed")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "journal.db")
        Journal.create(path).close()
        none, some, more = (syncs(path, count) for count in (0, COMMITS, 2 * COMMITS))
    per_commit = (more - some) / COMMITS
    print(f"syncs per commit: {per_commit:g} (budget {BUDGET})")
    print(f"before the first one of a run: {some - none - per_commit * COMMITS:g}")
    return 0 if per_commit <= BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())
