"""udev's rules on the simulated machine, as far as they speak of PCI functions: what people have virtual functions
made with at boot.

Of a rule the keys ACTION, SUBSYSTEM, KERNEL, DRIVER and ATTR{…} are known, each with `==` and `!=`, and `ATTR{…}=`,
which writes an attribute. A rule with any other key is passed over: machine.json's machines are not made by them.

Source: udev(7). A function is announced (`add`) before a driver of the root system has it; it is told of (`bind`, since
4.14) when one has taken it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from engine.hosts.simulated import attributes, drivers
from engine.hosts.simulated.drivers import DEVICES
from engine.hosts.simulated.machine import Machine

# Where rules lie; of two with one name the first counts.
PLACES = ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d")
_PART = re.compile(r'\s*([A-Z]+)(?:\{([^}]*)\})?\s*(==|!=|=)\s*"([^"]*)"\s*(?:,|$)')
_MATCHES = {"ACTION", "SUBSYSTEM", "KERNEL", "DRIVER", "ATTR"}

Part = tuple[str, str, str, str]
Rule = tuple[Part, ...]


def rules(machine: Machine) -> tuple[Rule, ...]:
    """The rules that can be followed here, in their order."""
    files: dict[str, str] = {}
    for place in PLACES:
        for name in machine.names(place):
            if name.endswith(".rules"):
                files.setdefault(name, f"{place}/{name}")
    lines = (line for name in sorted(files) for line in machine.text(files[name]).replace("\\\n", "").splitlines())
    return tuple(rule for line in lines if (rule := _read(line)))


def _read(line: str) -> Rule:
    """A line's parts; none for a comment, and for a rule that says what is not known here."""
    parts = _PART.findall(line) if line.strip()[:1] != "#" else []
    if _PART.sub("", line).strip():
        return ()
    known = all(key in _MATCHES and (sign != "=" or key == "ATTR") for key, _, sign, _ in parts)
    return tuple(parts) if known else ()


def announce(machine: Machine, action: str, address: str) -> None:
    """Follow the rules for one function. A write that the kernel refuses is passed over, as udev does."""
    for rule in rules(machine):
        for key, name, sign, value in rule:
            if sign == "=":
                with contextlib.suppress(OSError):
                    attributes.write(machine, f"{DEVICES}/{address}/{name}", value)
            elif any(fnmatchcase(_is(machine, action, address, key, name), one) for one in value.split("|")) == (
                sign == "!="
            ):
                break


def _is(machine: Machine, action: str, address: str, key: str, name: str) -> str:
    match key:
        case "ACTION":
            return action
        case "SUBSYSTEM":
            return "pci"
        case "KERNEL":
            return address
        case "DRIVER":
            return drivers.driver_of(machine, address) or ""
        case _:
            return machine.text(f"{DEVICES}/{address}/{name}").rstrip()


@contextlib.contextmanager
def watching(machine: Machine) -> Iterator[None]:
    """Announce every function that is there, and then tell of those that got a driver meanwhile."""
    for address in drivers.addresses(machine):
        announce(machine, "add", address)
    before = {address: drivers.driver_of(machine, address) for address in drivers.addresses(machine)}
    yield
    for address in drivers.addresses(machine):
        driver = drivers.driver_of(machine, address)
        if driver is not None and driver != before.get(address):
            announce(machine, "bind", address)
