"""Heads of the journal that the system log remembers: with them a cut tail shows, which the chain cannot tell."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable

from engine.hosts.base import ChangeableHost
from journal.chain import Head

# Where a system without systemd's journal keeps what is logged as authpriv or at large.
LOGS = ("/var/log/auth.log", "/var/log/secure", "/var/log/syslog", "/var/log/messages")
LINE = re.compile(r"setup ([0-9a-f]{12}): \w+; journal head (\d+) ([0-9a-f]{64})\b")


def line(setup: str, state: str, seq: int, digest: str) -> str:
    """What is logged of a transition."""
    return f"setup {setup}: {state}; journal head {seq} {digest}"


def remembered(host: ChangeableHost, setups: Iterable[str]) -> tuple[Head, ...]:
    """The heads that the system's log has of these setups; none where it has none, or may not be read."""
    ours = frozenset(setups)
    texts = [host.query(["journalctl", "-t", "vfiostate", "-o", "cat", "--no-pager", "-q"]).text] if host.booted else []
    for path in LOGS:
        with contextlib.suppress(OSError):
            texts.append(host.read(path).decode(errors="replace"))
    found = {Head(int(seq), digest) for text in texts for setup, seq, digest in LINE.findall(text) if setup in ours}
    return tuple(sorted(found))
