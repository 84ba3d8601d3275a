"""Where the journal of a host is, and what else its commands need of it."""

from __future__ import annotations

import argparse
import contextlib

from engine.cli.common import TYPE_CHECKING, session_options
from journal.errors import JournalEmptyError, JournalError, JournalLostError, JournalMissingError, NotRootError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.hosts.base import ChangeableHost
    from journal.events import Event
    from journal.images import Images
    from journal.store import Journal


def place(args: argparse.Namespace) -> tuple[ChangeableHost, str]:
    """The host, and where its journal is: a path or a URL. Raises NotRootError."""
    import os

    from engine.session import STATE_DIR, journal_url
    from engine.target import open_host

    options = session_options(args)
    host = open_host(options)
    if options.simulate is None and os.geteuid() != 0:
        raise NotRootError("The journal belongs to root.", hint="Run it with sudo.")
    return host, journal_url(host, options) or str(host.local(f"{STATE_DIR}/journal.db"))


@contextlib.contextmanager
def lost_or_missing(host: ChangeableHost) -> Iterator[None]:
    """Where there is no journal or an empty one, and what a setup left is there: raises JournalLostError for it."""
    from engine.session import refuse_lost

    try:
        yield
    except (JournalMissingError, JournalEmptyError):
        refuse_lost(host, frozenset())
        raise


def images_of(host: ChangeableHost) -> Images | None:
    """The before-images that are files beside the journal; None where there are none."""
    from engine.session import STATE_DIR
    from journal.images import Images

    directory = host.local(f"{STATE_DIR}/images")
    return Images(directory) if directory.is_dir() else None


def readable(host: ChangeableHost, journal: Journal) -> tuple[list[Event], JournalError | None]:
    """The events up to the first that is damaged, and what is wrong with that, or with a journal that does not know the
    host's setup."""
    from engine.session import refuse_lost

    events: list[Event] = []
    try:
        events.extend(journal.events())
    except JournalError as error:
        return events, error
    try:
        refuse_lost(host, {event.setup for event in events})
    except JournalLostError as error:
        return events, error
    return events, None


def setups_in(journal: Journal) -> set[str]:
    """The setups that the journal tells of, as far as it can be read."""
    found: set[str] = set()
    with contextlib.suppress(JournalError):
        found.update(event.setup for event in journal.events())
    return found
