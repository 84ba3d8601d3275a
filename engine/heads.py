"""Heads of the journal that the system log remembers: with them a cut tail shows, which the chain cannot tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from journal.chain import Head
from journal.events import Kind

if TYPE_CHECKING:
    from engine.hosts.base import ChangeableHost
    from engine.scribe import Scribe
    from journal.audit import Announced

# Where a system without systemd's journal keeps what is logged as authpriv or at large; what was rotated away first.
LOGS = ("/var/log/auth.log", "/var/log/secure", "/var/log/syslog", "/var/log/messages")
JOURNALCTL = ("journalctl", "-t", "vfiostate", "-o", "cat", "--no-pager", "-q")
LINE = re.compile(r"setup ([0-9a-f]{12}): \w+; journal head (\d{1,15}) ([0-9a-f]{64})\b")


def line(setup: str, state: str, seq: int, digest: str) -> str:
    """What is logged of a transition, and at the end of a run that wrote to the journal."""
    return f"setup {setup}: {state}; journal head {seq} {digest}"


def fields(setup: str, state: str, step: str | None) -> dict[str, str]:
    """What such a line can be asked for by in systemd's journal; `step` is None where none is being taken."""
    return {"SETUP": setup, "STATE": state, **({"STEP": step} if step else {})}


def remembered(host: ChangeableHost, setups: Iterable[str]) -> Announced:
    """The heads that the system's log has of these setups, and what it has of others that came after them.

    A setup that the journal does not know and the log tells of later than of all that it knows was written to another
    copy of the journal. One that came before belonged to a journal that was moved away, as our own hints advise. A
    journal that tells of no setup at all is one whose every event is gone, where the log tells of any.
    """
    from journal.audit import Announced  # every command has this module, and only `journal verify` and its kin ask

    ours = frozenset(setups)
    heads: set[Head] = set()
    strange: set[str] = set()
    why: list[str] = []
    for name, text in _logs(host):
        if isinstance(text, _Unread):
            why.append(f"{name}: {text.why}")
            continue
        found = [(setup, Head(int(seq), digest)) for setup, seq, digest in LINE.findall(text)]
        known = [place for place, (setup, _) in enumerate(found) if setup in ours]
        heads.update(found[place][1] for place in known)
        later = found[known[-1] + 1 :] if known else [] if ours else found
        strange.update(f"{name} tells of setup {setup}, event {head.seq}, which is not there" for setup, head in later)
        if not known and not later:
            why.append(f"{name}: none of this journal")
    return Announced(tuple(sorted(heads)), tuple(sorted(strange)), "; ".join(why))


def announce(host: ChangeableHost, scribe: Scribe) -> None:
    """At the end of a run: tell the system's log the last event that the run wrote, unless its transition told it."""
    last = scribe.last
    if last is None or scribe.setup is None or last.kind in (Kind.TRANSITION, Kind.HOST_REBOOTED):
        return
    setup, state = scribe.setup.id, scribe.setup.state.value
    host.system_log(line(setup, state, last.seq, last.hash), **fields(setup, state, last.step))


class _Unread(NamedTuple):
    why: str


def _logs(host: ChangeableHost) -> Iterator[tuple[str, str | _Unread]]:
    """Each log there is: its name, and its text or why it could not be read."""
    yield "journalctl", _asked(host)
    for path in LOGS:
        parts = []
        for name in (f"{path}.1", path):
            try:
                parts.append(host.read(name).decode(errors="replace"))
            except FileNotFoundError:
                continue
            except OSError as error:
                yield name, _Unread(error.strerror or str(error))
        if parts:
            yield path, "\n".join(parts)


def _asked(host: ChangeableHost) -> str | _Unread:
    """What systemd's journal has of us: it looks through every file that it keeps, on a slow disk for minutes."""
    try:
        asked = host.query(JOURNALCTL)
    except TimeoutError:
        return _Unread("it gave no answer in time")
    return asked.text if asked.ok else _Unread(f"exit status {asked.status}")
