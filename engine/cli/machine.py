"""`vfiostate machine`: make a simulated machine, reboot it, install a kernel on it."""

from __future__ import annotations

import argparse

from engine.cli.common import TYPE_CHECKING, add_command, add_json, session_options
from journal.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from journal.events import Json

# The names of engine.hosts.simulated.boot.Entry, which is not imported for --help; a test holds the two equal.
ENTRIES = ("default", "recovery", "previous")


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its own commands."""
    parser = add_command(
        subparsers,
        "machine",
        "make and reboot the simulated machine of --simulate DIR",
        run_list,
        text="DIR/etc, DIR/boot, DIR/sys, DIR/proc and the rest are plain files: look at them, change them.\n"
        "A machine's description may be somebody else's: sh runs its /etc/default/grub, as for update-grub.",
        example="vfiostate --simulate /tmp/m machine create --from intel-twins\n"
        "vfiostate --simulate /tmp/m machine reboot --entry recovery",
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", dest="machine_command")
    create = add_command(
        verbs,
        "create",
        "make a machine in DIR, which must be empty",
        run_create,
        example="vfiostate --simulate /tmp/m machine create --from captured.json",
    )
    create.add_argument(
        "--from", dest="source", metavar="NAME|FILE", default="article", help="its description (default: article)"
    )
    reboot = add_command(
        verbs,
        "reboot",
        "reboot the machine",
        run_reboot,
        example="vfiostate --simulate /tmp/m machine reboot --entry previous",
    )
    reboot.add_argument("--entry", choices=ENTRIES, default="default", help="the entry of the boot menu that is taken")
    reboot.add_argument(
        "--fails", action="store_true", help="that boot hangs; the machine is switched off and on again"
    )
    kernel = add_command(
        verbs,
        "install-kernel",
        "install another kernel, as an upgrade would",
        run_install_kernel,
        example="vfiostate --simulate /tmp/m machine install-kernel 6.1.0-19-amd64",
    )
    kernel.add_argument("release", metavar="RELEASE", help="its release, as uname -r would say it")
    listing = add_command(
        verbs,
        "list",
        "list the machines that come with vfiostate",
        run_list,
        example="vfiostate machine list",
    )
    add_json(listing)


def _directory(args: argparse.Namespace) -> Path:
    found = session_options(args).simulate
    if found is None:
        raise UsageError(
            "--simulate DIR is missing: only a simulated machine can be made or rebooted so.",
            hint="Name it with `--simulate DIR`; `vfiostate advance --reboot` reboots this host.",
        )
    return found


def run_create(args: argparse.Namespace) -> int:
    """Make a machine."""
    directory = _directory(args)
    from engine.console import out
    from engine.hosts.simulated.description import find
    from engine.hosts.simulated.host import SimulatedHost  # the model is needed only here

    host = SimulatedHost.create(directory, find(args.source))
    found = host.machine.description
    out(f"{found.name}: made in {host.root}, running {host.release}")
    if found.about:
        out(f"    {found.about}")
    return 0


def run_reboot(args: argparse.Namespace) -> int:
    """Reboot it."""
    directory = _directory(args)
    from engine.console import out
    from engine.hosts.simulated.boot import Entry
    from engine.hosts.simulated.host import SimulatedHost  # the model is needed only here

    host = SimulatedHost(directory)
    chosen = host.reboot(Entry(args.entry), fails=args.fails)
    out(f"rebooted into {chosen.title!r}")
    out(f"    command line: {' '.join(host.machine.cmdline)}")
    from engine.cli.resume import on_simulated

    on_simulated(session_options(args))
    return 0


def run_install_kernel(args: argparse.Namespace) -> int:
    """Install a kernel."""
    directory = _directory(args)
    from engine.console import out
    from engine.hosts.simulated.host import SimulatedHost  # the model is needed only here

    host = SimulatedHost(directory)
    host.install_kernel(args.release)
    out(f"installed {args.release}; the next reboot takes it if it is the newest")
    return 0


def run_list(args: argparse.Namespace) -> int:
    """List the shipped machines."""
    from engine.console import out, out_json
    from engine.hosts.simulated import description

    found = [description.find(name) for name in description.shipped()]
    if getattr(args, "json", False):
        machines: list[Json] = [{"name": one.name, "about": one.about} for one in found]
        out_json("vfiostate.machines/1", {"machines": machines})
        return 0
    for one in found:
        out(f"{one.name}: {one.about}")
    return 0
