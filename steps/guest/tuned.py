"""The guest's placement at its start: huge pages made and mounted for it, its threads pinned; and what the kernel says
of it afterwards.

Sources: Documentation/admin-guide/mm/hugetlbpage.rst; proc(5) (Cpus_allowed_list, HugetlbPages). QEMU's thread-context
(since 7.2) is for the threads that fill memory, not for vCPUs, and its sandbox lets it change no affinity: so threads
are pinned from outside, whatever the version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from steps.actions import Action, Inverse, PinThreads, RunCommand, Write, WriteAttribute
from steps.base import Finding, Host, Severity
from steps.config import Guest, HugePages
from steps.guest.access import Account
from steps.guest.base import Order, Way, called, hugetlbfs_of
from steps.reading import text_of
from steps.tuning import check, cpulist, hugepages
from steps.tuning.check import TuningFacts
from steps.tuning.hugepages import MIB, MIBS, Pool

# To find pages in one piece the kernel moves others away first.
MAKING = 300.0
_STATUS = re.compile(r"^(\w+):\s*(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Tuned:
    """What the start can count on: the host's CPUs and pages, whether the pages' file system is mounted for us already,
    and by whose uid it may be used (None: not said)."""

    facts: TuningFacts
    mounted: bool = False
    uid: int | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """A running guest as the kernel has it: the CPUs that each vCPU and the process's first thread may use (None: not
    there), bytes of huge pages in use by it (None: the kernel does not say), and the pool."""

    vcpus: Mapping[int, tuple[int, ...] | None]
    first: tuple[int, ...] | None
    bytes: int | None
    pool: Pool | None


def asks(order: Order) -> bool:
    """Whether there is anything to place: a guest that is being installed runs anywhere."""
    guest = order.guest
    return not order.install and bool(guest.vcpupin or guest.emulatorpin or guest.hugepages)


def look(host: Host, order: Order) -> Tuned | None:
    """What there is before the start; None where nothing is asked for."""
    if not asks(order):
        return None
    facts = check.read(host, order.guest, (device.address for device in order.devices))
    if order.guest.hugepages is None:
        return Tuned(facts)
    place = hugetlbfs_of(order.guest.hugepages)
    for line in text_of(host, "/proc/mounts").splitlines():
        fields = line.split()
        if len(fields) > 3 and (fields[1], fields[2]) == (place, "hugetlbfs"):
            uid = re.search(r"(?:^|,)uid=(\d+)", fields[3])
            return Tuned(facts, True, int(uid[1]) if uid else 0)
    return Tuned(facts)


def findings(order: Order, tuned: Tuned, account: Account | None) -> Iterator[Finding]:
    """What stands against the start."""
    guest, pool = order.guest, tuned.facts.pool
    yield from (one for one in check.findings(guest, tuned.facts) if one.severity is Severity.REFUSAL)
    if pool is not None:
        yield from _short(guest, pool)
        if tuned.mounted and account is not None and tuned.uid != account.uid:
            place = hugetlbfs_of(pool.size)
            message = f"{place} is mounted already, and not for {account.name}."
            yield _refusal(
                "hugepages-mount", message, f"Run `umount {place}`, then `vfiostate advance` again.", "/proc/mounts"
            )


def _short(guest: Guest, pool: Pool) -> Iterator[Finding]:
    lacking = hugepages.needed(guest, pool.size) - pool.free
    evidence = (f"{hugepages.directory(pool.size)}: {pool.total} pages, {pool.free} free", f"{lacking} more are needed")
    if lacking > 0 and pool.size is HugePages.G1:
        hint = "End what uses them; if the boot set too few aside, run `vfiostate rollback`, then `vfiostate advance`."
        yield _refusal("hugepages-short", "Too few huge pages of 1G are free for the guest.", hint, *evidence)
    elif pool.available is not None and lacking * MIBS[pool.size] > pool.available:
        hint = "End what uses the memory, or give the guest less `memory` in [guest]."
        message = "The host has not enough free memory for the guest's huge pages."
        yield _refusal("hugepages-short", message, hint, *evidence, f"{pool.available} MiB available, /proc/meminfo")


def actions(order: Order, tuned: Tuned, account: Account | None, *, mount: bool) -> Iterator[Action]:
    """The pages, and with `mount` the file system that QEMU takes them from, which nobody else may use."""
    pool = tuned.facts.pool
    if pool is None:
        return
    lacking = hugepages.needed(order.guest, pool.size) - pool.free
    if lacking > 0:
        why = f"{lacking} more huge pages of {pool.size} for the guest's memory"
        value = f"{pool.total + lacking}\n"
        yield WriteAttribute(pool.path, value, why, Write(pool.path, f"{pool.total}\n"), MAKING)
    if mount and not tuned.mounted:
        place = hugetlbfs_of(pool.size)
        owner = account.uid if account is not None else 0
        options = f"pagesize={pool.size},uid={owner},gid=0,mode=0700"
        yield RunCommand(("mkdir", "-p", place), "a place for the guest's huge pages", Inverse(("rm", "-df", place)))
        argv = ("mount", "-t", "hugetlbfs", "-o", options, "none", place)
        yield RunCommand(argv, "QEMU takes the guest's memory from there", Inverse(("umount", place)))


def pin(order: Order) -> Iterator[PinThreads]:
    """The vCPUs' threads, once they are there."""
    guest = order.guest
    if asks(order) and guest.vcpupin:
        yield PinThreads(guest.name, guest.vcpupin, "each vCPU on its own CPUs", guest.start_timeout)


