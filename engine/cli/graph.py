"""`vfiostate graph`: the state machine, drawn."""

from __future__ import annotations

import argparse

from engine.cli.common import add_command
from journal.errors import VfiostateError

FORMATS = ("mermaid", "dot", "svg")


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "graph",
        "draw the state machine",
        run,
        text="Drawn from the table that the program goes by. SVG is made by graphviz's `dot`.",
        example="vfiostate graph\nvfiostate graph --format svg > states.svg",
    )
    parser.add_argument("--format", choices=FORMATS, default="mermaid", help="what to write (default: mermaid)")


def run(args: argparse.Namespace) -> int:
    """Draw it."""
    from engine import drawing
    from engine.console import out

    if args.format == "mermaid":
        out(drawing.mermaid())
        return 0
    text = drawing.dot()
    out((_svg(text) if args.format == "svg" else text).rstrip("\n"))
    return 0


def _svg(text: str) -> str:
    import subprocess

    missing = VfiostateError(
        "Drawing SVG needs the command `dot`, which is not installed.",
        hint="Install graphviz, or use `--format mermaid` or `--format dot`.",
    )
    try:
        done = subprocess.run(["dot", "-Tsvg"], input=text.encode(), capture_output=True, timeout=60, check=False)
    except FileNotFoundError:
        raise missing from None
    except subprocess.TimeoutExpired:
        raise VfiostateError("`dot` gave no answer within 60 s.", hint="Use `--format dot`.") from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").splitlines()
        raise VfiostateError(
            f"`dot` failed with status {done.returncode}.", evidence=lines[-5:], hint="Use `--format dot`."
        )
    return done.stdout.decode(errors="replace")
