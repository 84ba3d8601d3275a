"""`vfiostate journal`: what was done, when and by whom."""

from __future__ import annotations

import argparse
import contextlib

from engine.cli.common import TYPE_CHECKING, add_command, add_json, session_options
from journal.errors import Exit, JournalError, NotRootError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.hosts.base import ChangeableHost
    from journal.audit import Audit
    from journal.store import Journal

# Keys of an event whose values are hashes and numbers of our own, and name nobody.
NOT_SECRET = frozenset({"hash", "prev", "boot", "setup", "sha256", "config_sha256", "host"})


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its own commands."""
    parser = add_command(
        subparsers,
        "journal",
        "show, check or export the journal",
        run_show,
        text="Nothing is ever written to it by these. Damage is answered with exit code 6.",
        example="sudo vfiostate journal show\nsudo vfiostate --root /mnt journal show",
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", dest="journal_command", required=True)
    show = add_command(
        verbs,
        "show",
        "show what was done: when, in which boot, by whom, with which result",
        run_show,
        example="sudo vfiostate journal show --last 20",
    )
    show.add_argument("--last", metavar="N", type=_count, help="only the last N lines")
    add_json(show)
    verify = add_command(
        verbs,
        "verify",
        "check the chain, the before-images and that the states follow the machine",
        run_verify,
        example="sudo vfiostate journal verify --json",
    )
    add_json(verify)
    export = add_command(
        verbs,
        "export",
        "write every event as a line of JSON",
        run_export,
        text="Serial numbers, MAC and other addresses, UUIDs, host and user names are replaced; the hashes stay those\n"
        "of the journal. With --complete everything stays, and the chain can be checked from the export alone.",
        example="sudo vfiostate journal export > journal.jsonl",
    )
    export.add_argument("--complete", action="store_true", help="leave everything in")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, found {text!r}")
    return int(text)


@contextlib.contextmanager
def _opened(args: argparse.Namespace) -> Iterator[tuple[ChangeableHost, Journal]]:
    """The journal for reading, damaged as it may be: nothing of it is folded into a setup."""
    import os

    from engine.session import STATE_DIR, journal_url
    from engine.target import open_host
    from journal.store import Journal

    options = session_options(args)
    host = open_host(options)
    if options.simulate is None and os.geteuid() != 0:
        raise NotRootError("the journal belongs to root", hint="run it with sudo")
    url = journal_url(host, options) or str(host.local(f"{STATE_DIR}/journal.db"))
    with Journal.open(url, write=False) as journal:
        yield host, journal


def run_show(args: argparse.Namespace) -> int:
    """Show it; where it is damaged, what comes before the damage."""
    from engine.console import out, out_json
    from journal.events import Event
    from journal.timeline import lines, timeline

    events: list[Event] = []
    damage: JournalError | None = None
    with _opened(args) as (_, journal):
        try:
            events.extend(journal.events())
        except JournalError as error:
            damage = error
    rows = timeline(events)[-args.last if args.last else 0 :]
    if args.json:
        out_json("vfiostate.journal/1", {"events": [row.as_json() for row in rows], "whole": damage is None})
    else:
        for line in lines(rows):
            out(line)
    if damage is not None:
        raise damage
    return Exit.DONE


def run_verify(args: argparse.Namespace) -> int:
    """Check it."""
    from engine.console import out_json
    from engine.heads import remembered
    from engine.session import STATE_DIR
    from engine.states import LEGAL
    from journal.audit import audit
    from journal.images import Images

    with _opened(args) as (host, journal):
        place = host.local(f"{STATE_DIR}/images")
        images = Images(place) if place.is_dir() else None
        known = remembered(host, _setups(journal))
        found = audit(journal, set(LEGAL), images=images, known=known)
    if args.json:
        out_json("vfiostate.journal-verify/1", found.as_json())
    else:
        _show_audit(found)
    return Exit.DONE if found.ok else Exit.DAMAGED


def _setups(journal: Journal) -> set[str]:
    """The setups that the journal tells of, as far as it can be read."""
    found: set[str] = set()
    with contextlib.suppress(JournalError):
        found.update(event.setup for event in journal.events())
    return found


def _show_audit(found: Audit) -> None:
    from engine.console import GREEN, RED, clean, out, paint

    for check in found.checks:
        mark = paint("ok", GREEN) if check.ok else paint("DAMAGED", RED)
        out(f"{mark}  {check.subject.value}: {clean(check.message)}")
        for line in check.evidence:
            out(f"      {clean(line)}")
    if found.ok:
        out(f"the journal is whole: {found.good} events")
    else:
        out(f"the journal is damaged; the events up to number {found.good} are good")


def run_export(args: argparse.Namespace) -> int:
    """Write it as JSON Lines."""
    import json

    from engine.console import out
    from engine.redact import for_host
    from journal.timeline import exported

    with _opened(args) as (host, journal):
        redactor = None if args.complete else for_host(host)
        for record in exported(journal.records()):
            out(json.dumps(record if redactor is None else redactor.json(record, leave=NOT_SECRET), ensure_ascii=True))
    return Exit.DONE
