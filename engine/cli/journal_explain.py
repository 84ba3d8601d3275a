"""`vfiostate journal explain`: a setup in plain sentences."""

from __future__ import annotations

import argparse

from engine.cli.common import TYPE_CHECKING, add_command, add_json
from engine.cli.journal_place import lost_or_missing, place, readable
from journal.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.explain.explanation import Explanation
    from journal.errors import JournalError
    from journal.events import Event


WIDTH = 100


def configure(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    explain = add_command(
        verbs,
        "explain",
        "say in plain sentences what happened, what is changed now and what comes next",
        run,
        text="From the events alone: it reads the journal of a host that does not boot any more, too (--root).",
        example="sudo vfiostate journal explain\nsudo vfiostate --root /mnt journal explain",
    )
    add_setup(explain)
    add_json(explain)


def add_setup(parser: argparse.ArgumentParser) -> None:
    """Which setup is spoken of."""
    parser.add_argument(
        "setup", metavar="SETUP", nargs="?", help="a setup by its id or the beginning of it (default: the last one)"
    )


def chosen(events: Sequence[Event], asked: str | None, damage: JournalError | None) -> str:
    """The id of the setup that was asked for. Raises UsageError, JournalMissingError, or the damage where that leaves
    none."""
    from journal.errors import JournalMissingError
    from journal.events import Kind
    from journal.selection import setup_of

    setups = [event.setup for event in events if event.kind is Kind.SETUP_CREATED]
    if not setups:
        raise damage or JournalMissingError("Nothing was set up on this host yet.", hint="`vfiostate advance` begins.")
    return setups[-1] if asked is None else setup_of(asked, setups)


def run(args: argparse.Namespace) -> int:
    """Explain it; of a damaged journal what comes before the damage."""
    from engine.console import clean, out, out_json
    from engine.explain.explanation import explain
    from journal.store import Journal

    host, url = place(args)
    with lost_or_missing(host), Journal.open(url, write=False) as journal:
        events, damage = readable(host, journal)
    explanation = explain(events, chosen(events, args.setup, damage))
    if args.json:
        out_json("vfiostate.journal-explain/1", {**explanation.as_json(), "whole": damage is None})
    else:
        for line in _lines(explanation):
            out(clean(line))
    if damage is not None:
        raise damage
    return Exit.DONE


def _lines(explanation: Explanation) -> Iterator[str]:
    yield f"setup {explanation.setup}"
    for section in explanation.sections:
        yield from ("", f"{section.title}:")
        for line in section.lines:
            yield _filled(line.text + (f" (event {line.event})" if line.event else ""), "  ", "    ")
            for detail in line.details:
                yield _filled(detail, "      ", "         ") if detail.lstrip().startswith("->") else f"      {detail}"


def _filled(text: str, first: str, rest: str) -> str:
    """Wrapped; what would be split, such as a command or a path, is left long."""
    import sys
    import textwrap

    from engine.cli.parser import terminal_width

    width = min(WIDTH, terminal_width()) if sys.stdout is not None and sys.stdout.isatty() else WIDTH
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
