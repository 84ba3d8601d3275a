"""Devices of one id told apart by their subsystems: where the buses are numbered anew, an address may be the twin's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from steps.base import Brief, Finding, Host, Severity, State
from steps.pci import list_functions, parse_address, parse_id, read_function


def subsystems(brief: Brief) -> dict[str, str]:
    """The subsystems that `checked` saw, by address."""
    try:
        seen = json.loads(brief.remembered.get(State.CHECKED.value, {}).get("devices", "{}"))
    except ValueError:
        return {}
    found = seen.items() if isinstance(seen, dict) else ()
    return {address: one["subsystem"] for address, one in found if isinstance(one, dict) and one.get("subsystem")}


def moved(host: Host, brief: Brief) -> dict[str, str]:
    """The configured addresses at which there is a twin now, and where the device is that was meant."""
    seen, found = subsystems(brief), {}
    configured = {device.address for device in brief.config.devices}
    for device in brief.config.devices:
        function, was = read_function(host, device.address), seen.get(device.address)
        if function is None or function.id != device.id or was in (None, function.subsystem):
            continue
        for other in list_functions(host):
            twin = read_function(host, other.address) if other.id == device.id else None
            if twin is not None and twin.subsystem == was and twin.address not in configured:
                found[device.address] = twin.address
    return found


def findings(brief: Brief, found: Mapping[str, str]) -> Iterator[Finding]:
    """A refusal for each: what is at the address is the host's."""
    seen = subsystems(brief)
    for address, now in found.items():
        yield Finding(
            "twin-at-address",
            Severity.REFUSAL,
            f"{address} is another device of the same id now: the one that was meant, of the subsystem {seen[address]},"
            f" is at {now}.",
            (f"expected the subsystem {seen[address]} at {address}", f"found it at {now}"),
            "Was a card added or taken out, or the firmware updated? `vfiostate rollback`, correct the addresses in "
            "the configuration, and begin anew.",
        )


def check(expected: Mapping[str, str], say: str) -> str:
    """What a script says of the subsystem at $place, in a loop over $address; nothing where none is expected. `say` is
    its command for what is left alone.

    Raises UsageError for what is no address or id: nothing else may stand in a script run by root.
    """
    cases = "".join(f"    {parse_address(one)}) subsystem={parse_id(id_)} ;;\n" for one, id_ in expected.items())
    return _CHECK.replace("@CASES@", cases).replace("@SAY@", say) if cases else ""


_CHECK = """\
    # Another device of the same id may have the address now: one of another maker.
    subsystem=
    case $address in
@CASES@    esac
    if [ -n "$subsystem" ]; then
        vendor=
        product=
        read -r vendor <"$place/subsystem_vendor"
        read -r product <"$place/subsystem_device"
        if [ "${vendor#0x}:${product#0x}" != "$subsystem" ]; then
            @SAY@ "$address is of the subsystem ${vendor#0x}:${product#0x}, expected $subsystem: left alone"
            continue
        fi
    fi
"""
