"""`journal show` in part, as lines of JSON, and on and on."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.badinput.support import Running, copy, run, start
from tests.project.test_rooms import TOP
from tests.report.test_explain import Histories


def lines(machine: Path, *argv: str) -> list[dict[str, Any]]:
    """What is shown, as JSON."""
    return [json.loads(line) for line in run(machine, "journal", "show", "--json", *argv).is_(0).out.splitlines()]


def test_each_filter_leaves_what_it_names_and_they_go_together(histories: Histories) -> None:
    machine = histories["refused"]
    every = lines(machine)
    first, second = dict.fromkeys(line["setup"] for line in every)
    assert {line["schema"] for line in every} == {"vfiostate.journal-event/1"}
    for argv, wanted in (
        (["--setup", first], [line for line in every if line["setup"] == first]),
        (["--boot", "1"], [line for line in every if line["boot"] == 1]),
        (["--boot", "-1"], [line for line in every if line["boot"] == 2]),
        (["--boot", "0"], [line for line in every if line["boot"] == 3]),
        (["--step", "bound"], [line for line in every if line["step"] == "bound"]),
        (["--kind", "transition"], [line for line in every if line["kind"] == "transition"]),
        (["--kind", "transition", "--kind", "step-refused", "--setup", second[:5]], every[-1:]),
        (["--step", "stubbed", "--last", "1"], [line for line in every if line["step"] == "stubbed"][-1:]),
    ):
        assert wanted and lines(machine, *argv) == wanted, argv
    assert lines(machine, "--setup", second, "--kind", "intent") == []
    run(machine, "journal", "show", "--boot", "9").is_(64, "Name one from 1 to 3")
    run(machine, "journal", "show", "--kind", "nonsense").is_(64, "step_failed")
    run(machine, "journal", "show", "--setup", "").is_(64, first)


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_jq_takes_the_lines(histories: Histories) -> None:
    shown = run(histories["failed"], "journal", "show", "--json").out
    asked = ["jq", "-r", 'select(.kind == "transition") | .result']
    said = subprocess.run(asked, input=shown, capture_output=True, text=True, check=True).stdout.split("\n")
    assert said[:2] == ["new -> checked", "checked -> modules_loaded"]


def shown(following: Running) -> str:
    """What it has printed so far."""
    with open(f"/proc/self/fd/{following.streams[0]}", "rb") as file:
        return file.read().decode()


def until(following: Running, words: str) -> None:
    """Wait for these words of it."""
    deadline = time.monotonic() + 50
    while words not in shown(following):
        assert time.monotonic() < deadline, shown(following)
        time.sleep(0.05)


def test_what_is_appended_is_shown_as_it_comes_until_a_signal(histories: Histories, tmp_path: Path) -> None:
    machine = copy(histories["failed"], tmp_path / "machine")
    following = start("--simulate", str(machine), "journal", "show", "--follow", "--last", "2")
    until(following, "refused")
    assert "setup" not in shown(following)
    run(machine, "rollback").is_(0)
    until(following, "rollback finished")
    following.send(signal.SIGINT)
    said = following.end().is_(130).out.splitlines()
    assert [line.split()[0] for line in said[1:]] == sorted((line.split()[0] for line in said[1:]), key=int)
    assert any("undo: edit /etc/modules" in line and line.endswith("begun") for line in said)
    assert any("undo: edit /etc/modules" in line and "done" in line for line in said)


def test_followed_lines_of_json_are_filtered_too_and_the_journal_is_not_held(
    histories: Histories, tmp_path: Path
) -> None:
    machine = copy(histories["failed"], tmp_path / "machine")
    following = start("--simulate", str(machine), "journal", "show", "-f", "--json", "--kind", "transition")
    until(following, "modules_loaded -> stubbed")
    run(machine, "rollback", "--to", "checked").is_(0)
    until(following, "stubbed -> checked")
    following.send(signal.SIGTERM)
    assert {json.loads(line)["kind"] for line in following.end().is_(143).out.splitlines()} == {"transition"}


def test_a_journal_that_is_moved_away_ends_the_following(histories: Histories, tmp_path: Path) -> None:
    machine = copy(histories["failed"], tmp_path / "machine")
    following = start("--simulate", str(machine), "journal", "show", "--follow")
    until(following, "refused")
    (machine / "var/lib/vfiostate").rename(machine / "var/lib/vfiostate.old")
    following.end().is_(1, "moved away or replaced").with_hint()


def test_following_ends_with_its_reader(histories: Histories) -> None:
    script = "import sys; from engine.__main__ import main; sys.exit(main())"
    argv = ["--simulate", str(histories["failed"]), "journal", "show", "--follow"]
    following = subprocess.Popen([sys.executable, "-c", script, *argv], cwd=TOP, stdout=subprocess.PIPE)
    assert following.stdout is not None and following.stdout.readline()
    following.stdout.close()
    assert following.wait(timeout=50) == 0
