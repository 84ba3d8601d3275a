"""A full disk is found out before the first effect of a step, never after it."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.effects import files_of
from journal.errors import RefusedError
from steps.actions import Action, EditFile

if TYPE_CHECKING:
    from engine.session import Session

# What the journal and small files need besides: more than any step has ever written.
MARGIN = 4 << 20


def refuse_full(session: Session, actions: Sequence[Action]) -> None:
    """Raise RefusedError when a file system lacks the room for what a step writes, twice over while files are replaced.

    What a command makes is taken to be as large as it is now, half as much again. Directories of one file system share
    its room: what is needed in them counts together.
    """
    together: dict[str, dict[str, int]] = defaultdict(dict)
    for directory, size in _needed(session, actions).items():
        together[session.host.filesystem(directory)][directory] = size
    for needed in together.values():
        total = sum(needed.values())
        # A quota may leave one directory less than the file system has.
        free = min(session.host.free(directory) for directory in needed)
        if free < total:
            raise RefusedError(
                f"The file system of {', '.join(sorted(needed))} is too full for this step; nothing was changed.",
                evidence=(f"needed: {total:,} bytes", f"free: {free:,} bytes"),
                hint="Make room, then run `vfiostate advance` again.",
            )


def _needed(session: Session, actions: Sequence[Action]) -> dict[str, int]:
    """Directory -> the bytes that come to be in it."""
    needed: dict[str, int] = defaultdict(int)
    needed[session.state_dir] = MARGIN
    for action in actions:
        for path in files_of(action):
            size = _size(session, path)
            grown = len(action.content) if isinstance(action, EditFile) else size * 3 // 2
            needed[path.rpartition("/")[0] or "/"] += grown
            needed[session.state_dir] += size
    return needed


def _size(session: Session, path: str) -> int:
    with contextlib.suppress(OSError):
        return session.host.local(path).lstat().st_size
    return 0
