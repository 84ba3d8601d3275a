"""`vfiostate rom`: a card's ROM into a file, for `romfile`."""

from __future__ import annotations

import argparse

from engine.cli.common import TYPE_CHECKING, add_command, session_options
from journal.errors import JournalMissingError, NotRootError, UsageError, VfiostateError

if TYPE_CHECKING:
    from engine.target import SessionOptions
    from steps.rom import Image


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "rom",
        "read a card's ROM into a file",
        run,
        text="For `romfile` in the configuration, where the guest cannot read the card's own. What was read is looked\n"
        "into: header, PCI data structure, length, checksum. The copy that the firmware made of the card it started\n"
        "with is refused. To be read, the ROM is shown by the kernel, and hidden again whatever happens.",
        example="sudo vfiostate rom 03:00.0 -o /var/lib/roms/gpu.rom",
    )
    parser.add_argument("address", metavar="ADDR", help="the card's function")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="where to write it; must not exist")


def run(args: argparse.Namespace) -> int:
    """Read it."""
    import os

    from engine.console import out
    from steps.pci import parse_address

    address = parse_address(args.address)
    if args.output == "-":
        raise UsageError("A ROM is not written to standard output.", hint="Name a new file with `-o`.")
    if args.simulate is None and os.geteuid() != 0:
        raise NotRootError("The kernel shows a ROM to root only.", hint="Run it with sudo.")
    content, images = _dump(session_options(args), address)
    _write(args.output, content)
    for image in images:
        sums = "" if image.sums_up else "; its checksum is wrong"
        out(f"{image.kind} for {image.id}: {image.length} bytes{sums}")
    out(f"{args.output} written: {len(content)} bytes of {address}")
    return 0


def _dump(options: SessionOptions, address: str) -> tuple[bytes, tuple[Image, ...]]:
    """By the journal of a setup that is under way; without one, only the host is asked."""
    from engine import signals
    from engine.progress import reporter
    from engine.recovery import recover
    from engine.rom import dump
    from engine.session import open_session
    from engine.target import open_host

    try:
        with open_session(options, reporter(), write=True) as session:
            setup = session.scribe.setup
            if setup is None or setup.rolled_back:
                return dump(session.host, address, None)
            signals.listen()
            recover(session)
            return dump(session.host, address, session)
    except JournalMissingError:
        return dump(open_host(options), address, None)


def _write(path: str, content: bytes) -> None:
    import os

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with open(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
    except FileExistsError:
        raise VfiostateError(f"{path} is there already.", hint="Give another file with `-o`, or remove it.") from None
    except OSError as error:
        raise VfiostateError(
            f"{path} cannot be written: {error.strerror}.", hint="Give another file with `-o`."
        ) from None
