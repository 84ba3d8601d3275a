"""`vfiostate devices`: what could be passed through."""

from __future__ import annotations

import argparse

from engine.cli.common import TYPE_CHECKING, add_command, add_json, session_options
from journal.errors import RefusedError

if TYPE_CHECKING:
    from engine.listing import Entry
    from journal.events import Json

# How many functions that share a group are named.
NAMED = 8


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "devices",
        "list the PCI functions by IOMMU group",
        run,
        text="Each with its id, name, driver and ways to reset it. With addresses: the groups that these are in, so\n"
        "everything that has to go along.",
        example="vfiostate devices\nvfiostate devices 03:00.0 --json",
    )
    parser.add_argument("address", metavar="ADDR", nargs="*", help="show the groups of these functions only")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """List them."""
    from engine.console import out, out_json
    from engine.listing import entries
    from engine.target import open_host

    host = open_host(session_options(args))
    listed = _chosen(entries(host), args.address)
    if args.json:
        out_json("vfiostate.devices/1", {"devices": [_as_json(entry) for entry in listed]})
        return 0
    out("\n".join(_lines(listed)) or "no PCI devices")
    return 0


def _chosen(listed: list[Entry], wanted: list[str]) -> list[Entry]:
    from steps.pci import parse_address

    if not wanted:
        return listed
    by_address = {entry.function.address: entry for entry in listed}
    asked = [parse_address(text) for text in wanted]
    for address in asked:
        if address not in by_address:
            raise RefusedError(f"There is no device at {address}.", hint="`vfiostate devices` lists them all.")
    groups = {by_address[address].function.group for address in asked}
    return [
        entry
        for entry in listed
        if entry.function.address in asked or (entry.function.group is not None and entry.function.group in groups)
    ]


def _lines(listed: list[Entry]) -> list[str]:
    from engine.console import BOLD, clean, paint

    lines: list[str] = []
    group: int | None = -1
    for entry in listed:
        function = entry.function
        if function.group != group:
            group = function.group
            title = f"IOMMU group {group}" if group is not None else "in no IOMMU group"
            lines.append(paint(title, BOLD))
        name = " ".join(filter(None, (entry.vendor, entry.name))) or "unknown"
        lines.append(
            f"  {function.address} [{function.id}] {clean(entry.kind or f'class {function.class_code >> 8:04x}')}: "
            f"{clean(name)}"
        )
        notes = [f"driver {function.driver or 'none'}", f"reset {','.join(entry.resets) or 'none'}"]
        if function.bridge_class:
            notes.append("a bridge: stays with the host")
        elif len(entry.members) > 1:
            notes.append(f"shares its group with {_some(entry)}")
        lines.append(f"      {'; '.join(notes)}")
    return lines


def _some(entry: Entry) -> str:
    """The first neighbours by name; on a board without isolation hundreds share a group."""
    named = entry.members[: NAMED + 1]
    others = [other for other in named if other != entry.function.address][:NAMED]
    more = len(entry.members) - 1 - len(others)
    return ", ".join(others) + (f" and {more} more" if more else "")


def _as_json(entry: Entry) -> Json:
    function = entry.function
    return {
        "address": function.address,
        "id": function.id,
        "class": f"{function.class_code:06x}",
        "class_name": entry.kind,
        "vendor_name": entry.vendor,
        "device_name": entry.name,
        "driver": function.driver,
        "group": function.group,
        "shares_group_with": list(entry.shares),
        "reset": list(entry.resets),
        "bridge": function.bridge_class,
    }
