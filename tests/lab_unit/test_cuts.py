"""What the lab calls lost after a power cut, and how it spreads the cuts."""

from __future__ import annotations

import random

import pytest

from tests.lab_unit.labkit import module

acknowledged = module("acknowledged")
quota = module("quota")
cuts = module("cuts")

Event = acknowledged.Event
HEAD = (7, "aa")
BASE = Event(7, "aa", "transition", False, "checked")
DEED = Event(8, "bb", "intent", False, "")
UNDO = Event(9, "cc", "intent", True, "")
MOVE = Event(10, "dd", "transition", False, "modules_loaded")


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([BASE], "TOLD:modules_loaded:\r\n"),
        ([BASE, DEED], "TOLD:  edit /etc/modules\r\nTOLD:    done (2 s)\r\n"),
        ([BASE, DEED], "TOLD:  edit /etc/modules\r\nTOLD:  take back: /etc/modules\r\n"),
        ([BASE, DEED, UNDO, MOVE], "TOLD:  edit /etc/modules\r\nTOLD:state: modules_loaded\r\n"),
        ([BASE, DEED], "[    9.1] vfio: kernel\r\n"),
    ],
)
def test_what_was_told_and_is_in_the_journal_is_not_lost(events: list[object], said: str) -> None:
    assert acknowledged.missing(HEAD, events, said) == []


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], ""),
        ([Event(7, "ee", "transition", False, "checked")], ""),
        ([BASE], "TOLD:  edit /etc/modules\r\n"),
        ([BASE, DEED], "TOLD:  edit /etc/modules\r\nTOLD:  run command update-grub\r\n"),
        ([BASE, DEED], "TOLD:  take back: a\r\nTOLD:  take back: b\r\n"),
        ([BASE, DEED], "TOLD:state: modules_loaded\r\n"),
    ],
)
def test_what_was_told_and_is_not_in_the_journal_is_lost(events: list[object], said: str) -> None:
    assert acknowledged.missing(HEAD, events, said) != []


def test_without_a_journal_nothing_can_be_lost() -> None:
    assert acknowledged.missing((0, ""), [], "TOLD:checked:\r\n") == []


def test_the_last_state_of_the_journal_is_the_state() -> None:
    rolled_back = Event(11, "ee", "rollback_finished", False, "new")
    assert acknowledged.state_after("new", True, [BASE]) == ("checked", False)
    assert acknowledged.state_after("new", True, [BASE, DEED, MOVE]) == ("modules_loaded", False)
    assert acknowledged.state_after("running", False, [MOVE, rolled_back]) == ("new", True)


@pytest.mark.parametrize("wanted", [1, 13, 100, 137])
def test_every_step_gets_its_share_and_all_shares_are_what_was_wanted(wanted: int) -> None:
    plan = quota.Quota(wanted, random.Random(3))
    shares = [plan.share(label) for label in quota.NOMINAL]
    assert sum(shares) == wanted == plan.all_left()
    assert max(shares) - min(shares) <= 1


def test_the_moments_of_a_step_lie_within_it_and_are_spread_over_it() -> None:
    plan = quota.Quota(len(quota.NOMINAL) * 8, random.Random(5))
    moments = [plan.claim("stubbed") for _ in range(8)]
    assert plan.claim("stubbed") is None
    assert all(0 <= moment < quota.NOMINAL["stubbed"] for moment in moments)
    assert len({int(moment / quota.NOMINAL["stubbed"] * 4) for moment in moments}) == 4


def test_lives_turn_until_every_label_had_its_cuts() -> None:
    plan = quota.Quota(100, random.Random(7))
    for _ in range(40):
        turn = plan.turn()
        way = ["checked", *quota.TURNS[: quota.TURNS.index(turn) + 1]]
        for label in [*way, quota.BACK[turn], *([quota.FINISH] if "rebooted" in way else [])]:
            plan.claim(label)
            plan.claim(label)
    assert plan.all_left() == plan.left(quota.BOOT) > 0
    assert plan.boot_chance() == 1


def test_a_cut_that_nobody_looked_at_is_counted_as_neither_good_nor_bad() -> None:
    done = quota.Cut(1, "checked", 1, 1, 0.0, 5.0, booted=True, examined=True, whole=True, found="nothing begun")
    broken = quota.Cut(2, "checked", 1, 1, 0.0, 5.0, booted=True, examined=True, whole=False)
    dead = quota.Cut(3, "checked", 1, 1, 0.0, 5.0, examined=True, unbootable=True)
    open_ones = [quota.Cut(4, "bound", 2, 1, 0.0, 5.0), quota.Cut(5, "bound", 2, 1, 0.0, 5.0, booted=True)]
    text = cuts.table([done, broken, dead, *open_ones], [], [], 60.0)
    assert "3 power cuts, unbootable 1, damaged 1, lost 0" in text
    assert "2 more after which nothing was looked at" in text
