"""The way back in a rescue shell, held against the journal. Reads only."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from engine import restore
from engine.promises.difference import Difference
from engine.session import Session
from engine.setup import Setup
from steps.base import FileKind, State


def script(session: Session, setup: Setup) -> Iterator[Difference]:
    """restore.sh, the way back in a rescue shell."""
    path = f"{session.state_dir}/restore.sh"
    needed = [deed for deed in setup.standing() if deed.before]
    if not needed:
        yield from _outlived(session, setup, path)
        return
    promised = f"a script that puts back {len({path for deed in needed for path in deed.before})} files without us"
    hint = "`vfiostate advance` writes it anew from the journal"
    stat = session.host.lstat(path)
    if stat is None or stat.kind is not FileKind.FILE:
        found = "it is gone" if stat is None else f"it is a {stat.kind.value} now"
        yield Difference("restore-script", path, promised, found, hint, needed[-1].seq)
    elif lacking := restore.lacking(session):
        found = f"it does not put back {', '.join(lacking)} as the journal has it"
        yield Difference("restore-script", path, promised, found, hint, needed[-1].seq)
    elif needless := _needless(session, setup):
        found = f"it also puts back {', '.join(needless)}, which is as before"
        yield Difference("restore-script", path, promised, found, hint, needed[-1].seq)
    elif stat.mode & 0o077:
        hint = f"`chmod 600 {shlex.quote(str(session.host.local(path)))}`"
        yield Difference("restore-script", path, "mode 0600", f"mode {stat.mode:04o}", hint, needed[-1].seq)


def _needless(session: Session, setup: Setup) -> list[str]:
    """What the script puts back and need not. Of a run that was cut short, and until the boot that ends a rollback, it
    still speaks of all."""
    waits = setup.cut_short is not None or (setup.rolled_back and setup.state is State.NEW)
    return [] if waits else restore.needless(session)


def _outlived(session: Session, setup: Setup, path: str) -> Iterator[Difference]:
    """A script that puts back files in which nothing of ours is left: what others make of them would go."""
    if session.host.lstat(path) is not None and (needless := _needless(session, setup)):
        found = f"it is there, and puts back {', '.join(needless)}"
        hint = f"do not run it; remove {path}, or let `vfiostate advance` do it"
        yield Difference("restore-script", path, "no such script: nothing is changed on the host", found, hint, 0)
