"""Commands that are run for several deeds on the way back: each once, and what is put back after it is of before us."""

from __future__ import annotations

from engine.back.decision import Decision, Way
from engine.back.remake import Remake, remakes
from engine.setup import Deed
from steps.actions import Regenerate, RunCommand
from steps.base import State

MAKE, IMAGES = ("make-entries",), ("make-images",)


def _deed(seq: int, target: State, argv: tuple[str, ...] = MAKE, **before: str) -> Deed:
    records = {path: {"sha256": sha} for path, sha in before.items()}
    return Deed(seq, target, seq, "boot", {"type": "run_command", "argv": list(argv)}, records, {}, "done")


def _anew(deed: Deed, *restore: str, came: tuple[str, ...] = (), also: tuple[str, ...] = ()) -> Decision:
    argvs = (tuple(deed.action["argv"]), *((also,) if also else ()))
    commands = tuple(RunCommand(argv, "made since", Regenerate(argv), tuple(deed.before)) for argv in argvs)
    return Decision(deed, Way.REGENERATE, "made since", commands=commands, restore=restore, came=came)


def _back(one: Remake) -> dict[str, str]:
    return {path: record["sha256"] for path, record in one.restore.items()}


FIRST = _deed(1, State.STUBBED, a="a-before-us", b="b-before-us")
SECOND = _deed(2, State.REBOOTED, a="a-of-the-trial", b="b-of-the-trial", c="c-of-the-trial")


def test_a_command_of_several_deeds_is_run_once_and_says_all_that_it_makes() -> None:
    (one,) = remakes([_anew(SECOND), _anew(FIRST, came=("d",))])
    assert one.action.argv == MAKE
    assert one.action.produces == ("a", "b", "c", "d")
    assert [decision.deed.seq for decision in one.decisions] == [2, 1]


def test_a_file_is_put_back_to_what_it_was_before_the_first_deed_not_the_last() -> None:
    (one,) = remakes([_anew(SECOND, "a", "b"), _anew(FIRST, "a", "b")])
    assert _back(one) == {"a": "a-before-us", "b": "b-before-us"}
    (one,) = remakes([_anew(SECOND, "a", "b"), Decision(FIRST, Way.RESTORE)])
    assert _back(one) == {"a": "a-before-us", "b": "b-before-us"}


def test_a_file_that_one_deed_has_made_anew_is_not_put_back_for_another() -> None:
    (one,) = remakes([_anew(SECOND, "a", "b"), _anew(FIRST, "a")])
    assert set(one.restore) == {"a"}
    other = _deed(3, State.REBOOTED, IMAGES, a="a-of-the-trial", b="b-of-the-trial")
    first, second = remakes([_anew(other, "a", "b"), _anew(FIRST, "a")])
    assert (set(first.restore), set(second.restore)) == ({"a"}, {"a"})


def test_what_others_made_after_the_first_deed_is_not_put_back_to_what_it_was_before_the_second() -> None:
    (one,) = remakes([_anew(SECOND, "a", "b", "c"), _anew(FIRST, "a", "b", came=("c",))])
    assert set(one.restore) == {"a", "b"}


def test_commands_are_run_in_the_order_in_which_they_were_run_last() -> None:
    images = _deed(2, State.STUBBED, IMAGES, i="i-before-us")
    copied = Decision(_deed(3, State.STUBBED), Way.ALREADY_GONE)
    found = remakes([copied, _anew(images), _anew(FIRST)])
    assert [one.action.argv for one in found] == [IMAGES, MAKE]


def test_a_deed_is_settled_by_the_last_of_its_commands() -> None:
    also = ("make-entry", "6.1")
    found = remakes([_anew(SECOND, also=also), _anew(FIRST)])
    assert [(one.action.argv, one.partly) for one in found] == [(MAKE, {2}), (also, frozenset())]
