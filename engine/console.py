"""What the user sees: results on stdout, everything else on stderr; lines that any locale and any pipe can take."""

from __future__ import annotations

import errno
import os
import sys

# As typing.TYPE_CHECKING, without the import: this is loaded by `--help`, whose start-up is measured.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from journal.errors import VfiostateError
    from journal.events import Json

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"

# Why stdout no longer takes what is written to it; the run goes on, since it may be in the middle of a change.
_failure: OSError | None = None


def prepare() -> None:
    """Make the standard streams take every character: what the locale cannot show is shown as an escape."""
    global _failure
    _failure = None
    for stream in (sys.stdout, sys.stderr):
        # Streams that were replaced (by a test, by an embedding program) may have no encoding to change.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def out(text: str = "") -> None:
    """A line of the result. Raises nothing: a reader that went away must not stop a run halfway."""
    global _failure
    if sys.stdout is None:
        # Closed by the caller (`>&-`).
        _failure = OSError(errno.EBADF, os.strerror(errno.EBADF))
    if _failure is not None:
        return
    try:
        sys.stdout.write(text + "\n")
    except OSError as error:
        _failure = error


def err(text: str = "") -> None:
    """A line beside the result: progress, warnings, errors."""
    if sys.stderr is None:
        return
    _flush()
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        # There is nowhere left to say so.
        return


def _flush() -> None:
    """What was said before on stdout shall stand before what is said now on stderr, where both go to one file."""
    global _failure
    try:
        if sys.stdout is not None and _failure is None:
            sys.stdout.flush()
    except OSError as error:
        _failure = error


def out_json(schema: str, data: dict[str, Json]) -> None:
    """The result as one JSON document; `schema` is its name and version, such as `vfiostate.status/1`."""
    import json  # paid for by those who ask for it

    out(json.dumps({"schema": schema, **data}, indent=2, ensure_ascii=True))


def flushed() -> bool:
    """Write out what is buffered now. Whether stdout still takes what is written to it."""
    _flush()
    return _failure is None


def finish() -> OSError | None:
    """Write out what is still buffered. Returns why not everything could be written, None when all was.

    A reader that closed the pipe (`| head`) is no failure.
    """
    _flush()
    if _failure is None:
        return None
    if sys.stdout is not None:
        _silence()
    return None if isinstance(_failure, BrokenPipeError) else _failure


def _silence() -> None:
    """Keep the interpreter's own flush at exit from failing once more, with a traceback."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):
        return


def complain(error: VfiostateError) -> None:
    """An error as the user reads it: what, the evidence, what to do next."""
    err(f"vfiostate: {paint(clean(error.message), RED, stream=sys.stderr)}")
    for line in error.evidence:
        err(f"  {clean(line)}")
    if error.hint:
        err(f"  {paint('->', BOLD, stream=sys.stderr)} {clean(error.hint)}")


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at this stream and control sequences work there."""
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def paint(text: str, *styles: str, stream: TextIO | None = None) -> str:
    """The text in these styles, where the stream (stdout by default) is a terminal and NO_COLOR is not set."""
    if not is_terminal(sys.stdout if stream is None else stream) or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{';'.join(styles)}m{text}\x1b[0m"


def clean(text: str) -> str:
    """The text without control characters: what a file or a command says must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" if ord(c) < 256 else "?" for c in text)


def columns(rows: list[tuple[str, ...]], *, indent: int = 0) -> list[str]:
    """Rows as aligned lines; the last column is not padded."""
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
    lead = " " * indent
    return [
        (lead + "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]))).rstrip()
        for row in rows
    ]
