"""PCI functions with their groups and drivers, as a step remembers them in the journal: to be drawn, not judged."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence

from journal.errors import VfiostateError
from steps.base import Host
from steps.pci import Listed, list_functions, sort_key

# What a step remembers it under.
KEY = "topology"
# A host with SR-IOV has thousands of functions; what shares a group with ours comes first.
MOST = 96

_ONE = re.compile(r"([0-9a-f]{4}):([0-9a-f]{4}) ([0-9a-f]{6}) (\d+|-) (\S+)")


def encode(functions: Iterable[Listed], own: Collection[str] = ()) -> str:
    """Functions as one JSON text: address -> `vendor:device class group driver`, `-` for none; at most 96 of them,
    those first that share a group with one of `own`."""
    known = list(functions)
    groups = {one.group for one in known if one.address in own and one.group is not None}
    known.sort(key=lambda one: (one.address not in own, one.group not in groups, not one.is_display))
    kept = sorted(known[:MOST], key=lambda one: sort_key(one.address))
    return json.dumps({one.address: _encoded(one) for one in kept})


def decode(text: str) -> tuple[Listed, ...]:
    """The functions of such a text, in order; those that it does not tell rightly are left out."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return ()
    pairs = found.items() if isinstance(found, dict) else ()
    made = (_decoded(address, said) for address, said in pairs if isinstance(said, str))
    return tuple(one for one in made if one is not None)


def now(host: Host) -> str:
    """The functions of a host as they are, as one JSON text; empty where they cannot be read."""
    try:
        return encode(list_functions(host))
    except (OSError, VfiostateError):
        return ""


def _encoded(one: Listed) -> str:
    group = "-" if one.group is None else str(one.group)
    return f"{one.id} {one.class_code:06x} {group} {one.driver or '-'}"


def _decoded(address: str, said: str) -> Listed | None:
    match = _ONE.fullmatch(said)
    if match is None:
        return None
    vendor, device, code, group, driver = match.groups()
    number = None if group == "-" else int(group)
    return Listed(address, vendor, device, int(code, 16), None if driver == "-" else driver, number)


def bound(functions: Sequence[Listed], own: Collection[str], driver: str) -> tuple[Listed, ...]:
    """The same functions, `own` under this driver."""
    return tuple(
        Listed(one.address, one.vendor, one.device, one.class_code, driver, one.group) if one.address in own else one
        for one in functions
    )
