"""Whose journal it is: that of another host promises nothing of this one."""

from __future__ import annotations

from collections.abc import Iterator

from engine.promises.difference import Difference
from engine.session import Session, other_host
from engine.setup import Setup


def another(session: Session, setup: Setup) -> Iterator[Difference]:
    """That it is another host's, where it is. Raises OSError where that cannot be told."""
    if (other := other_host(session.host, setup)) is not None:
        expected, here = other
        found = f"that of another host: here is {here}"
        hint = "give this host a journal of its own (`vfiostate plan` says how); of that one nothing is to be done here"
        yield Difference("other-host", "the journal", f"that of {expected}", found, hint, grave=True)
