"""How long commands take, learnt from the journal: of this host, of the same words, of runs that ended well."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.cli import main
from engine.durations import LATEST, Durations, learn
from journal.events import Event, Json, Kind
from steps.actions import Keep, RunCommand

HOST = "h" * 64


def event(seq: int, kind: Kind, data: dict[str, Json], setup: str = "a") -> Event:
    return Event(seq, "", "", "0", kind, setup, None, 0, data, "", "")


def run(
    seq: int, seconds: float | None, *, argv: str = "update-grub", result: str = "done", setup: str = "a"
) -> list[Event]:
    said: dict[str, Json] = {"intent": seq, "result": result}
    if seconds is not None:
        said["seconds"] = seconds
    action: Json = {"type": "run_command", "argv": [argv]}
    return [event(seq, Kind.INTENT, {"action": action}, setup), event(seq + 1, Kind.OUTCOME, said, setup)]


def of(*events: list[Event]) -> Durations:
    return learn((one for each in events for one in each), HOST)


def test_the_median_of_the_latest_runs_is_expected() -> None:
    assert of(run(1, 4.0), run(3, 90.0), run(5, 6.0)).expected(("update-grub",)) == 6.0
    old = [run(2 * number, 1000.0) for number in range(1, 9)]
    new = [run(2 * number, 5.0) for number in range(20, 20 + LATEST)]
    assert of(*old, *new).expected(("update-grub",)) == 5.0


def test_a_run_that_failed_or_was_not_timed_teaches_nothing() -> None:
    assert of(run(1, 4.0, result="failed"), run(3, None)).expected(("update-grub",)) is None


def test_other_words_are_another_command() -> None:
    assert of(run(1, 4.0, argv="update-grub2")).expected(("update-grub",)) is None


def test_the_runs_of_another_host_in_a_shared_journal_do_not_count() -> None:
    there = event(1, Kind.SETUP_CREATED, {"host": "x" * 64}, "b")
    here = event(2, Kind.SETUP_CREATED, {"host": HOST}, "a")
    assert of([there, here], run(3, 99.0, setup="b"), run(5, 2.0)).expected(("update-grub",)) == 2.0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "under 1 s (1 earlier run here)"),
        (12.4, "about 12 s (1 earlier run here)"),
        (400.0, "about 7 min (1 earlier run here)"),
    ],
)
def test_what_is_expected_is_said_in_words(seconds: float, said: str) -> None:
    action = RunCommand(("update-grub",), "why", Keep("no"))
    assert of(run(1, seconds)).words(action) == said


def test_a_new_command_says_its_limit_where_it_may_take_long() -> None:
    assert (
        Durations().words(RunCommand(("x",), "why", Keep("no"), timeout=900.0))
        == "not known yet; given up after 15 min"
    )
    assert Durations().words(RunCommand(("x",), "why", Keep("no"), timeout=600.0)) == ""


def test_a_command_that_ran_once_is_expected_to_take_as_long_the_next_time(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    machine = str(tmp_path / "m")
    for argv in (
        ["machine", "create"],
        ["init", "--device", "03:00.0", "--device", "03:00.1", "--stub", "pci-stub"],
        ["advance", "--until", "stubbed"],
        ["rollback"],
    ):
        assert main(["--simulate", machine, *argv]) == 0
    capfd.readouterr()
    assert main(["--simulate", machine, "plan", "--all"]) == 0
    said = capfd.readouterr().out
    after = said[said.index("  run update-grub\n") :].splitlines()
    assert re.match(r" +takes: (under 1 s|about \d+ s) \(1 earlier run here\)", after[2]), after[:4]
