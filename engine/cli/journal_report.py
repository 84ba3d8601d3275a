"""`vfiostate journal report`: one page for those who help."""

from __future__ import annotations

import argparse

from engine.cli.common import TYPE_CHECKING, add_command
from engine.cli.journal_explain import add_setup, chosen
from engine.cli.journal_place import images_of, lost_or_missing, place, readable, setups_in
from journal.errors import Exit, JournalDamagedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.hosts.base import ChangeableHost
    from engine.report.material import Material
    from journal.audit import Audit
    from journal.errors import JournalError
    from journal.events import Event
    from journal.store import Journal


def configure(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    report = add_command(
        verbs,
        "report",
        "write one page of HTML about a setup, good to give to those who help",
        run,
        text="It needs no network and no script. Serial numbers, MAC and other addresses, UUIDs, host and user names\n"
        "are replaced. Look at it before you give it away: the diffs carry what stands beside our lines in your files.",
        example="sudo vfiostate journal report -o report.html",
    )
    add_setup(report)
    report.add_argument("-o", "--output", metavar="FILE", required=True, help="where to write it (-: standard output)")
    report.add_argument("--force", action="store_true", help="replace a file that is no report")


def run(args: argparse.Namespace) -> int:
    """Write it; of a damaged journal what comes before the damage."""
    from engine.capture.redact import for_host
    from engine.report.page import MARK, page
    from engine.report.place import give
    from journal.store import Journal

    host, url = place(args)
    with lost_or_missing(host), Journal.open(url, write=False) as journal:
        events, damage = readable(host, journal)
        material = _material(host, journal, events, chosen(events, args.setup, damage), damage)
        text = page(material, for_host(host).text)
    give(args.output, text, kind="report", mark=MARK, force=args.force)
    if damage is not None:
        raise damage
    return Exit.DONE


def _material(
    host: ChangeableHost, journal: Journal, events: Sequence[Event], setup: str, damage: JournalError | None
) -> Material:
    from engine import pciids
    from engine.explain.explanation import explain
    from engine.report.material import Material
    from engine.setup import fold
    from engine.version import VERSION
    from journal.store import utc_now
    from journal.timeline import timeline

    def content(digest: str) -> bytes | None:
        try:
            return journal.blob(digest)
        except JournalDamagedError:
            return None

    own = [event for event in events if event.setup == setup]
    return Material(
        own,
        [row for row in timeline(events) if row.setup == setup],
        fold(own)[-1],
        explain(events, setup),
        content,
        _proof(host, journal, damage),
        pciids.load(host),
        VERSION,
        utc_now().isoformat(" ", "seconds")[:19],
    )


def _proof(host: ChangeableHost, journal: Journal, damage: JournalError | None) -> Audit | JournalError:
    from engine.heads import remembered
    from engine.states import LEGAL
    from journal.audit import audit
    from journal.errors import JournalError

    try:
        return audit(journal, set(LEGAL), images=images_of(host), known=remembered(host, setups_in(journal)))
    except JournalError as error:
        return damage or error
