"""What the commands share. Light to import: everything that costs is imported when a command runs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence

from journal.errors import Exit, UsageError

# As typing.TYPE_CHECKING, without the import: every command module is loaded by `--help`, whose start-up is measured.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    from engine.target import SessionOptions
    from journal.events import Json
    from steps.base import Finding, State

# The names of steps.base.State, which is not imported for --help; a test holds the two equal.
STATES = ("new", "checked", "modules_loaded", "stubbed", "rebooted", "bound", "running")


def add_command(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    run: Callable[[argparse.Namespace], int],
    *,
    text: str = "",
    example: str,
    repeatable: bool = True,
) -> argparse.ArgumentParser:
    """Add a command: its one-line summary, what more there is to say, and an example; not `repeatable` is
    what would do something else when it is run once more."""
    description = f"{summary[0].upper()}{summary[1:]}." + (f"\n\n{text}" if text else "")
    epilog = "example:\n" + "\n".join(f"  {line}" for line in example.splitlines())
    parser = subparsers.add_parser(name, help=summary, description=description, epilog=epilog)
    parser.set_defaults(run=run, repeatable=repeatable)
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option --json."""
    parser.add_argument("--json", action="store_true", help="the result as one JSON document with a `schema` field")


def session_options(args: argparse.Namespace) -> SessionOptions:
    """Which host the options of every command speak of. Raises UsageError for what is no directory or no path."""
    from engine.target import SessionOptions

    root = _mounted(args.root) if args.root is not None else None
    simulate = _simulated(args.simulate) if args.simulate is not None else None
    config = args.config
    if not config.startswith("/"):
        if root is not None or simulate is not None:
            raise UsageError(
                f"--config {config}: expected an absolute path as the host sees it.",
                hint="Give it as it is below the DIR of `--simulate` or `--root`, such as /etc/vfiostate.toml.",
            )
        config = os.path.abspath(config)
    return SessionOptions(simulate=simulate, root=root, config=config)


def _mounted(text: str) -> Path:
    path = _path("--root", text)
    if not path.is_dir():
        raise UsageError(f"--root {text}: not a directory.", hint="Name the directory where the system is mounted.")
    if not (path / "etc").is_dir():
        raise UsageError(
            f"--root {text}: expected a system, found no etc/ in it.",
            hint="See whether the system's root is mounted there.",
        )
    return path


def _simulated(text: str) -> Path:
    path = _path("--simulate", text)
    if not text or path.is_file():
        raise UsageError(f"--simulate {text!r}: not a directory.", hint="Name a directory, new or made before.")
    return path


def _path(option: str, text: str) -> Path:
    """The path that an option gives. Raises UsageError where it is not UTF-8, which a journal's URL has to be."""
    from pathlib import Path

    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{option} {os.fsencode(text)!r}: expected a path in UTF-8.", hint="Give the directory another name."
        ) from None
    return Path(text)


def state(text: str) -> State:
    """A state by its name, for argparse."""
    from steps.base import State

    try:
        return State(text.replace("-", "_"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"unknown state {text!r}: expected one of {', '.join(STATES)}") from None


def finding_json(finding: Finding) -> dict[str, Json]:
    """A finding for --json."""
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "message": finding.message,
        "evidence": list(finding.evidence),
        "hint": finding.hint,
    }


def show_findings(findings: Sequence[Finding]) -> None:
    """The findings on stderr, the grave ones last, where they are read."""
    import sys

    from engine.console import err
    from steps.base import Severity

    for severity in Severity:
        for finding in findings:
            if finding.severity is severity:
                err("\n".join(finding_lines(finding, sys.stderr)))


def finding_lines(finding: Finding, stream: TextIO | None = None) -> list[str]:
    """A finding as lines for a stream (stdout by default): what, the evidence, what to do."""
    from engine.console import BOLD, DIM, RED, YELLOW, clean, paint
    from steps.base import Severity

    style = {Severity.NOTE: DIM, Severity.WARNING: YELLOW, Severity.REFUSAL: RED}[finding.severity]
    word = finding.severity.value
    if finding.severity is Severity.REFUSAL and finding.exit is Exit.REBOOT:
        # A step that waits for the reboot is where it should be.
        word, style = "reboot", YELLOW
    lines = [f"{paint(word, style, stream=stream)}: {clean(finding.message)}"]
    lines += [f"    {clean(line)}" for line in finding.evidence]
    lines += [f"    {paint('->', BOLD, stream=stream)} {clean(finding.hint)}"] if finding.hint else []
    return lines
