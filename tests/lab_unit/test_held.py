"""The comparison of the simulated machine with the lab, on histories of a few events."""

from __future__ import annotations

from typing import Any

from tests.lab_unit.labkit import module

held = module("held")

DIGEST, OTHER = "a" * 64, "b" * 64


def event(kind: str, setup: str = "0123456789ab", **data: Any) -> dict[str, Any]:
    return {"kind": kind, "step": "bound", "setup": setup, "at": setup, "hash": setup, "data": data}


def test_the_same_history_is_compared_leaf_by_leaf_and_does_not_differ() -> None:
    one = held.compare([event("outcome", result="done", errno=None)], [event("outcome", result="done", errno=None)])
    assert one.compared >= 2 and one.differences == ()


def test_another_error_number_is_a_difference() -> None:
    one = held.compare([event("outcome", errno=16)], [event("outcome", errno=22)])
    assert [(each.leaf, each.lab, each.simulated) for each in one.unexplained] == [("data.errno", "16", "22")]


def test_an_event_that_only_one_of_them_has_is_a_difference() -> None:
    one = held.compare([event("outcome"), event("noticed")], [event("outcome")])
    assert [(each.event, each.lab) for each in one.unexplained] == [("noticed bound", "is there")]


def test_setups_and_digests_may_be_others_as_long_as_they_are_the_same_among_themselves() -> None:
    lab = [
        event("intent", "aaaaaaaaaaaa", before=DIGEST, token="vfiostate.setup=aaaaaaaaaaaa"),
        event("outcome", after=DIGEST),
    ]
    same = [
        event("intent", "cccccccccccc", before=OTHER, token="vfiostate.setup=cccccccccccc"),
        event("outcome", after=OTHER),
    ]
    assert held.compare(lab, same).differences == ()
    changed = [same[0], event("outcome", after=DIGEST)]
    assert [each.leaf for each in held.compare(lab, changed).unexplained] == ["data.after"]


def test_text_that_is_json_is_looked_into() -> None:
    one = held.compare(
        [event("remember", devices='{"a": {"group": 7}}')], [event("remember", devices='{"a": {"group": 8}}')]
    )
    assert [each.leaf for each in one.unexplained] == ["data.devices.a.group"]


def test_the_table_names_both_values() -> None:
    text = held.table({"row": held.compare([event("outcome", errno=16)], [event("outcome", errno=22)])})
    assert "lab        16" in text and "simulated  22" in text
