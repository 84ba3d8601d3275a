"""CPUs and huge pages that a guest is to have, held against the host before anything is changed."""

from __future__ import annotations

import dataclasses

import pytest

from steps.base import Severity
from steps.config import Guest, HugePages
from steps.tuning import after_boot, check
from steps.tuning.check import TuningFacts
from steps.tuning.cpus import HostCpus
from steps.tuning.hugepages import Pool
from tests.support.memory_host import MemoryHost, Node

GPU = "0000:01:00.0"
CPU = "/sys/devices/system/cpu"
NODE = "/sys/devices/system/node"
HUGE = "/sys/kernel/mm/hugepages/hugepages-1048576kB"
GUEST = Guest(memory=4096, cores=2, vcpupin=("2,6", "3,7"))
# Four cores of two threads, two nodes.
TREE: dict[str, Node] = {
    f"{CPU}/online": b"0-7\n",
    f"{CPU}/isolated": b"\n",
    f"{CPU}/nohz_full": b"  (null)\n",
    **{f"{CPU}/cpu{n}/topology/thread_siblings_list": f"{n % 4},{n % 4 + 4}\n".encode() for n in range(8)},
    f"{NODE}/node0/cpulist": b"0-1,4-5\n",
    f"{NODE}/node1/cpulist": b"2-3,6-7\n",
    f"/sys/bus/pci/devices/{GPU}/numa_node": b"1\n",
    "/proc/meminfo": b"MemTotal:       16384000 kB\nMemAvailable:   8192000 kB\n",
    "/proc/cpuinfo": b"processor\t: 0\nflags\t\t: fpu pdpe1gb vmx\n\nprocessor\t: 1\nflags\t\t: fpu pdpe1gb vmx\n",
    f"{HUGE}/nr_hugepages": b"5\n",
    f"{HUGE}/free_hugepages": b"4\n",
    f"{HUGE}/resv_hugepages": b"1\n",
}


def facts(guest: Guest, tree: dict[str, Node] | None = None) -> TuningFacts:
    """What is read for it."""
    return check.read(MemoryHost(TREE if tree is None else tree), guest, [GPU])


def found(guest: Guest, tree: dict[str, Node] | None = None) -> dict[str, Severity]:
    """What is said, and how much it weighs."""
    return {each.code: each.severity for each in check.findings(guest, facts(guest, tree))}


def test_the_hosts_cpus_are_read_as_sysfs_shows_them() -> None:
    assert facts(GUEST).cpus == HostCpus(
        tuple(range(8)),
        (),
        (),
        {n: (n % 4, n % 4 + 4) for n in range(8)},
        {0: (0, 1, 4, 5), 1: (2, 3, 6, 7)},
        {GPU: 1},
    )


def test_the_pages_of_a_size_are_read_as_sysfs_shows_them() -> None:
    guest = Guest(memory=4096, hugepages=HugePages.G1)
    assert facts(guest).pool == Pool(HugePages.G1, True, 5, 3, True, 16000, 8000)


def test_nothing_is_read_for_a_guest_that_asks_for_nothing() -> None:
    assert facts(Guest()) == TuningFacts() and found(Guest()) == {}


def test_whole_cores_near_the_device_have_nothing_against_them() -> None:
    assert found(GUEST) == {}


@pytest.mark.parametrize(
    ("guest", "code", "severity"),
    [
        (Guest(vcpupin=("8",)), "cpu-not-online", Severity.REFUSAL),
        (Guest(emulatorpin="0,9"), "cpu-not-online", Severity.REFUSAL),
        (Guest(isolated_cpus="2-8"), "cpu-not-online", Severity.REFUSAL),
        (Guest(isolated_cpus="0-7", vcpupin=("0-7",)), "cpus-all-isolated", Severity.REFUSAL),
        (Guest(isolated_cpus="0-1", vcpupin=("0-1",)), "cpu-0-isolated", Severity.WARNING),
        (Guest(isolated_cpus="2-3", vcpupin=("2",)), "isolated-idle", Severity.WARNING),
        (Guest(isolated_cpus="2-3", vcpupin=("2-3",)), "isolated-not-balanced", Severity.WARNING),
        (Guest(cores=2, vcpupin=("2", "2")), "vcpus-share-cpu", Severity.WARNING),
        (Guest(vcpupin=("2",)), "sibling-threads", Severity.NOTE),
        (Guest(vcpupin=("1",)), "numa-distance", Severity.WARNING),
        (Guest(memory=15 * 1024 + 512, hugepages=HugePages.M2), "hugepages-size", Severity.REFUSAL),
        (Guest(memory=15 * 1024 + 512, hugepages=HugePages.G1), "hugepages-memory", Severity.REFUSAL),
    ],
)
def test_what_is_wrong_is_named(guest: Guest, code: str, severity: Severity) -> None:
    assert found(guest).get(code) == severity


def test_a_sibling_that_is_kept_free_disturbs_nobody() -> None:
    assert "sibling-threads" not in found(Guest(vcpupin=("2",), isolated_cpus="2,6"))


def test_a_cpu_without_such_pages_is_named_by_its_flag() -> None:
    tree = {**TREE, "/proc/cpuinfo": b"flags\t\t: fpu vmx\n"}
    guest = Guest(memory=4096, hugepages=HugePages.G1)
    assert found(guest, tree) == {"hugepages-size": Severity.REFUSAL}


CPUS = HostCpus(tuple(range(8)), isolated=(2, 3), nohz_full=(2, 3))
POOL = Pool(HugePages.G1, True, 4, 4, True, 16000, 8000)


@pytest.mark.parametrize(
    ("cpus", "pool", "codes"),
    [
        (CPUS, POOL, []),
        (dataclasses.replace(CPUS, isolated=None, nohz_full=None), POOL, []),
        (dataclasses.replace(CPUS, isolated=(2,)), POOL, ["cpus-not-isolated"]),
        (dataclasses.replace(CPUS, nohz_full=None), POOL, ["cpus-not-tickless"]),
        (CPUS, dataclasses.replace(POOL, total=3), ["hugepages-not-set-aside"]),
    ],
)
def test_after_the_boot_the_kernel_is_asked_what_it_made_of_it(cpus: HostCpus, pool: Pool, codes: list[str]) -> None:
    guest = Guest(memory=4096, hugepages=HugePages.G1, isolated_cpus="2-3", vcpupin=("2",))
    assert [each.code for each in after_boot.findings(guest, TuningFacts(cpus, pool))] == codes
