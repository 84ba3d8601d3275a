"""A pinned guest in huge pages on isolated CPUs, the whole way there and back through the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.hosts.simulated import SimulatedHost
from steps.tuning import cpulist
from tests.badinput.support import CONFIG, GRUB, At, copy, faults, manifest, run, state
from tests.field.support import LAB, Description, attribute, made, reboot, refused, replaced, words

KEYS = """[guest]
vcpupin = ["2", "3", "6", "7"]
emulatorpin = "0-1"
isolated_cpus = "2-3,6-7"
hugepages = "{pages}"
"""
OURS = ["isolcpus=2-3,6-7", "nohz_full=2-3,6-7", "rcu_nocbs=2-3,6-7"]
PAGES_2M = "sys/kernel/mm/hugepages/hugepages-2048kB"
PAGES_1G = "sys/kernel/mm/hugepages/hugepages-1048576kB"


def big(description: Description) -> None:
    """Eight threads on four cores, pages of 1G, a kernel that can do without a tick."""
    description |= {"threads": 8, "smt": 2, "memory": 16384}
    description["cpu_flags"].append("pdpe1gb")
    description["kernels"][0]["config"] |= {"CONFIG_NO_HZ_FULL": "y", "CONFIG_RCU_NOCB_CPU": "y"}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`new` and, with pages of 2M, `bound`."""
    base = tmp_path_factory.mktemp("tuning")
    machine = made(base, "debian12-lab", *LAB, "--memory=4096", "--cores=2", "--threads=2", change=big)
    replaced(machine / CONFIG, "[guest]\n", KEYS.format(pages="2M"))
    new = copy(machine, base / "new")
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    run(machine, "advance", "--until", "bound").is_(0)
    return {"new": new, "bound": machine}


@pytest.fixture
def at(places: dict[str, Path], tmp_path: Path) -> Iterator[At]:
    """A copy of the machine at one of the places; what runs on it is ended."""
    used: list[Path] = []

    def copied(place: str) -> Path:
        used.append(copy(places[place], tmp_path / place))
        return used[-1]

    yield copied
    for machine in used:
        SimulatedHost(machine).kill("guest", timeout=5.0)


def gigantic(machine: Path) -> Path:
    """The same with pages of 1G."""
    replaced(machine / CONFIG, 'hugepages = "2M"', 'hugepages = "1G"')
    return machine


def number(machine: Path, path: str) -> int:
    """What a pool has."""
    return int((machine / path).read_text())


def allowed(machine: Path) -> list[str]:
    """The CPUs of the guest's process and of its vCPUs, in order, as the kernel shows them."""
    pid = SimulatedHost(machine).alive("guest")
    assert pid is not None
    statuses = sorted((machine / f"proc/{pid}/task").iterdir(), key=lambda one: int(one.name))
    return [(one / "status").read_text().split("Cpus_allowed_list:")[1].strip() for one in statuses]


def test_a_guest_is_pinned_and_in_huge_pages_and_all_of_it_is_given_back(at: At, places: dict[str, Path]) -> None:
    machine = at("bound")
    assert [word for word in words(machine) if word in OURS] == OURS
    assert (machine / "sys/devices/system/cpu/isolated").read_text().strip() == "2-3,6-7"
    plan = run(machine, "plan").is_(0).out
    for line in ("pin the vCPUs of guest: 0 on 2, 1 on 3, 2 on 6, 3 on 7", "runs on CPUs 0-1", "nr_hugepages"):
        assert line in plan
    run(machine, "advance").is_(0)
    assert state(machine) == "running"
    assert allowed(machine) == ["0-1", "2", "3", "6", "7"]
    assert (number(machine, f"{PAGES_2M}/nr_hugepages"), number(machine, f"{PAGES_2M}/free_hugepages")) == (2048, 0)
    run(machine, "audit").is_(0)
    run(machine, "rollback", "--to", "bound").is_(0)
    assert number(machine, f"{PAGES_2M}/nr_hugepages") == 0
    assert "hugetlbfs" not in (machine / "proc/mounts").read_text()
    assert not (machine / "run/vfiostate-hugepages-2M").exists()
    run(machine, "rollback").is_(3)
    reboot(machine)
    run(machine, "rollback").is_(0)
    assert manifest(machine) == manifest(places["new"])
    assert (machine / "sys/devices/system/cpu/isolated").read_text().strip() == ""


def test_pages_of_1g_are_set_aside_by_the_boot_and_given_back_with_it(at: At, places: dict[str, Path]) -> None:
    machine = gigantic(at("new"))
    before = manifest(machine)
    run(machine, "advance", "--until", "stubbed").is_(0)
    assert "hugepagesz=1G hugepages=4" in run(machine, "journal", "show").out or "hugepagesz=1G hugepages=4" in (
        (machine / "etc/grub.d/42_vfiostate").read_text()
    )
    reboot(machine)
    assert number(machine, f"{PAGES_1G}/nr_hugepages") == 4
    run(machine, "advance", "--until", "running").is_(0)
    assert number(machine, f"{PAGES_1G}/free_hugepages") == 0
    assert "pagesize=1024M" in (machine / "proc/mounts").read_text()
    run(machine, "rollback").is_(3)
    reboot(machine)
    run(machine, "rollback").is_(0)
    assert manifest(machine) == before
    assert number(machine, f"{PAGES_1G}/nr_hugepages") == 0


