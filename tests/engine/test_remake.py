"""Commands that are run for several deeds on the way back: each once, and what is put back after it is of before us."""

from __future__ import annotations

from engine.decision import Decision, Way
from engine.remake import remakes
from engine.setup import Deed
from steps.actions import Regenerate, RunCommand
from steps.base import State

MAKE = ("make-entries",)


def _deed(seq: int, target: State, **before: str) -> Deed:
    records = {path: {"sha256": sha} for path, sha in before.items()}
    return Deed(seq, target, seq, "boot", {"type": "run_command"}, records, {}, "done")


def _anew(deed: Deed, *restore: str, argv: tuple[str, ...] = MAKE) -> Decision:
    command = RunCommand(argv, "made since", Regenerate(argv), tuple(deed.before))
    return Decision(deed, Way.REGENERATE, "made since", action=command, restore=restore)


FIRST = _deed(1, State.STUBBED, a="a-before-us", b="b-before-us")
SECOND = _deed(2, State.REBOOTED, a="a-of-the-trial", b="b-of-the-trial", c="c-of-the-trial")


def test_a_command_of_several_deeds_is_run_once_and_says_all_that_it_makes() -> None:
    (one,) = remakes([_anew(SECOND), _anew(FIRST)])
    assert one.action.argv == MAKE
    assert one.action.produces == ("a", "b", "c")
    assert [decision.deed.seq for decision in one.decisions] == [2, 1]


def test_a_file_is_put_back_to_what_it_was_before_the_first_deed_not_the_last() -> None:
    (one,) = remakes([_anew(SECOND, "a", "b"), _anew(FIRST, "a", "b")])
    assert {path: record["sha256"] for path, record in one.restore.items()} == {"a": "a-before-us", "b": "b-before-us"}
    (one,) = remakes([_anew(SECOND, "a", "b"), Decision(FIRST, Way.RESTORE)])
    assert {path: record["sha256"] for path, record in one.restore.items()} == {"a": "a-before-us", "b": "b-before-us"}


def test_a_file_that_one_deed_has_made_anew_is_not_put_back_for_another() -> None:
    (one,) = remakes([_anew(SECOND, "a", "b", "c"), _anew(FIRST, "a")])
    assert set(one.restore) == {"a"}
    (other, one) = remakes([_anew(SECOND, "a", "b", "c", argv=("make-images",)), _anew(FIRST, "a")])
    assert (set(other.restore), set(one.restore)) == ({"a", "c"}, {"a"})
