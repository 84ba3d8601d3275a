"""`vfiostate journal show`: the timeline, in whole or in part, and on and on."""

from __future__ import annotations

import argparse
import contextlib

from engine.cli.common import TYPE_CHECKING, add_command, state
from engine.cli.journal_place import lost_or_missing, place, readable
from journal.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.events import Event, Kind
    from journal.selection import Selection
    from journal.store import Journal
    from journal.timeline import Row

# With --follow, the lines that are shown of what there is already; as tail(1) and journalctl(1) do.
FOLLOWED = 10


def configure(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    show = add_command(
        verbs,
        "show",
        "show what was done: when, in which boot, by whom, with which result",
        run,
        text="An action and what became of it are one line; with --follow the result comes as a line of its own.\n"
        "With --json each line is a JSON object, as jq likes it: jq 'select(.kind == \"step_failed\") | .result'.",
        example="sudo vfiostate journal show --last 20\n"
        "sudo vfiostate journal show --follow\n"
        "sudo vfiostate journal show --boot -1 --kind step_failed --kind step_refused",
    )
    show.add_argument("--last", metavar="N", type=_count, help="only the last N lines")
    show.add_argument("-f", "--follow", action="store_true", help="go on with what is appended, until Ctrl-C")
    show.add_argument("--setup", metavar="ID", help="only this setup; the beginning of its id is enough")
    show.add_argument("--boot", metavar="N", type=_number, help="only this boot: 1 the first, 0 the last, -1 before it")
    show.add_argument("--step", metavar="STATE", type=state, help="only the step to this state")
    show.add_argument(
        "--kind", metavar="KIND", action="append", type=_kind, help="only this kind of event; may be given again"
    )
    show.add_argument("--json", action="store_true", help="a line of JSON for each line, each with a `schema` field")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, found {text!r}")
    return int(text)


def _number(text: str) -> int:
    if not text.removeprefix("-").isdecimal():
        raise argparse.ArgumentTypeError(f"expected the number of a boot, found {text!r}")
    return int(text)


def _kind(text: str) -> Kind:
    from journal.events import Kind

    try:
        return Kind(text.replace("-", "_"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"unknown kind {text!r}: expected one of {', '.join(Kind)}") from None


def run(args: argparse.Namespace) -> int:
    """Show it; where it is damaged, what comes before the damage."""
    from journal.store import Journal
    from journal.timeline import timeline

    host, url = place(args)
    with lost_or_missing(host), Journal.open(url, write=False) as journal:
        events, damage = readable(host, journal)
        rows = timeline(events)
        selection = _selection(args, rows)
        last = args.last or (FOLLOWED if args.follow else 0)
        chosen = [row for row in rows if selection.takes(row)][-last:]
        _show(chosen, as_json=args.json)
        if damage is not None:
            raise damage
        if args.follow:
            with contextlib.suppress(BrokenPipeError):
                _follow(journal, events, selection, chosen, as_json=args.json)
    return Exit.DONE


def _show(rows: Sequence[Row], *, as_json: bool) -> None:
    from engine.console import out
    from journal.timeline import lines

    if as_json:
        _as_json(rows)
        return
    for line in lines(rows):
        out(line)


def _selection(args: argparse.Namespace, rows: Sequence[Row]) -> Selection:
    from journal.selection import Selection, boot_of, setup_of

    return Selection(
        None if args.setup is None else setup_of(args.setup, (row.setup for row in rows)),
        None if args.boot is None else boot_of(args.boot, rows),
        args.step,
        frozenset(args.kind or ()),
    )


def _as_json(rows: Sequence[Row]) -> None:
    import json

    from engine.console import out

    for row in rows:
        out(json.dumps({"schema": "vfiostate.journal-event/1", **row.as_json()}, ensure_ascii=True))


def _follow(
    journal: Journal, events: Sequence[Event], selection: Selection, shown: Sequence[Row], *, as_json: bool
) -> None:
    """Until a signal or the end of the reader. An action shows when it is begun, and its result when it has one."""
    from dataclasses import replace

    from engine.console import flushed, out
    from engine.follow import follow
    from journal.events import Kind
    from journal.timeline import Teller, line, widths

    teller, wide = Teller(), widths(shown)
    for event in events:
        teller.row(event)
    for new in follow(journal, events[-1].seq if events else 0):
        if new is None:
            if not flushed():
                return
            continue
        row = teller.row(new)
        if row.kind is Kind.INTENT:
            row = replace(row, result="begun")
        if not selection.takes(row):
            continue
        if as_json:
            _as_json([row])
        else:
            out(line(row, wide))
