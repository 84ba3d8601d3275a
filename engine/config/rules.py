"""What no single key can say: keys that contradict each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from engine.config.checks import sqlite_file
from engine.config.decode import Mistake
from engine.config.lines import Path
from steps.config import Config, Guest
from steps.tuning.hugepages import MIBS

T = TypeVar("T")


def contradictions(config: Config) -> list[Mistake]:
    """Everything in a configuration that cannot be meant."""
    mistakes: list[Mistake] = []
    if not config.devices:
        mistakes.append(Mistake(("devices",), "expected at least one device"))
    for place, address in repeated([device.address for device in config.devices]):
        mistakes.append(Mistake(("devices", place, "address"), f"{address} is there twice"))
    mistakes.extend(_of_journal(config))
    if config.guest is not None:
        mistakes.extend(_of_guest(config.guest))
    return mistakes


def _of_journal(config: Config) -> Iterator[Mistake]:
    """Not the key's own check: what an older version began so must be decoded from its journal, for the way back."""
    file = None if config.journal_url is None else sqlite_file(config.journal_url)
    if file is not None and not file.startswith("/"):
        wanted = "expected the absolute path of a file, as in sqlite:////var/lib/vfiostate/fleet.db"
        yield Mistake(("journal_url",), f"{wanted}, found {config.journal_url}")


def _of_guest(guest: Guest) -> Iterator[Mistake]:
    if (guest.ovmf_code is None) != (guest.ovmf_vars is None):
        missing = "ovmf_vars" if guest.ovmf_vars is None else "ovmf_code"
        yield Mistake(("guest",), f"UEFI needs both ovmf_code and ovmf_vars; {missing} is not set")
    if guest.firmware is not None and guest.ovmf_code is not None:
        yield Mistake(("guest", "firmware"), "firmware is a BIOS and excludes ovmf_code and ovmf_vars")
    if guest.vcpupin and len(guest.vcpupin) != guest.vcpus:
        wanted = f"expected one list for each vCPU, {guest.vcpus} (sockets x cores x threads)"
        yield Mistake(("guest", "vcpupin"), f"{wanted}, found {len(guest.vcpupin)}")
    if guest.hugepages is not None and guest.memory % (size := MIBS[guest.hugepages]):
        near = -(-guest.memory // size) * size
        text = f"{guest.memory} MiB is no whole number of huge pages of {guest.hugepages}: the next is {near}"
        yield Mistake(("guest", "memory"), text)
    orders: list[tuple[Path, int | None]] = [
        *((("guest", "disks", n, "bootindex"), disk.bootindex) for n, disk in enumerate(guest.disks)),
        *((("guest", "cdroms", n, "bootindex"), cdrom.bootindex) for n, cdrom in enumerate(guest.cdroms)),
    ]
    booted = [(path, index) for path, index in orders if index is not None]
    for place, index in repeated([index for _, index in booted]):
        yield Mistake(booted[place][0], f"{index} is the place of another disk or CD image already")
    for place, tap in repeated([network.tap for network in guest.networks]):
        yield Mistake(("guest", "networks", place, "tap"), f"{tap} is there twice")
    macs: Sequence[str | None] = [network.mac for network in guest.networks]
    for place, mac in repeated(macs):
        if mac is not None:
            yield Mistake(("guest", "networks", place, "mac"), f"{mac} is there twice")


def repeated(values: Iterable[T]) -> Iterator[tuple[int, T]]:
    """Each value that was there before, with its place."""
    seen: set[T] = set()
    for place, value in enumerate(values):
        if value in seen:
            yield place, value
        seen.add(value)
