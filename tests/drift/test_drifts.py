"""Whatever changed behind our back is named by `audit` and `status`, decided about by `advance` and `rollback`, told by
the journal, and never overwritten: a row for each drift."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from journal.events import Kind
from steps.base import State
from tests.badinput.support import At, events, run, unchanged
from tests.drift.drifts import OVERRIDE, TABLE, Drift

ROWS = [
    pytest.param(
        row,
        id=row.name.replace(" ", "-"),
        marks=pytest.mark.skipif("owner" in row.name and os.geteuid() != 0, reason="only root gives files away"),
    )
    for row in TABLE
]


def audited(machine: Path) -> dict[str, Any]:
    """What `audit --json` says."""
    found: dict[str, Any] = json.loads(run(machine, "audit", "--json").out)
    return found


def kept(machine: Path, row: Drift) -> dict[str, bytes]:
    """What the user left."""
    return {name: (machine / name).read_bytes() for name in row.theirs}


def without_ours(machine: Path, content: bytes) -> bytes:
    """A content without the words that `rebooted` put into it."""
    setup = str(json.loads(run(machine, "status", "--json").out)["setup"])
    begin = content.index(f" vfiostate.setup={setup}".encode())
    end = content.index(b'"', begin)
    return content[:begin] + content[end:]


@pytest.mark.parametrize("state", [one.value for one in State])
def test_without_drift_there_is_no_difference_in_any_state(at: At, state: str) -> None:
    machine = at(state)
    run(machine, "audit").is_(0, "nothing is promised" if state == "new" else "no difference")
    assert run(machine, "audit", "--quiet").is_(0).text == ""
    found = audited(machine)
    assert found["ok"] and found["differences"] == [] and found["state"] == state
    if state != "new":
        run(machine, "status").is_(0, "drift")


@pytest.mark.parametrize("row", ROWS)
def test_a_drift_is_named_decided_about_told_later_and_never_overwritten(at: At, row: Drift) -> None:
    machine = at(row.state)
    row.produce(machine)
    _named(machine, row)
    _going_on(machine, row, kept(machine, row))
    machine = at(row.state)
    row.produce(machine)
    _going_back(machine, row, kept(machine, row))


def shows(row: Drift) -> str:
    """What `status` shows of it."""
    return row.where if row.status is None else row.status


def _named(machine: Path, row: Drift) -> None:
    """`audit` and `status`; neither changes anything, nor writes into the journal."""
    before = len(events(machine))
    with unchanged(machine):
        answer = run(machine, "audit", "--quiet").is_(4)
        found = next(one for one in audited(machine)["differences"] if one["code"] == row.code)
        shown = run(machine, "status")
    lines = [line for line in answer.out.splitlines() if f"({row.code})" in line]
    assert len(lines) == 1, answer.text
    assert found["where"] == row.where
    for part in (found["where"], found["promised"], found["found"], found["hint"]):
        assert part and " ".join(part.split()) in lines[0]
    assert f", event {found['since']}:" in lines[0] or row.code == "guest-stopped"
    assert shown.code == (4 if shows(row) else 0), shown.text
    assert shows(row) in shown.out
    assert len(events(machine)) == before


def _going_on(machine: Path, row: Drift, theirs: dict[str, bytes]) -> None:
    override = (machine / OVERRIDE).read_text()
    if row.advance in (3, 4):
        with unchanged(machine):
            answer = run(machine, "advance").is_(row.advance)
    else:
        answer = run(machine, "advance").is_(row.advance)
    if row.code != "guest-stopped":
        assert shows(row) in answer.text, answer.text
    assert kept(machine, row) == theirs
    if "nouveau" in override:
        assert (machine / OVERRIDE).read_text() == override
    told = {Kind.DRIFT_FOUND, Kind.STEP_REFUSED, Kind.HOST_REBOOTED}
    if shows(row) or row.advance == 4:
        assert told & {event.kind for event in events(machine)}
        assert "drift" in run(machine, "journal", "show").out
    run(machine, "journal", "verify").is_(0)


def _going_back(machine: Path, row: Drift, theirs: dict[str, bytes]) -> None:
    override = (machine / OVERRIDE).read_text()
    expected = {name: without_ours(machine, what) if row.ours_in_it else what for name, what in theirs.items()}
    if row.rollback == 4:
        with unchanged(machine):
            run(machine, "rollback").is_(4, row.where).with_hint()
    else:
        run(machine, "rollback").is_(row.rollback)
    assert kept(machine, row) == expected
    if "nouveau" in override:
        assert (machine / OVERRIDE).read_text() == override
    if shows(row):
        assert any(event.kind is Kind.DRIFT_FOUND for event in events(machine))
    run(machine, "journal", "verify").is_(0)
