"""`vfiostate guest`: the virtual machine itself."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from engine.cli.common import add_command, add_json, session_options, show_findings
from journal.errors import Exit, JournalMissingError

if TYPE_CHECKING:
    from engine.guests.guest import GuestStatus
    from engine.hosts.base import ChangeableHost
    from engine.setup import Setup
    from journal.events import Json
    from steps.config import Config


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and what it does."""
    parser = add_command(
        subparsers,
        "guest",
        "start, stop and look at the guest",
        run_status,
        example="sudo vfiostate guest start --install\nsudo vfiostate guest stop\nsudo vfiostate guest status --json",
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", dest="verb", required=True)
    start = add_command(
        verbs,
        "start",
        "start the guest",
        run_start,
        text="With the devices, which takes the setup from `bound` to `running`; or with --install without them, its\n"
        "screen on VNC on loopback, to install its system before anything is set up.",
        example="sudo vfiostate guest start\nsudo vfiostate guest start --install",
        repeatable=False,
    )
    start.add_argument("--install", action="store_true", help="without the devices, on VNC")
    add_command(
        verbs,
        "stop",
        "stop the guest, by its power button, then by force",
        run_stop,
        text="It gets `stop_timeout` seconds to shut down. From `running` the setup goes back to `bound`.",
        example="sudo vfiostate guest stop",
        repeatable=False,
    )
    status = add_command(
        verbs,
        "status",
        "show whether the guest runs, and with which devices",
        run_status,
        text="Exit code 1 when it does not run.",
        example="sudo vfiostate guest status\nsudo vfiostate guest status --json",
    )
    add_json(status)
    command = add_command(
        verbs,
        "command",
        "show the QEMU command that starts the guest, or its domain for libvirt",
        run_command,
        text="As it is for the QEMU installed here. Its monitor is the socket given as standard input (fd=0).",
        example="sudo vfiostate guest command\nsudo vfiostate guest command --install",
    )
    command.add_argument("--install", action="store_true", help="the one of `start --install`")
    export = add_command(
        verbs,
        "export",
        "write the guest with its devices for other tools",
        run_export,
        text="To go on with virt-manager, virsh or a script of your own from `bound` on, where the devices are under\n"
        "vfio-pci after every boot. The domain gets taps of libvirt's own in the bridges of the configuration; the\n"
        "command is one for root, opens no monitor, and takes the taps as they are. What you start with it, vfiostate\n"
        "neither stops nor takes away.",
        example="sudo vfiostate guest export --libvirt > guest.xml\nsudo vfiostate guest export --qemu > guest.sh",
    )
    form = export.add_mutually_exclusive_group(required=True)
    form.add_argument("--libvirt", action="store_true", help="a domain, for `virsh define` and virt-manager")
    form.add_argument("--qemu", action="store_true", help="the command line of the QEMU installed here")


def run_start(args: argparse.Namespace) -> int:
    """Start it."""
    from engine import signals
    from engine.console import BOLD, clean, out, paint
    from engine.guests import guest
    from engine.progress import reporter
    from engine.session import open_session
    from steps.guest.base import called

    signals.listen()
    with open_session(session_options(args), reporter(), write=True, create=True) as session:
        if args.install:
            show_findings(guest.start_install(session))
            wanted = guest.guest_of(session.config)
            out(f"the {clean(called(wanted.name))} runs without the devices; its screen: VNC {clean(wanted.vnc)}")
            return Exit.DONE
        outcome = guest.start(session)
    for line in outcome.said:
        out(clean(line))
    show_findings(outcome.findings)
    out(f"state: {paint(outcome.state.value, BOLD)}")
    return outcome.exit


def run_stop(args: argparse.Namespace) -> int:
    """Stop it."""
    from engine import signals
    from engine.console import BOLD, clean, out, paint
    from engine.guests import guest
    from engine.progress import reporter
    from engine.session import open_session

    signals.listen()
    with open_session(session_options(args), reporter(), write=True) as session:
        out(clean(guest.stop(session)))
        out(f"state: {paint(session.setup.state.value, BOLD)}")
    return Exit.DONE


def run_status(args: argparse.Namespace) -> int:
    """Show it."""
    from engine.config import load
    from engine.console import clean, out, out_json
    from engine.guests.guest import survey
    from engine.target import open_host

    options = session_options(args)
    _needs_root(args)
    host = open_host(options)
    found = survey(host, load(host, options.config))
    if args.json:
        out_json("vfiostate.guest-status/1", _as_json(found))
    else:
        for line in _lines(found):
            out(clean(line))
    return Exit.DONE if found.status == "running" else Exit.FAILED


def _needs_root(args: argparse.Namespace) -> None:
    import os

    from journal.errors import NotRootError

    if args.simulate is None and os.geteuid() != 0:
        raise NotRootError("The guest's monitor belongs to root.", hint="Run it with sudo.")


def run_command(args: argparse.Namespace) -> int:
    """Show the command."""
    from engine.console import clean, out
    from engine.guests.guest import command_of

    host, config, setup = _known(args)
    text, findings = command_of(host, config, setup, args.install)
    out(clean(text))
    show_findings(findings)
    return Exit.DONE


def run_export(args: argparse.Namespace) -> int:
    """Write it."""
    from engine.console import clean, out
    from engine.guests.export import as_command, as_domain

    host, config, setup = _known(args)
    text, findings = (as_domain if args.libvirt else as_command)(host, config, setup)
    out(clean(text))
    show_findings(findings)
    return Exit.DONE


def _known(args: argparse.Namespace) -> tuple[ChangeableHost, Config, Setup | None]:
    """The host, its configuration, and the present setup where there is one."""
    from engine.config import load
    from engine.progress import reporter
    from engine.session import open_session
    from engine.target import open_host

    options = session_options(args)
    try:
        with open_session(options, reporter(), write=False) as session:
            setup = session.scribe.setup
    except JournalMissingError:
        setup = None
    host = open_host(options)
    return host, load(host, options.config), setup


def _lines(found: GuestStatus) -> list[str]:
    from engine.console import columns

    rows: list[tuple[str, ...]] = [("guest", found.name)]
    if found.pid is None and found.silence is not None:
        rows.append(("status", f"cannot be told: {found.silence}"))
    elif found.pid is None:
        rows.append(("status", "does not run"))
    else:
        rows.append(("status", found.status or f"does not answer: {found.silence}"))
        rows += [("process", str(found.pid or "not known")), ("since", _duration(found.uptime or 0.0))]
    for one in found.functions:
        if one.id:
            place = f"{one.bus:02x}:{one.slot:02x}.{one.function}"
            rows.append(("device", f"{place} [{one.vendor:04x}:{one.device:04x}] {one.id}"))
    rows += [("not in it", address) for address in found.missing]
    rows += [("last words", line) for line in found.log]
    return columns(rows)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _as_json(found: GuestStatus) -> dict[str, Json]:
    devices: list[Json] = [
        {
            "id": one.id,
            "bus": one.bus,
            "slot": one.slot,
            "function": one.function,
            "vendor": f"{one.vendor:04x}",
            "device": f"{one.device:04x}",
        }
        for one in found.functions
    ]
    return {
        "name": found.name,
        "running": found.status == "running",
        "status": found.status,
        "pid": found.pid,
        "uptime": found.uptime,
        "silence": found.silence,
        "devices": devices,
        "missing": list(found.missing),
        "log": list(found.log),
    }