def test_the_users_own_words_that_the_kernel_would_keep_are_refused_at_the_first_step(at: At) -> None:
    machine = gigantic(at("new"))
    replaced(machine / GRUB, '="', '="isolcpus=4-5 hugepagesz=1G hugepages=2 ')
    refused(machine, "isolation-conflict", "isolcpus=4-5", "2-3,6-7")
    refused(machine, "hugepages-conflict", "needs 4")


def test_the_users_own_words_that_say_the_same_stay_and_are_not_doubled(at: At, tmp_path: Path) -> None:
    machine = at("new")
    replaced(machine / GRUB, '="', '="isolcpus=2-3,6-7 rcu_nocbs=1 ')
    before = (machine / GRUB).read_bytes()
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    run(machine, "advance", "--no-trial").is_(0, "isolcpus=2-3,6-7 is there already and stays")
    value = (machine / GRUB).read_text()
    assert value.count("isolcpus=") == 1 and "rcu_nocbs=1-3,6-7" in value
    run(machine, "rollback", "--to", "modules_loaded").is_(0)
    assert (machine / GRUB).read_bytes() == before


def test_what_the_guest_has_on_the_kernels_command_line_may_not_change_once_it_was_checked(at: At) -> None:
    machine = at("bound")
    replaced(machine / CONFIG, "memory = 4096", "memory = 2048")
    run(machine, "plan").is_(0)
    for old, new, key in (('"2-3,6-7"', '"2-3"', "isolated_cpus"), ('"2M"', '"1G"', "hugepages, guest.memory")):
        replaced(machine / CONFIG, old, new)
        run(machine, "advance").is_(5, f"The configuration changed after `checked`: guest.{key}.")
        replaced(machine / CONFIG, new, old)
    run(machine, "advance").is_(0)
    assert "The configuration was changed: guest.memory." in run(machine, "journal", "explain").out


def test_cpus_that_are_not_there_are_refused_before_anything_is_changed(at: At) -> None:
    machine = at("new")
    replaced(machine / CONFIG, '"2-3,6-7"', '"2-3,6-11"')
    refused(machine, "cpu-not-online", "8-11")


def test_a_boot_that_found_too_few_pages_does_not_become_the_default(at: At) -> None:
    machine = gigantic(at("new"))
    run(machine, "advance", "--until", "stubbed").is_(0)
    faults(machine, hugepages={"1G": 3})
    reboot(machine)
    refused(machine, "hugepages-not-set-aside", "3 pages of 1G", "needs 4")


def test_a_guest_for_which_the_kernel_finds_too_few_pages_is_taken_back_whole(at: At) -> None:
    machine = at("bound")
    faults(machine, hugepages={"2M": 100})
    run(machine, "advance").is_(1, "unable to map backing store", "the host's memory is in small pieces")
    assert state(machine) == "bound"
    assert number(machine, f"{PAGES_2M}/nr_hugepages") == 0
    assert "hugetlbfs" not in (machine / "proc/mounts").read_text()


def test_pages_that_somebody_else_has_made_since_are_left_to_them(at: At) -> None:
    machine = at("bound")
    run(machine, "advance").is_(0)
    attribute(machine, f"/{PAGES_2M}/nr_hugepages", "3000")
    run(machine, "rollback", "--to", "bound").is_(0)
    assert number(machine, f"{PAGES_2M}/nr_hugepages") == 3000


def test_a_second_start_takes_the_pages_of_the_first_and_all_go_in_the_end(at: At) -> None:
    machine = at("bound")
    run(machine, "advance").is_(0)
    run(machine, "guest", "stop").is_(0)
    assert number(machine, f"{PAGES_2M}/free_hugepages") == 2048
    run(machine, "advance").is_(0)
    assert number(machine, f"{PAGES_2M}/nr_hugepages") == 2048
    run(machine, "rollback", "--to", "bound").is_(0)
    assert number(machine, f"{PAGES_2M}/nr_hugepages") == 0
    assert "hugetlbfs" not in (machine / "proc/mounts").read_text()


def test_a_thread_that_somebody_pins_elsewhere_is_found_by_audit(at: At) -> None:
    machine = at("bound")
    run(machine, "advance").is_(0)
    host = SimulatedHost(machine)
    pid = host.alive("guest")
    assert pid is not None
    host.set_affinity(pid + 2, cpulist.parse("0-7"))
    found = json.loads(run(machine, "audit", "--json").is_(4).out)
    assert "vCPU 1: CPUs 0-7, not 3" in json.dumps(found)
