"""`vfiostate doctor`: what stands in the way of passthrough on this host."""

from __future__ import annotations

import argparse

from engine.cli.common import TYPE_CHECKING, add_command, add_json, finding_json, finding_lines, session_options
from journal.errors import Exit

if TYPE_CHECKING:
    from engine.doctor import Examination
    from journal.events import Json
    from steps.doctor import Area, Standing


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "doctor",
        "say what stands in the way of passthrough on this host",
        run,
        text="Everything that `advance` would refuse, with its evidence and the one thing to do: which switch of the\n"
        "firmware's setup, which package, which line. Needs no configuration and changes nothing; what only root may\n"
        "look at is named. Exit code 5 when something blocks.",
        example="vfiostate doctor\nsudo vfiostate doctor --json",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Look, and tell."""
    from engine.console import out, out_json
    from engine.doctor import examine
    from engine.progress import reporter

    found = examine(session_options(args), reporter())
    if args.json:
        out_json("vfiostate.doctor/1", _as_json(found))
    else:
        for line in _lines(found):
            out(line)
    return Exit.REFUSED if found.blocking else Exit.DONE


def _lines(found: Examination) -> list[str]:
    from engine.console import clean, columns
    from steps.base import Severity

    rows: list[tuple[str, ...]] = [
        (area.standing.value, area.name, clean(area.said or "not looked at")) for area in found.areas
    ]
    lines = [_painted(area.standing, line) for area, line in zip(found.areas, columns(rows), strict=True)]
    # The grave ones last, where they are read.
    every = [finding for area in found.areas for finding in area.findings]
    for severity in Severity:
        for finding in every:
            if finding.severity is severity:
                lines += ["", *finding_lines(finding)]
    return [*lines, *_unseen(found), "", *_verdict(found)]


def _painted(standing: Standing, line: str) -> str:
    from engine.console import DIM, GREEN, RED, YELLOW, paint
    from steps.doctor import Standing

    styles = {Standing.OK: GREEN, Standing.LOOK: YELLOW, Standing.BLOCKS: RED, Standing.UNSEEN: DIM}
    word = standing.value
    return paint(word, styles[standing]) + line[len(word) :]


def _unseen(found: Examination) -> list[str]:
    from engine.console import clean

    if not found.unseen:
        return []
    return ["", "not looked at without root:", *(f"    {clean(line)}" for line in found.unseen)]


def _verdict(found: Examination) -> list[str]:
    from engine.console import BOLD, paint

    if found.blocking:
        count = len(found.blocking)
        said = f"{count} thing{'s stand' if count > 1 else ' stands'} in the way"
        return [paint(said, BOLD), "next: follow the hints above, then vfiostate doctor again"]
    if found.unseen:
        said = "nothing stands in the way, as far as it can be seen without root"
        return [paint(said, BOLD), f"next: sudo vfiostate doctor, then {found.next}"]
    return [paint("nothing stands in the way", BOLD), f"next: {found.next}"]


def _as_json(found: Examination) -> dict[str, Json]:
    return {"blocks": bool(found.blocking), "areas": [_area_json(area) for area in found.areas], "next": found.next}


def _area_json(area: Area) -> Json:
    return {
        "name": area.name,
        "standing": area.standing.value,
        "said": area.said,
        "findings": [finding_json(finding) for finding in area.findings],
        "needs_root": list(area.unseen),
    }
