"""Huge pages: what the host has of a size, and how many a guest needs.

Source: Documentation/admin-guide/mm/hugetlbpage.rst. Pages of 2M are made while the host runs; those of 1G only at
boot, since later there is hardly ever so much memory in one piece.
"""

from __future__ import annotations

from dataclasses import dataclass

from steps.base import Host
from steps.config import Guest, HugePages
from steps.reading import text_of

POOLS = "/sys/kernel/mm/hugepages"
MIB = 1 << 20
MIBS = {HugePages.M2: 2, HugePages.G1: 1024}
# What a host without a desktop lives on; a boot that gives more away runs out of memory before anybody can log in.
LEFT = 512


@dataclass(frozen=True, slots=True)
class Pool:
    """The kernel's pages of one size: whether it knows the size now, how many it has, how many nobody uses or has
    reserved; whether the CPU has pages of that size; the host's memory in MiB, all and available (None: not said)."""

    size: HugePages
    known: bool
    total: int = 0
    free: int = 0
    possible: bool = True
    memory: int | None = None
    available: int | None = None

    @property
    def path(self) -> str:
        """The attribute that says how many there are to be."""
        return f"{directory(self.size)}/nr_hugepages"


def directory(size: HugePages) -> str:
    """Where the kernel shows its pages of that size."""
    return f"{POOLS}/hugepages-{MIBS[size] * 1024}kB"


def needed(guest: Guest, size: HugePages) -> int:
    """How many pages the guest's memory is."""
    return -(-guest.memory // MIBS[size])


def read(host: Host, size: HugePages) -> Pool:
    """The pages of that size as they are now."""
    base = directory(size)
    counts = {name: _count(host, f"{base}/{name}_hugepages") for name in ("nr", "free", "resv")}
    meminfo = dict(line.split(":", 1) for line in text_of(host, "/proc/meminfo").splitlines() if ":" in line)
    flags = text_of(host, "/proc/cpuinfo").split("\nflags", 1)[-1].split("\n", 1)[0].split()
    return Pool(
        size,
        host.lstat(base) is not None,
        counts["nr"],
        max(0, counts["free"] - counts["resv"]),
        size is not HugePages.G1 or "pdpe1gb" in flags,
        _mib(meminfo.get("MemTotal")),
        _mib(meminfo.get("MemAvailable")),
    )


def _count(host: Host, path: str) -> int:
    text = text_of(host, path).strip()
    return int(text) if text.isdecimal() else 0


def _mib(value: str | None) -> int | None:
    words = (value or "").split()
    return int(words[0]) // 1024 if words and words[0].isdecimal() else None
