"""Whether the kernel that was booted keeps the CPUs free and has the huge pages, in its own words."""

from __future__ import annotations

from collections.abc import Iterator

from steps.base import Finding, Severity
from steps.config import Guest, HugePages
from steps.tuning import cpulist, cpus, hugepages
from steps.tuning.check import TuningFacts
from steps.tuning.cpus import HostCpus
from steps.tuning.hugepages import Pool


def findings(guest: Guest | None, facts: TuningFacts) -> Iterator[Finding]:
    """What this boot did not give although it was told to."""
    if guest is None:
        return
    if facts.cpus is not None and guest.isolated_cpus:
        yield from _isolated(set(cpulist.parse(guest.isolated_cpus)), facts.cpus)
    if facts.pool is not None and guest.hugepages is HugePages.G1:
        yield from _set_aside(guest, facts.pool)


def _isolated(wanted: set[int], host: HostCpus) -> Iterator[Finding]:
    shown = cpulist.render(wanted)
    # Kernels before 4.2 have no such file: of what they do nothing is said.
    if host.isolated is not None and not wanted <= set(host.isolated):
        yield Finding(
            "cpus-not-isolated",
            Severity.REFUSAL,
            f"The kernel was told to keep CPUs {shown} free, and does not.",
            (f"{cpus.CPUS}/isolated: {cpulist.render(host.isolated) or 'none'}",),
            "`dmesg | grep -i -e isolcpus -e housekeeping` says why; roll back and change `isolated_cpus`.",
        )
    elif host.isolated is not None and not wanted <= set(host.nohz_full or ()):
        yield Finding(
            "cpus-not-tickless",
            Severity.NOTE,
            f"CPUs {shown} are kept free of other tasks; the kernel's timer tick still comes there.",
            (f"{cpus.CPUS}/nohz_full: {cpulist.render(host.nohz_full or ()) or 'none'}",),
            "A kernel built with CONFIG_NO_HZ_FULL stops it.",
        )


def _set_aside(guest: Guest, pool: Pool) -> Iterator[Finding]:
    needed = hugepages.needed(guest, pool.size)
    if pool.total < needed:
        yield Finding(
            "hugepages-not-set-aside",
            Severity.REFUSAL,
            f"The kernel has {pool.total} pages of {pool.size}, and the guest needs {needed}.",
            (pool.path, f"the host: {pool.memory} MiB"),
            "There is too little memory in one piece: roll back, and give the guest less `memory`, or 2M pages.",
        )
