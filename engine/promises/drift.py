"""The files that carry something of ours, held against the journal: content, kind, mode and owner. Reads only, and only
what is cheap: `status` asks this every time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from engine.codec import without_ours
from engine.promises.difference import Difference
from engine.setup import Deed, Setup
from steps.base import FileKind, Host, Stat, State

Blob = Callable[[str], bytes]

_KINDS = {FileKind.DIRECTORY: "a directory", FileKind.OTHER: "a special file"}
_THEIRS = "nothing is to be done: a rollback takes out only what is ours and keeps the rest"


def last_deeds(setup: Setup) -> dict[str, tuple[Deed, Deed]]:
    """Path -> the first and the last standing deed about it, of those whose result is known before they are done."""
    found: dict[str, tuple[Deed, Deed]] = {}
    for deed in setup.deeds.values():
        if deed.result == "done" and deed.standing and deed.planned:
            for path in deed.planned:
                found[path] = (found[path][0] if path in found else deed, deed)
    return found


def files(host: Host, setup: Setup, blob: Blob) -> list[Difference]:
    """Every file of ours that is not as we left it. `blob` gives a content that the journal keeps, by its sha256.

    Files of an action that was cut short are left out: whoever settles it asks for them.
    """
    unsettled = {path for deed in setup.pending for path in deed.before}
    unsettled |= {path for undoing in setup.undoing.values() for path in undoing.planned}
    found: list[Difference] = []
    for path, (first, last) in sorted(last_deeds(setup).items()):
        if path not in unsettled:
            found.extend(_file(host, setup, blob, path, first, last))
    return found


def _file(host: Host, setup: Setup, blob: Blob, path: str, first: Deed, last: Deed) -> list[Difference]:
    ours = last.planned[path]
    stat = host.lstat(path)
    if ours is None:
        return [] if stat is None else [_came_back(path, last)]
    if stat is None:
        return [_gone(path, last)]
    if stat.kind is not FileKind.FILE:
        return [_special(host, setup, path, last, stat)]
    found = [*_attributes(path, first, last, stat)]
    try:
        now = host.read(path)
    except OSError as error:
        return [*found, _unreadable(path, last, error)]
    if hashlib.sha256(now).hexdigest() != ours:
        found.insert(0, _content(setup, blob, path, last, now))
    return found


def again(target: State) -> str:
    """How what belongs to a state is made anew."""
    before = list(State)[max(0, target.rank - 1)]
    return f"`vfiostate rollback --to {before.value}` and `vfiostate advance` again"


def _promise(deed: Deed) -> str:
    what = "the file made for it" if deed.action.get("before") is None else "the file with our lines in it"
    return f"{what}, sha256 {(next(iter(deed.planned.values())) or '')[:12]}"


def _came_back(path: str, deed: Deed) -> Difference:
    hint = f"see what made it; remove it, or leave it if it is yours: a rollback puts {path} back only where none is"
    return Difference("file-came-back", path, "no file (we removed it)", "it is there again", hint, deed.seq)


def _gone(path: str, deed: Deed) -> Difference:
    hint = f"put it back from a copy, or {again(deed.target)}"
    return Difference("file-gone", path, _promise(deed), "it is gone", hint, deed.seq, grave=True)


def _unreadable(path: str, deed: Deed, error: OSError) -> Difference:
    found = (error.strerror or str(error)).lower()
    return Difference("file-unreadable", path, _promise(deed), found, f"make {path} readable", deed.seq, grave=True)


def _special(host: Host, setup: Setup, path: str, deed: Deed, stat: Stat) -> Difference:
    """Something else in the place of our file. What is behind a symlink counts as long as ours is in it."""
    if stat.kind is not FileKind.SYMLINK:
        found = f"it is {_KINDS[stat.kind]} now"
        hint = f"put the file back, or {again(deed.target)}"
        return Difference("file-kind", path, _promise(deed), found, hint, deed.seq, grave=True)
    try:
        behind, where = host.read(path), host.readlink(path)
    except OSError as error:
        behind, where = b"", f"nothing that can be read ({(error.strerror or str(error)).lower()})"
    there = setup.id.encode() in behind
    found = f"it is a symbolic link to {where} now, {'with' if there else 'without'} what is ours behind it"
    hint = f"put the file itself back to {path}: as it is, a rollback {'stops there' if there else 'leaves it alone'}"
    return Difference("file-symlink", path, _promise(deed), found, hint, deed.seq, grave=not there)


def _attributes(path: str, first: Deed, last: Deed, stat: Stat) -> list[Difference]:
    """Mode and owner. An edit leaves those of the file as they are; what we make is root's (ours, without root)."""
    record: Mapping[str, Any] = first.before[path]
    if record["sha256"] is None or "mode" not in record:
        wanted = (first.action.get("mode", stat.mode), 0, 0)
        if os.geteuid() != 0:
            wanted = (wanted[0], stat.uid, stat.gid)
    else:
        wanted = (record["mode"], record["uid"], record["gid"])
    now = (stat.mode, stat.uid, stat.gid)
    if now == wanted:
        return []
    promised, found = (f"mode {mode:04o}, owner {uid}:{gid}" for mode, uid, gid in (wanted, now))
    hint = f"`chmod {wanted[0]:o}` and `chown {wanted[1]}:{wanted[2]}`, or leave it: a rollback keeps what you gave"
    return [Difference("file-attributes", path, promised, f"it has {found}", hint, last.seq)]


def _content(setup: Setup, blob: Blob, path: str, deed: Deed, now: bytes) -> Difference:
    diff = _diff(blob, path, deed, now)
    if without_ours(deed.action, now) is not None:
        found = "changed since we wrote it; what is ours is still in it"
        return Difference("file-edited", path, _promise(deed), found, _THEIRS, deed.seq, diff)
    if setup.id.encode() not in now:
        found = "changed since we wrote it; nothing of ours is in it any more"
        hint = (
            f"see what wrote {path} (a package, a tool, a restored backup); put our lines back, or {again(deed.target)}"
        )
        return Difference("file-replaced", path, _promise(deed), found, hint, deed.seq, diff, grave=True)
    found = "changed since we wrote it; what is ours was changed too and cannot be told apart"
    hint = f"take what is ours out of {path} by hand, or put it back as it was; then go on"
    return Difference("file-muddled", path, _promise(deed), found, hint, deed.seq, diff, grave=True)


def _diff(blob: Blob, path: str, deed: Deed, now: bytes) -> tuple[str, ...]:
    from engine.effects import difference  # only where there is one

    ours = deed.planned[path]
    return tuple(difference(path, blob(ours) if ours else b"", now))