def asked(host: Host, order: Order, way: Way[Any]) -> Placed | None:
    """Where a guest runs, None where anywhere will do; one that ends meanwhile runs nowhere."""
    if not asks(order):
        return None
    try:
        pid, threads = way.threads(host, order)
    except (ConnectionError, TimeoutError, ValueError):
        pid, threads = 0, {}
    return placed(host, order, pid, threads)


def placed(host: Host, order: Order, pid: int, threads: Mapping[int, int]) -> Placed:
    """What the kernel says of a running guest's threads."""
    first = _status(host, f"/proc/{pid}/status")
    words = first.get("HugetlbPages", "").split()
    size = order.guest.hugepages
    return Placed(
        {vcpu: _allowed(_status(host, f"/proc/{pid}/task/{thread}/status")) for vcpu, thread in threads.items()},
        _allowed(first),
        int(words[0]) * 1024 if words and words[0].isdecimal() else None,
        hugepages.read(host, size) if size is not None else None,
    )


def _status(host: Host, path: str) -> Mapping[str, str]:
    return dict(_STATUS.findall(text_of(host, path)))


def _allowed(status: Mapping[str, str]) -> tuple[int, ...] | None:
    try:
        return cpulist.parse(status["Cpus_allowed_list"])
    except (KeyError, ValueError):
        return None


def misplaced(order: Order, found: Placed) -> Iterator[Finding]:
    """Where the running guest is not as it is to be."""
    guest = order.guest
    wanted = {f"vCPU {number}": (each, found.vcpus.get(number)) for number, each in enumerate(guest.vcpupin)}
    if guest.emulatorpin:
        wanted["its first thread"] = (guest.emulatorpin, found.first)
    wrong = [
        f"{name}: {'not there' if now is None else f'CPUs {cpulist.render(now)}'}, not {text}"
        for name, (text, now) in wanted.items()
        if now != cpulist.parse(text)
    ]
    if wrong:
        message = f"The {called(guest.name)} runs, and its threads are not on the CPUs they are to be on."
        hint = "Did a cpuset or `taskset` pin them? Run `vfiostate guest stop`, then `vfiostate advance`."
        yield _refusal("threads-not-pinned", message, hint, *wrong)
    if found.pool is not None:
        yield from _elsewhere(guest, found, found.pool)


def _elsewhere(guest: Guest, found: Placed, pool: Pool) -> Iterator[Finding]:
    """Before 5.0 QEMU took ordinary memory where it got no huge pages (docs/about/removed-features.rst)."""
    used = (pool.total - pool.free) * MIBS[pool.size] * MIB if found.bytes is None else found.bytes
    if used < guest.memory * MIB:
        message = f"The {called(guest.name)} runs, and not all of its memory is in huge pages."
        hint = "Run `vfiostate guest stop`, then `vfiostate advance`; right after a boot memory is in larger pieces."
        yield _refusal("memory-not-huge", message, hint, f"{used // MIB} of {guest.memory} MiB are", pool.path)


def _refusal(code: str, message: str, hint: str, *evidence: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)
