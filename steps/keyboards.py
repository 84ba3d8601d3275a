"""The host's keyboards, and the PCI functions they hang on.

Sources: /proc/bus/input/devices (input_devices_seq_show in drivers/input/input.c); what counts as a keyboard is what
udev's input_id takes for one: the first 31 keys, from Escape to S, are all there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from steps.base import Finding, Host, Severity
from steps.config import Config
from steps.disks import pci_in_path
from steps.pci import Function
from steps.reading import text_of

PATH = "/proc/bus/input/devices"
_FULL = 0xFFFFFFFE


@dataclass(frozen=True, slots=True)
class Keyboard:
    """A keyboard by the name it gives itself, and the PCI functions above it; none for PS/2."""

    name: str
    above: tuple[str, ...]


def read(host: Host) -> tuple[Keyboard, ...]:
    """What is plugged in now; virtual devices (uinput) are none."""
    found = []
    for block in text_of(host, PATH).split("\n\n"):
        keys = re.search(r"^B: KEY=(?:.* )?([0-9a-f]{1,16})\s*$", block, re.MULTILINE)
        path = re.search(r"^S: Sysfs=(.+)$", block, re.MULTILINE)
        name = re.search(r'^N: Name="(.*)"$', block, re.MULTILINE)
        if keys is None or path is None or path[1].startswith("/devices/virtual/"):
            continue
        if int(keys[1], 16) & _FULL == _FULL:
            found.append(Keyboard(name[1] if name else "unnamed", pci_in_path(path[1])))
    return tuple(found)


def findings(config: Config, found: Sequence[Keyboard], functions: Sequence[Function]) -> Iterator[Finding]:
    """The configured functions that take keyboards along: the host's last one must not go unasked."""
    own = {function.address for function in functions}
    staying = [one.name for one in found if own.isdisjoint(one.above)]
    for function in functions:
        taken = ", ".join(one.name for one in found if function.address in one.above)
        if taken:
            yield _taken(config, function, taken, staying)


def _taken(config: Config, function: Function, taken: str, staying: Sequence[str]) -> Finding:
    evidence = (f"{PATH}: {taken} behind {function.address}",)
    if staying:
        return Finding(
            "keyboard",
            Severity.WARNING,
            f"{function.address} takes a keyboard along: {taken}. The host keeps {', '.join(staying)}.",
            evidence,
            "Plug it into a port of another controller, if the host is to keep it.",
        )
    allowed = function.address in config.allow.keyboard
    return Finding(
        "last-keyboard",
        Severity.WARNING if allowed else Severity.REFUSAL,
        f"{function.address} takes the host's last keyboard along: {taken}.",
        evidence,
        "Make sure that the host can be reached over the network."
        if allowed
        else "Plug a keyboard into a port of another controller, or accept a console without one:"
        f' [allow] keyboard = ["{function.address}"].',
    )
