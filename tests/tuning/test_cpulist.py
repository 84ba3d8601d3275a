"""Lists of CPUs: read as the kernel reads them, written as it prints them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.tuning import cpulist

CPUS = st.frozensets(st.integers(0, cpulist.MOST - 1), max_size=40)


@given(CPUS)
def test_what_is_written_is_read_again(cpus: frozenset[int]) -> None:
    assert cpulist.parse(cpulist.render(cpus)) == tuple(sorted(cpus))


@given(CPUS)
def test_no_two_runs_of_a_list_could_be_one(cpus: frozenset[int]) -> None:
    runs = [part.partition("-") for part in cpulist.render(cpus).split(",") if part]
    ends = [(int(first), int(last or first)) for first, _, last in runs]
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(ends))


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 40)), min_size=1, max_size=8))
def test_ranges_may_overlap_and_come_in_any_order(ranges: list[tuple[int, int]]) -> None:
    text = ",".join(f"{first}-{first + more}" for first, more in ranges)
    assert set(cpulist.parse(text)) == {cpu for first, more in ranges for cpu in range(first, first + more + 1)}


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", (0,)), ("2-4,0\n", (0, 2, 3, 4)), ("", ()), ("\n", ()), ("7-7", (7,))]
)
def test_the_kernels_own_lists_are_read(text: str, cpus: tuple[int, ...]) -> None:
    assert cpulist.parse(text) == cpus


@pytest.mark.parametrize(
    "text", ["4-2", "a", "1,", ",1", "1--2", "-1", "all", "N", "0-15:2/4", "8192", "0-99999", "1 2"]
)
def test_what_is_no_list_here_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="list of CPUs"):
        cpulist.parse(text)
