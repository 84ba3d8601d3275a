"""Whether the host has the CPUs and the huge pages that the guest is to have; found out before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from steps.base import Finding, Host, Severity
from steps.config import Guest, HugePages
from steps.tuning import cpulist, cpus, hugepages
from steps.tuning.cpus import HostCpus
from steps.tuning.hugepages import LEFT, Pool


@dataclass(frozen=True, slots=True)
class TuningFacts:
    """The host's CPUs and its pages of the size that is asked for; None where the configuration asks for none."""

    cpus: HostCpus | None = None
    pool: Pool | None = None


def read(host: Host, guest: Guest | None, devices: Iterable[str]) -> TuningFacts:
    """Read what the guest asks for, and nothing else; `devices` are the addresses of those that it is given."""
    if guest is None:
        return TuningFacts()
    asks = guest.vcpupin or guest.emulatorpin or guest.isolated_cpus
    return TuningFacts(
        cpus.read(host, devices) if asks else None,
        hugepages.read(host, guest.hugepages) if guest.hugepages else None,
    )


def findings(guest: Guest | None, facts: TuningFacts) -> Iterator[Finding]:
    """What stands against it, and what will not do what is meant."""
    if guest is None:
        return
    if facts.cpus is not None:
        yield from _offline(guest, facts.cpus)
        yield from _isolation(guest, facts.cpus)
        yield from _pinning(guest, facts.cpus)
    if facts.pool is not None:
        yield from _pages(guest, facts.pool)


def pinned(guest: Guest) -> tuple[tuple[int, ...], ...]:
    """The CPUs of each vCPU."""
    return tuple(cpulist.parse(each) for each in guest.vcpupin)


def _offline(guest: Guest, host: HostCpus) -> Iterator[Finding]:
    named = {f"vcpupin of vCPU {number}": each for number, each in enumerate(guest.vcpupin)}
    named |= {"emulatorpin": guest.emulatorpin or "", "isolated_cpus": guest.isolated_cpus or ""}
    missing = {key: set(cpulist.parse(each)) - set(host.online) for key, each in named.items()}
    lines = tuple(f"{key}: {cpulist.render(each)}" for key, each in missing.items() if each)
    if lines:
        gone = cpulist.render({cpu for each in missing.values() for cpu in each})
        yield _refusal(
            "cpu-not-online",
            f"[guest] names CPUs that this host does not have, or that are offline: {gone}.",
            (*lines, f"{cpus.CPUS}/online: {cpulist.render(host.online)}"),
            "Name others (`lscpu -e` shows them), or bring them online.",
        )


def _isolation(guest: Guest, host: HostCpus) -> Iterator[Finding]:
    isolated = set(cpulist.parse(guest.isolated_cpus or ""))
    used = {cpu for each in pinned(guest) for cpu in each} | set(cpulist.parse(guest.emulatorpin or ""))
    if isolated and isolated >= set(host.online):
        yield _refusal(
            "cpus-all-isolated",
            "`isolated_cpus` leaves no CPU to the host itself.",
            (f"{cpus.CPUS}/online: {cpulist.render(host.online)}",),
            "Keep at least one whole core for the host.",
        )
    elif 0 in isolated:
        message = "CPU 0 is in `isolated_cpus`: the kernel boots on it and keeps its clock there, so it is never free"
        yield _warning("cpu-0-isolated", f"{message}.", (), "Take another CPU, and leave CPU 0 to the host.")
    if idle := isolated & set(host.online) - used:
        message = f"CPUs {cpulist.render(idle)} are isolated and nothing is pinned to them: they will stand idle."
        yield _warning("isolated-idle", message, (), "Name them in `vcpupin` too, or leave them to the host.")


def _pinning(guest: Guest, host: HostCpus) -> Iterator[Finding]:
    lists = pinned(guest)
    alone = [each[0] for each in lists if len(each) == 1]
    if shared := sorted({cpu for cpu in alone if alone.count(cpu) > 1}):
        message = f"More than one vCPU is pinned to CPU {', '.join(map(str, shared))}: they wait for each other."
        yield _warning("vcpus-share-cpu", message, (), "Give each vCPU a CPU of its own, or all of them several.")
    isolated = set(cpulist.parse(guest.isolated_cpus or ""))
    spread = [str(number) for number, each in enumerate(lists) if len(isolated & set(each)) > 1]
    if spread:
        message = f"vCPU {', '.join(spread)} may run on several isolated CPUs, and will stay on one of them: the "
        hint = "Pin each vCPU to one isolated CPU in `vcpupin`."
        yield _warning("isolated-not-balanced", f"{message}kernel moves nothing between isolated CPUs.", (), hint)
    used = {cpu for each in lists for cpu in each}
    yield from _siblings(used, isolated, host)
    yield from _distance(used, host)


def _siblings(used: set[int], isolated: set[int], host: HostCpus) -> Iterator[Finding]:
    """Two threads of a core share its execution units: what the host does on the other one, the vCPU feels."""
    if used >= set(host.online):
        return
    others = {cpu: set(host.siblings.get(cpu, ())) - {cpu} - used - isolated for cpu in sorted(used)}
    lines = tuple(f"CPU {cpu} shares its core with {cpulist.render(each)}" for cpu, each in others.items() if each)
    if lines:
        message = "Threads of the same core as a pinned CPU are left to the host."
        hint = "Give them to the guest too (with `threads`), or to `isolated_cpus`; or leave it so."
        yield Finding("sibling-threads", Severity.NOTE, message, lines, hint)


def _distance(used: set[int], host: HostCpus) -> Iterator[Finding]:
    if len(host.nodes) < 2 or not used:
        return
    for address, node in host.near.items():
        far = used - set(host.nodes.get(node, ()))
        if far:
            yield _warning(
                "numa-distance",
                f"{address} is on node {node}, and vCPUs are pinned to CPUs of another: {cpulist.render(far)}.",
                tuple(f"node {number}: CPUs {cpulist.render(each)}" for number, each in host.nodes.items()),
                f"Pin them to CPUs of node {node}, which reach the device without a detour.",
            )


def _pages(guest: Guest, pool: Pool) -> Iterator[Finding]:
    if not pool.possible:
        message, where = "This CPU has no huge pages of 1G.", "/proc/cpuinfo: no flag pdpe1gb"
        yield _refusal("hugepages-size", message, (where,), f'Set hugepages = "{HugePages.M2}" in [guest].')
    elif pool.size is HugePages.M2 and not pool.known:
        where = f"{hugepages.directory(pool.size)} does not exist"
        yield _refusal("hugepages-size", "This kernel has no huge pages.", (where,), "Take `hugepages` out of [guest].")
    elif pool.memory is not None and pool.memory - guest.memory < LEFT:
        yield _refusal(
            "hugepages-memory",
            f"The guest's huge pages leave the host less than {LEFT} MiB; they are set aside whether it runs or not.",
            (f"the guest: {guest.memory} MiB", f"the host: {pool.memory} MiB", "/proc/meminfo"),
            "Give the guest less `memory` in [guest].",
        )


def _refusal(code: str, message: str, evidence: Sequence[str], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, tuple(evidence), hint)


def _warning(code: str, message: str, evidence: Sequence[str], hint: str) -> Finding:
    return Finding(code, Severity.WARNING, message, tuple(evidence), hint)
