"""The command line: `main` parses, runs a command, and turns what went wrong into a message and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from engine import console
from engine.cli.common import TYPE_CHECKING
from engine.cli.parser import build, command_of
from journal.errors import FAULT_HINT, Exit, VfiostateError

if TYPE_CHECKING:
    import argparse


class Ended(BaseException):
    """A signal that asks to end came while a command only read. `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (sys.argv by default). Returns the exit code and raises nothing."""
    try:
        return _main(argv)
    except KeyboardInterrupt:
        return _interrupted(2)


def _main(argv: Sequence[str] | None) -> int:
    if argv is None and sys.getfilesystemencoding() != "utf-8":
        _again_in_utf8()
    console.prepare()
    # Most of a short run is importing, which makes many objects and hardly any cycle: collecting among them in vain
    # takes a tenth of the time. A long run still collects.
    gc.set_threshold(100_000, 20, 50)
    words = sys.argv[1:] if argv is None else argv
    try:
        args = build(command_of(words)).parse_args(words)
    except SystemExit as ended:
        return _end(ended.code if isinstance(ended.code, int) else Exit.USAGE)
    import signal  # not for --help

    # Whoever called, through sudo or not, does not choose the modes of files that commands and we make for the system.
    umask = os.umask(0o022)
    before = {number: signal.signal(number, _end_by_signal) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        return _end(_guarded(args), repeatable=args.repeatable)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.umask(umask)


def _again_in_utf8() -> None:
    """Begin anew with an interpreter to which names of files are UTF-8, as the configuration writes them.

    Another locale would take them for other bytes on the disk. What is said stays in the locale's own characters.
    """
    import os

    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    os.environ.setdefault("PYTHONIOENCODING", f"{encoding}:backslashreplace")
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _guarded(args: argparse.Namespace) -> int:
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        if args.verbose:
            from engine import log

            log.configure(args.verbose)
        return run(args)
    except VfiostateError as error:
        return _complain(error)
    except KeyboardInterrupt:
        return _interrupted(2)
    except Ended as ended:
        return _interrupted(ended.number)
    except OSError as error:
        return _complain(_from_system(error))
    except Exception as error:  # noqa: BLE001  # a fault of ours: one line, never a traceback, at the user
        return _internal(error, args.verbose)


def _complain(error: VfiostateError) -> int:
    number = getattr(error, "number", None)
    if error.code == "interrupted" and isinstance(number, int):
        console.err()
        console.complain(error)
        return 128 + number
    console.complain(error)
    return error.exit


def _interrupted(number: int) -> int:
    import signal

    console.err()
    what = f"Ended by {signal.Signals(number).name}; nothing was left half done."
    console.complain(VfiostateError(what, hint="Run the command again when it suits."))
    return 128 + number


def _from_system(error: OSError) -> VfiostateError:
    """An error of the system that nobody further down knew more about."""
    from engine.effects import failure  # only when something went wrong

    return failure(error)


def _internal(error: Exception, verbose: int) -> int:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else "?"
    what = console.clean(" ".join(str(error).split()))[:200]
    console.err(f"vfiostate: internal error: {type(error).__name__}: {what} ({where})")
    console.err(f"  -> {FAULT_HINT}")
    if verbose:
        from engine import log

        log.error("internal error", error)
    return Exit.FAILED


def _end(code: int, *, repeatable: bool = True) -> int:
    failure = console.finish()
    if failure is not None and code == Exit.DONE:
        what = f"The output could not be written: {failure.strerror}."
        # What changes something has done so: once more, it would take the next step.
        then = "then run the command again." if repeatable else "what was to be done is done: see `vfiostate status`."
        console.complain(VfiostateError(what, hint=f"Make room for it, or write it elsewhere; {then}"))
        return Exit.FAILED
    return int(code)


def _end_by_signal(number: int, frame: FrameType | None) -> None:
    raise Ended(number)


if __name__ == "__main__":
    sys.exit(main())
