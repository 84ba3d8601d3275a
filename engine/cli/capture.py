"""`vfiostate capture`: a host described in a file, from which it can be simulated."""

from __future__ import annotations

import argparse

from engine.cli.common import add_command, session_options


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "capture",
        "describe this machine in a file that can be simulated",
        run,
        text="Serial numbers, MAC and IP addresses, host and user names and UUIDs are left out or replaced. Look at\n"
        "the file before you give it away: it carries your settings of GRUB, modprobe.d and initramfs-tools, comments\n"
        "included.",
        example="sudo vfiostate capture -o machine.json\n"
        "vfiostate --simulate /tmp/m machine create --from machine.json",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="-", help="where to write it (default: -, standard output)"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is no capture")


def run(args: argparse.Namespace) -> int:
    """Describe it."""
    options = session_options(args)
    from engine.capture.describe import capture
    from engine.hosts.simulated.description import MARK, render
    from engine.report.place import give
    from engine.target import open_host

    text = render(capture(open_host(options)))
    give(args.output, text, kind="capture", mark=MARK, force=args.force)
    return 0
