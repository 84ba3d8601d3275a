"""The simulated kernel's huge pages: made at boot by its command line, later through nr_hugepages, used by guests.

Source: Documentation/admin-guide/mm/hugetlbpage.rst. A write to nr_hugepages gives as many pages as there are, and no
error; pages in use stay.
"""

from __future__ import annotations

import errno

from engine.hosts.simulated.drivers import failure
from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.reader import Reader

POOLS = "/sys/kernel/mm/hugepages"
SIZES = {"2M": 2048, "1G": 1024 * 1024}
UNITS = {"K": 1, "M": 1024, "G": 1024 * 1024}


def populate(machine: Machine) -> None:
    """The pools of a fresh boot: of 1G only where the CPU has them."""
    asked = _asked(machine)
    for name, kib in SIZES.items():
        if name == "1G" and "pdpe1gb" not in machine.description.cpu_flags:
            continue
        for attribute in ("nr", "free", "resv", "surplus"):
            mode = 0o644 if attribute == "nr" else 0o444
            machine.put(f"{POOLS}/hugepages-{kib}kB/{attribute}_hugepages", "0\n", mode)
        _set(machine, kib, asked.get(kib, 0))


def _asked(machine: Machine) -> dict[int, int]:
    """KiB of a page to how many the command line asks for; a size that is there twice is taken once."""
    found: dict[int, int] = {}
    size: int | None = SIZES["2M"]
    for word in machine.cmdline:
        name, _, value = word.partition("=")
        if name in ("hugepagesz", "default_hugepagesz"):
            kib = int(value[:-1]) * UNITS.get(value[-1:].upper(), 0) if value[:-1].isdecimal() else 0
            size = None if kib in found or kib not in SIZES.values() else kib
        elif name == "hugepages" and size is not None and value.isdecimal():
            found.setdefault(size, int(value))
    return found


def resize(machine: Machine, kib: int, value: str, path: str) -> None:
    """A write to nr_hugepages. Raises OSError (EINVAL) for what is no number."""
    if not value.strip().isdecimal():
        raise failure(errno.EINVAL, path)
    _set(machine, kib, int(value))


def _set(machine: Machine, kib: int, wanted: int) -> None:
    nr, free = count(machine, kib, "nr"), count(machine, kib, "free")
    name = next(one for one, size in SIZES.items() if size == kib)
    most = Reader(dict(machine.description.faults), "faults").inner("hugepages").number(name, 1 << 40)
    room = nr + _available(machine) // kib
    now = max(nr - free, min(wanted, most, room))
    _put(machine, kib, "nr", now)
    _put(machine, kib, "free", now - (nr - free))
    _account(machine, (now - nr) * kib)


def take(machine: Machine, kib: int, pages: int) -> bool:
    """Use pages, or give back (a negative number); whether there were so many."""
    free = count(machine, kib, "free")
    if pages > free:
        return False
    _put(machine, kib, "free", free - pages)
    return True


def page_of_mount(mounts: str, path: str) -> int:
    """The size of the pages of a hugetlbfs (KiB), 0 for another file system: QEMU 7.2 uses that then."""
    for line in mounts.splitlines():
        _, place, kind, given, *_ = line.split()
        if (place, kind) == (path, "hugetlbfs"):
            size = dict(one.partition("=")[::2] for one in given.split(",")).get("pagesize", "2M")
            return int(size[:-1]) * UNITS[size[-1]]
    return 0


def count(machine: Machine, kib: int, attribute: str) -> int:
    """What a pool has: `nr` or `free`."""
    return int(machine.text(f"{POOLS}/hugepages-{kib}kB/{attribute}_hugepages", "0"))


def _put(machine: Machine, kib: int, attribute: str, value: int) -> None:
    mode = 0o644 if attribute == "nr" else 0o444
    machine.put(f"{POOLS}/hugepages-{kib}kB/{attribute}_hugepages", f"{value}\n", mode)


def _available(machine: Machine) -> int:
    """MemAvailable, in KiB."""
    return int(machine.text("/proc/meminfo").partition("MemAvailable:")[2].split()[0])


def _account(machine: Machine, kib: int) -> None:
    if kib:
        head, _, _ = machine.text("/proc/meminfo").partition("MemAvailable:")
        machine.put("/proc/meminfo", f"{head}MemAvailable:   {_available(machine) - kib} kB\n")
