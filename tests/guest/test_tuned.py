"""A guest's threads and huge pages: planned, pinned, and what the kernel says of them held against what was asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.guests.pinning import pin_threads
from engine.hosts.simulated import SimulatedHost
from steps.actions import PinThreads, StartProcess, WriteAttribute
from steps.base import Finding
from steps.config import Guest, HugePages
from steps.guest import tuned
from steps.guest.access import Account
from steps.guest.tuned import Placed
from steps.run import RunStep
from steps.tuning.check import TuningFacts
from steps.tuning.hugepages import Pool
from tests.guest.support import ARTICLE, bound_machine, brief, order
from tests.support.memory_host import MemoryHost

STEP = RunStep()
PINNED = dataclasses.replace(ARTICLE, cores=2, vcpupin=("4", "5"), emulatorpin="0-1")
HUGE = dataclasses.replace(ARTICLE, hugepages=HugePages.M2)
POOL = Pool(HugePages.M2, True, 600, 88)


@pytest.fixture(params=["1.5.0", "2.12.0", "7.2.22"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SimulatedHost]:
    """The article's machine, bound, with a QEMU of each age of its monitor; what runs on it is ended."""
    made = bound_machine(tmp_path / "machine", qemu=request.param)
    yield made
    made.kill("win7", timeout=5.0)


def test_threads_are_pinned_whichever_question_the_qemu_answers(host: SimulatedHost) -> None:
    told = brief(PINNED)
    actions = STEP.plan(told, STEP.probe(host, told)).actions
    start, pin = (each for each in actions if isinstance(each, StartProcess | PinThreads))
    assert isinstance(start, StartProcess) and isinstance(pin, PinThreads)
    for action in actions[: actions.index(start)]:
        assert host.run(action.argv, timeout=5.0).ok  # type: ignore[union-attr]  # the network's commands
    host.start(start)
    before = [each.code for each in STEP.verify(told, STEP.probe(host, told))]
    assert before == ["threads-not-pinned"]
    assert pin_threads(host, pin) == "2 threads"
    assert STEP.verify(told, STEP.probe(host, told)) == ()
    host.local("/run/vfiostate/win7.qmp").unlink()
    with pytest.raises(ConnectionError, match=r"win7\.qmp"):
        pin_threads(host, pin)
    host.kill("win7", timeout=5.0)
    assert pin_threads(host, pin) == "the guest has ended: there is nothing to pin"


def short(guest: Guest, pool: Pool) -> list[str]:
    """What stands against a start with such a pool."""
    facts = tuned.Tuned(TuningFacts(pool=pool))
    return [each.code for each in tuned.findings(order(guest), facts, None)]


def test_only_the_pages_that_are_lacking_are_made_and_the_number_before_is_given_back() -> None:
    facts = tuned.Tuned(TuningFacts(pool=POOL), mounted=True, uid=0)
    (write,) = tuned.actions(order(HUGE), facts, None, mount=True)
    assert isinstance(write, WriteAttribute)
    assert (write.value, write.undo.value) == ("1024\n", "600\n")  # type: ignore[union-attr]  # a Write
    enough = dataclasses.replace(facts, facts=TuningFacts(pool=dataclasses.replace(POOL, free=512)))
    assert list(tuned.actions(order(HUGE), enough, None, mount=True)) == []


def test_pages_for_which_there_is_no_memory_are_refused_before_the_start() -> None:
    assert short(HUGE, dataclasses.replace(POOL, memory=4096, available=848)) == []
    assert short(HUGE, dataclasses.replace(POOL, memory=4096, available=847)) == ["hugepages-short"]
    big = dataclasses.replace(ARTICLE, memory=4096, hugepages=HugePages.G1)
    assert short(big, Pool(HugePages.G1, True, 4, 4)) == []
    assert short(big, Pool(HugePages.G1, True, 4, 3)) == ["hugepages-short"]


def codes(guest: Guest, placed: Placed) -> list[Finding]:
    """What is wrong with where it runs."""
    return list(tuned.misplaced(order(guest), placed))


@pytest.mark.parametrize(
    ("vcpus", "first", "words"),
    [
        ({0: (4,), 1: (5,)}, (0, 1), None),
        ({0: (4,), 1: (4, 5)}, (0, 1), "vCPU 1: CPUs 4-5, not 5"),
        ({0: (4,)}, (0, 1), "vCPU 1: not there, not 5"),
        ({0: (4,), 1: (5,)}, (0,), "its first thread: CPUs 0, not 0-1"),
        ({0: None, 1: (5,)}, None, "vCPU 0: not there, not 4"),
    ],
)
def test_a_thread_that_is_elsewhere_is_named(
    vcpus: dict[int, tuple[int, ...] | None], first: tuple[int, ...] | None, words: str | None
) -> None:
    found = codes(PINNED, Placed(vcpus, first, None, None))
    assert [each.code for each in found] == ["threads-not-pinned"] * (words is not None)
    assert words is None or words in found[0].evidence


@pytest.mark.parametrize(("used", "right"), [(1024 << 20, True), (1022 << 20, False), (0, False)])
def test_memory_that_qemu_took_elsewhere_is_named(used: int, right: bool) -> None:
    found = codes(HUGE, Placed({}, None, used, POOL))
    assert [each.code for each in found] == ["memory-not-huge"] * (not right)


def test_a_kernel_that_does_not_say_whose_pages_they_are_is_asked_how_many_are_used() -> None:
    assert codes(HUGE, Placed({}, None, None, POOL)) == []
    assert codes(HUGE, Placed({}, None, None, dataclasses.replace(POOL, free=89))) != []


def test_the_kernels_own_words_are_read() -> None:
    status = b"Name:\tqemu\nHugetlbPages:\t 1048576 kB\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n"
    tree = {"/proc/9/status": status, "/proc/9/task/10/status": b"Cpus_allowed_list:\t4\n"}
    placed = tuned.placed(MemoryHost(dict(tree)), order(PINNED), 9, {0: 10, 1: 11})
    assert placed == Placed({0: (4,), 1: None}, tuple(range(8)), 1 << 30, None)


def test_a_mount_for_another_account_is_refused() -> None:
    mounts = b"none /run/vfiostate-hugepages-2M hugetlbfs rw,relatime,uid=7,mode=700,pagesize=2M 0 0\n"
    found = tuned.look(MemoryHost({"/proc/mounts": mounts}), order(HUGE))
    assert found is not None and (found.mounted, found.uid) == (True, 7)
    nobody = Account("nobody", 65534, frozenset())
    assert "hugepages-mount" in [each.code for each in tuned.findings(order(HUGE), found, nobody)]


def test_a_guest_that_is_installed_runs_anywhere() -> None:
    assert tuned.look(MemoryHost({}), order(PINNED, install=True)) is None
    assert list(tuned.pin(order(PINNED, install=True))) == []
