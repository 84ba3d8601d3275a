"""isolcpus=, nohz_full=, rcu_nocbs= and hugepages=: appended once, the user's own kept or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps import cmdline
from steps.cmdline import Wanted, is_safe, parsed, split
from steps.config import Config, Device, Guest, HugePages, Stub
from steps.tuning import cpulist, words
from steps.tuning.words import Tuning

SETUP = "0123456789ab"
ISOLATED = Tuning((2, 3, 4, 5))
GIGANTIC = Tuning(gigantic=4)


def merged(line: str, tuning: Tuning) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is appended besides the setup's token, and what was there."""
    found = cmdline.merge(split(line.encode()), Wanted(SETUP, Stub.VFIO_PCI, (), tuning=tuning))
    return found.tokens[1:], found.adopted


def codes(line: str, tuning: Tuning) -> list[str]:
    """What stands against it."""
    return [each.code for each in words.objections(tuning, parsed(split(line.encode())), "/etc/default/grub")]


@pytest.mark.parametrize(
    ("line", "appended"),
    [
        ("quiet splash", ("isolcpus=2-5", "nohz_full=2-5", "rcu_nocbs=2-5")),
        ("isolcpus=2-5", ("nohz_full=2-5", "rcu_nocbs=2-5")),
        ("isolcpus=2,3,4,5 nohz-full=5,2-4", ("rcu_nocbs=2-5",)),
        ("isolcpus=domain,managed_irq,2-5", ("nohz_full=2-5", "rcu_nocbs=2-5")),
        ("rcu_nocbs=1-6", ("isolcpus=2-5", "nohz_full=2-5")),
        ("rcu_nocbs", ("isolcpus=2-5", "nohz_full=2-5")),
        ("rcu_nocbs=all", ("isolcpus=2-5", "nohz_full=2-5")),
        ("rcu_nocbs=1,2", ("isolcpus=2-5", "nohz_full=2-5", "rcu_nocbs=1-5")),
        ("-- isolcpus=7", ("isolcpus=2-5", "nohz_full=2-5", "rcu_nocbs=2-5")),
    ],
)
def test_cpus_are_isolated_by_words_that_are_not_there_yet(line: str, appended: tuple[str, ...]) -> None:
    assert merged(line, ISOLATED)[0] == appended
    assert codes(line, ISOLATED) == []


@pytest.mark.parametrize(
    "line",
    [
        "isolcpus=2-4",
        "isolcpus=2-6",
        "isolcpus=nohz,2-5",
        "isolcpus=managed_irq,2-5",
        "nohz_full=1-5",
        "isolcpus=2-N",
        "isolcpus=2-5 isolcpus=6",
        "isolcpus=",
        "isolcpus",
    ],
)
def test_other_cpus_of_the_users_are_refused_for_the_kernel_keeps_the_first(line: str) -> None:
    assert codes(line, ISOLATED) == ["isolation-conflict"]


@pytest.mark.parametrize(
    ("line", "appended"),
    [
        ("quiet", ("hugepagesz=1G", "hugepages=4")),
        ("hugepagesz=1G hugepages=4", ()),
        ("hugepagesz=1048576K hugepages=6", ()),
        ("default_hugepagesz=1G hugepages=8", ()),
        ("hugepages=8 default_hugepagesz=1G", ()),
        ("hugepagesz=1G hugepages=0:2,1:3", ()),
        ("default_hugepagesz=1G", ("hugepagesz=1G", "hugepages=4")),
        ("hugepages=512", ("hugepagesz=1G", "hugepages=4")),
        ("hugepagesz=2M hugepages=512", ("hugepagesz=1G", "hugepages=4")),
    ],
)
def test_pages_are_set_aside_by_words_that_are_not_there_yet(line: str, appended: tuple[str, ...]) -> None:
    assert merged(line, GIGANTIC)[0] == appended
    assert codes(line, GIGANTIC) == []


@pytest.mark.parametrize(
    "line",
    [
        "hugepagesz=1G hugepages=3",
        "default_hugepagesz=1G hugepages=3",
        "hugepagesz=1G",
        "hugepagesz=1G hugepages=many",
        "hugepagesz=1G hugepages=0:1,1:2",
        "hugepagesz=1G hugepagesz=2M hugepages=512",
    ],
)
def test_too_few_pages_of_the_users_are_refused_for_the_kernel_takes_a_size_once(line: str) -> None:
    assert codes(line, GIGANTIC) == ["hugepages-conflict"]


@given(
    st.lists(
        st.sampled_from(["isolcpus=2-5", "isolcpus=1", "nohz_full=2-5", "rcu_nocbs=0-1", "quiet", "hugepages=9"])
        | st.sampled_from(["hugepagesz=1G", "hugepagesz=2M", "default_hugepagesz=1G", "rcu_nocbs", "isolcpus=nohz,3"]),
        max_size=6,
    )
)
def test_what_is_appended_is_safe_doubles_nothing_and_is_appended_once(there: list[str]) -> None:
    tuning = Tuning((2, 3, 4, 5), gigantic=4)
    wanted = Wanted(SETUP, Stub.VFIO_PCI, (), tuning=tuning)
    tokens = cmdline.merge(there, wanted).tokens
    assert all(is_safe(token) for token in tokens)
    after = [*there, *tokens]
    for name in ("isolcpus", "nohz_full"):
        ours = [token for token in tokens if token.startswith(name)]
        assert not ours or not any(word.startswith(name) for word in there)
    assert not {"hugepagesz=1G"} & set(there) & set(tokens)
    assert cmdline.merge(after, wanted).tokens == ()
    if not list(words.objections(tuning, parsed(there), "here")):
        assert (words.pages(parsed(after))[HugePages.G1] or 0) >= 4
        assert set(tuning.isolated) <= set(cpulist.parse(cmdline.values(after, "isolcpus")[0]))


def test_only_what_the_kernel_is_built_with_is_asked_of_it() -> None:
    config = Config((Device("0000:01:00.0", "10de:1200"),), guest=Guest(isolated_cpus="2-5", vcpupin=("2",)))
    assert words.wanted(config, None).parameters == ("isolcpus", "nohz_full", "rcu_nocbs")
    assert words.wanted(config, b"CONFIG_NO_HZ_FULL=y\n# CONFIG_RCU_NOCB_CPU is not set\n").parameters == (
        "isolcpus",
        "nohz_full",
    )
    assert words.wanted(config, b"CONFIG_NO_HZ_FULL=n\n").parameters == ("isolcpus",)


def test_a_guest_without_such_keys_asks_nothing_of_the_boot() -> None:
    config = Config((), guest=Guest(hugepages=HugePages.M2, vcpupin=("1",)))
    assert merged("isolcpus=7 hugepagesz=1G", words.wanted(config, None)) == ((), ())
    assert words.wanted(Config(()), None) == Tuning()
