"""restore.sh beside the journal: written before the first effect of a step, renewed when something was taken back, and
held against the journal."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from engine.codec import decode
from engine.hosts.base import Attributes
from engine.restore_script import one_file, script
from journal.before import Where
from steps.actions import Action, Regenerate, RunCommand
from steps.base import State

if TYPE_CHECKING:
    from engine.session import Session
    from engine.setup import Setup

# How a file begins in the script; a here-document holds no such pair of lines but in a copy of the script.
_BEGINS = re.compile(r"^begin (.+)\n(?:gone |rm -f |cp |cat >|\{\n:\n)", re.MULTILINE)


def write(
    session: Session,
    planned: Collection[tuple[str, Mapping[str, Any], bytes | None]],
    actions: Iterable[Action] = (),
) -> None:
    """Write restore.sh for all that stands and all that this step is about to change; durable when it returns."""
    before: dict[str, Mapping[str, Any]] = {}
    contents: dict[str, bytes] = {}
    for deed in reversed(session.setup.standing()):
        for path, record in deed.before.items():
            if path not in before:
                before[path] = record
                if record.get("where") == "blob":
                    contents[record["sha256"]] = session.journal.blob(record["sha256"])
    for path, record, content in planned:
        if path not in before:
            before[path] = record
            if content is not None:
                contents[record["sha256"]] = content
    commands = (deed for deed in reversed(session.setup.standing()) if deed.action["type"] == "run_command")
    stood = (decode(deed.action, session.journal.blob) for deed in commands)
    makers = [
        one.undo for one in (*stood, *actions) if isinstance(one, RunCommand) and isinstance(one.undo, Regenerate)
    ]
    if before:
        changing = {path for path, _, _ in planned}
        known = {path: shas for path, shas in _made(session, before).items() if path not in changing}
        words = _words(session.setup)
        body = script(session.setup.id, session.state_dir, before, contents, makers, known, words)
        # Replaced whole: a crash here leaves the script of the step before, and nothing of this step is done yet.
        session.host.write_file(f"{session.state_dir}/restore.sh", body, Attributes(0o600, 0, 0))


def _words(setup: Setup) -> str:
    """Our words on the command line, where it was we who wrote them: the entries of kernels that come later have them
    too (kernel-install's of /etc/kernel/cmdline), and no before-image."""
    wrote = any(deed.target in (State.STUBBED, State.REBOOTED) for deed in setup.standing())
    return setup.remembered.get(State.STUBBED.value, {}).get("tokens", "") if wrote else ""


def _made(session: Session, before: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """What commands of ours have made of each large file, such as an initramfs: path -> the sha256 of what was before
    and of what is known to have come of them. Others make it anew when its kernel is upgraded, and one name may serve
    all kernels (mkinitcpio): what was before would load modules that are gone by then."""
    found: dict[str, list[str]] = {}
    unknown: set[str] = set()
    for deed in session.setup.standing():
        for path in deed.before:
            if before[path].get("where") == Where.IMAGE.value and not deed.planned:
                sha = deed.after.get(path)
                found.setdefault(path, [before[path]["sha256"]]).extend([sha] if sha else [])
                unknown |= set() if sha else {path}
    return {path: shas for path, shas in found.items() if path not in unknown}


def renew(session: Session) -> None:
    """Make restore.sh what it has to be when something was taken back: it would take away what others make from now on
    of a file that is as before. A crash ahead of this leaves that to the next `advance`, and so does a full disk, which
    must not keep anybody from going back; `audit` names it."""
    path = f"{session.state_dir}/restore.sh"
    with contextlib.suppress(OSError):
        if any(deed.before for deed in session.setup.standing()):
            write(session, ())
        elif session.host.lstat(path) is not None:
            session.host.remove_file(path)


def needless(session: Session) -> list[str]:
    """The files that restore.sh, as it lies there, puts back though nothing of ours is in them any more.

    Raises OSError where it cannot be read.
    """
    content = session.host.read(f"{session.state_dir}/restore.sh").decode(errors="surrogateescape")
    needed = {shlex.quote(path) for deed in session.setup.standing() for path in deed.before}
    return [path for path in _BEGINS.findall(content) if path not in needed]


def lacking(session: Session) -> list[str]:
    """The files that restore.sh, as it lies there, does not put back to what the journal says they were.

    Raises OSError where it cannot be read.
    """
    content = session.host.read(f"{session.state_dir}/restore.sh")
    before: dict[str, Mapping[str, Any]] = {}
    for deed in reversed(session.setup.standing()):
        for path, record in deed.before.items():
            before.setdefault(path, record)
    found = []
    for path, record in before.items():
        sha = record["sha256"]
        blobs = {sha: session.journal.blob(sha)} if record.get("where") == "blob" else {}
        if one_file(path, record, blobs) not in content:
            found.append(path)
    return found if content.startswith(b"#!/bin/sh\n") else list(before)
