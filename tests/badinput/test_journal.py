"""A journal that is damaged, of another version, of another host, or none: one answer for each, no byte written."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from journal.events import Kind
from tests.badinput.support import (
    CONFIG,
    JOURNAL,
    At,
    broken_command,
    events,
    last,
    manifest,
    roll_back,
    run,
    unchanged,
    unreadable,
    without_rights,
)

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("status", "--json"),
    ("plan",),
    ("advance",),
    ("rollback",),
    ("journal", "show"),
    ("journal", "verify"),
    ("journal", "export"),
    ("guest", "stop"),
    ("guest", "start"),
)


def _sql(place: Path, *statements: str) -> None:
    with sqlite3.connect(place) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            connection.execute(statement)
    connection.close()


def _overwrite(place: Path, at: float, what: bytes) -> None:
    content = bytearray(place.read_bytes())
    start = int(len(content) * at)
    content[start : start + len(what)] = what
    place.write_bytes(content)


def _another_database(place: Path) -> None:
    place.unlink()
    _sql(place, "CREATE TABLE mine (a)")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "another file": lambda place: place.write_bytes(b"hello\n" * 1000),
    "an empty file": lambda place: place.write_bytes(b""),
    "cut in half": lambda place: os.truncate(place, place.stat().st_size // 2),
    "overwritten": lambda place: _overwrite(place, 0.3, b"\xff" * (place.stat().st_size // 2)),
    "another database": _another_database,
    "newer": lambda place: _sql(place, "PRAGMA user_version = 99"),
    "a row edited": lambda place: _sql(place, "UPDATE events SET body = replace(body, '}', ' }') WHERE seq = 7"),
    "a row deleted": lambda place: _sql(place, "DELETE FROM events WHERE seq = 7"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_journal_stops_every_command_and_is_not_written_to(at: At, what: str) -> None:
    machine = at("stubbed")
    place = machine / JOURNAL
    DAMAGE[what](place)
    content = place.read_bytes()
    with unchanged(machine):
        for argv in COMMANDS:
            answer = run(machine, *argv)
            assert answer.code == 6, (argv, answer.code, answer.text)
            assert "journal" in answer.text, (argv, answer.text)
            if argv[-1] != "verify":
                answer.with_hint()
            assert place.read_bytes() == content, argv
    assert not [name for name in os.listdir(place.parent) if name.startswith("journal.db-")]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("journal verify", "DAMAGED"),
        ("journal report -o report.html", "report.html written"),
        ("journal export", "could be saved"),
    ],
)
def test_a_system_log_that_gives_no_answer_hides_no_damage(
    at: At, monkeypatch: pytest.MonkeyPatch, argv: str, said: str
) -> None:
    machine = at("stubbed")
    monkeypatch.chdir(machine.parent)
    DAMAGE["a row deleted"](machine / JOURNAL)
    broken_command(machine, "journalctl", hangs=True)
    run(machine, *argv.split()).is_(6, said)


def test_a_system_log_that_gives_no_answer_is_told_where_no_head_is_left_to_compare_with(at: At) -> None:
    machine = at("stubbed")
    (machine / "var/log/syslog").unlink()
    broken_command(machine, "journalctl", hangs=True)
    run(machine, "journal", "verify").is_(0, "journalctl: it gave no answer in time")


@pytest.mark.parametrize("argv", [("status",), ("advance",), ("rollback",), ("journal", "verify")])
def test_a_journal_that_cannot_be_read_is_told_from_a_damaged_one(at: At, argv: tuple[str, ...]) -> None:
    machine = at("stubbed")
    (machine / JOURNAL).chmod(0)
    answer = run(machine, *argv, prepare=without_rights).is_(6, "journal").with_hint()
    assert "is damaged" not in answer.text


def test_a_directory_in_the_place_of_the_journal_is_told(at: At) -> None:
    machine = at("stubbed")
    (machine / JOURNAL).unlink()
    (machine / JOURNAL).mkdir()
    for argv in COMMANDS:
        run(machine, *argv).is_(6, "journal")


def test_of_a_journal_that_is_empty_it_is_said_at_once_that_it_is_lost(at: At) -> None:
    machine = at("stubbed")
    (machine / JOURNAL).write_bytes(b"")
    for argv in COMMANDS:
        run(machine, *argv).is_(6, "its restore.sh is: what it changed still stands", "sh ").with_hint()
    (machine / JOURNAL).with_name("restore.sh").unlink()
    for argv in COMMANDS:
        run(machine, *argv).is_(6, "it is empty")
    assert (machine / JOURNAL).read_bytes() == b""


def test_in_a_boot_of_ours_no_journal_is_taken_for_lost_and_none_is_begun(at: At) -> None:
    """As where /var is a file system of its own that was not mounted: restore.sh lies there too."""
    machine = at("rebooted")
    folder = (machine / JOURNAL).parent
    folder.rename(machine / "away")
    with unchanged(machine):
        for argv in COMMANDS:
            run(machine, *argv).is_(6, "was booted for setup", f"Mount what /{folder.relative_to(machine)}").with_hint()
    assert not folder.exists()
    (machine / "away").rename(folder)
    roll_back(machine)
    (machine / JOURNAL).rename(machine / "away")
    assert run(machine, "status").is_(0).out.startswith("state  new")


@pytest.mark.parametrize("state", ["stubbed", "bound"])
def test_what_a_newer_copy_of_the_journal_knows_of_is_not_taken_for_the_user_s_own(at: At, state: str) -> None:
    machine = at("modules_loaded")
    folder = (machine / JOURNAL).parent
    shutil.copytree(folder, machine / "old")
    run(machine, "advance").is_(0)
    if state == "bound":
        run(machine, "machine", "reboot").is_(0)
        run(machine, "advance", "--until", "bound").is_(0)
    folder.rename(machine / "new")
    (machine / "old").rename(folder)
    with unchanged(machine):
        run(machine, "advance").is_(5, "the journal does not know of it", "journal verify").with_hint()
    shutil.rmtree(folder)
    (machine / "new").rename(folder)
    roll_back(machine)


def test_the_journal_of_another_host_is_not_gone_by(at: At) -> None:
    machine = at("stubbed")
    place = machine / "etc/machine-id"
    original = place.read_bytes()
    place.chmod(0o644)
    for other in (b"0" * 32 + b"\n", None):
        place.unlink()
        if other is not None:
            place.write_bytes(other)
        content = (machine / JOURNAL).read_bytes()
        with unchanged(machine):
            for argv in (("advance",), ("rollback",), ("plan",)):
                run(machine, *argv).is_(5, "another host").with_hint()
            run(machine, "audit").is_(4, "other-host", "the machine-id with the digest", "a journal of its own")
            run(machine, "status").is_(4, "the journal: that of another host")
        assert (machine / JOURNAL).read_bytes() == content
        place.write_bytes(original)
    place.chmod(0o444)
    run(machine, "rollback").is_(0)


def test_a_database_that_is_another_hosts_already_is_not_called_a_copy(at: At) -> None:
    machine = at("new")
    config = machine / CONFIG
    config.write_text('journal_url = "sqlite:////srv/fleet.db"\n' + config.read_text())
    (machine / "srv").mkdir(exist_ok=True)
    run(machine, "advance").is_(0)
    place = machine / "etc/machine-id"
    place.chmod(0o644)
    place.write_bytes(b"0" * 32 + b"\n")
    said = run(machine, "advance").is_(5, "another host", "name another database, or another schema, in `journal_url`")
    assert "copied" not in said.text


@pytest.mark.parametrize("back", [timedelta(days=4000), timedelta(hours=1)])
def test_a_clock_that_jumps_back_changes_nothing_but_the_times(at: At, back: timedelta) -> None:
    machine = at("modules_loaded")

    def earlier() -> None:
        from journal import store

        store.Journal.__init__.__defaults__ = (lambda: datetime.now(UTC) - back,)
        for name in ("open", "create"):
            method = getattr(store.Journal, name).__func__
            method.__kwdefaults__ = {**method.__kwdefaults__, "clock": lambda: datetime.now(UTC) - back}

    before = manifest(at("new"))
    run(machine, "advance", prepare=earlier).is_(0)
    assert events(machine)[-1].at < events(machine)[0].at
    for argv in (("status",), ("journal", "show"), ("journal", "verify"), ("journal", "export")):
        run(machine, *argv, prepare=earlier).is_(0)
    run(machine, "machine", "reboot").is_(0)
    run(machine, "advance", "--until", "bound", prepare=earlier).is_(0)
    roll_back(machine)
    assert manifest(machine) == before
    run(machine, "journal", "verify").is_(0)


def test_a_refusal_is_in_the_journal_with_its_evidence_once(loaded: Path) -> None:
    (loaded / "etc/default/grub").unlink()
    before = len(events(loaded))
    run(loaded, "advance").is_(5)
    found = events(loaded)[before:]
    assert [event.kind for event in found] == [Kind.STEP_REFUSED]
    findings = found[0].data["findings"]
    assert isinstance(findings, list)
    assert all(isinstance(one, dict) and one["message"] and one["hint"] for one in findings)
    assert "default/grub" in run(loaded, "journal", "show").out
    exported = [json.loads(line) for line in run(loaded, "journal", "export").out.splitlines()]
    assert exported[-1]["seq"] == found[0].seq
    assert last(loaded, Kind.STEP_REFUSED).seq == found[0].seq


@pytest.mark.parametrize("argv", [("advance",), ("rollback",)])
def test_a_host_whose_name_cannot_be_read_is_not_taken_for_another(loaded: Path, argv: tuple[str, ...]) -> None:
    with unchanged(loaded):
        answer = run(loaded, *argv, prepare=unreadable("/etc/machine-id"))
        answer.is_(1, "Input/output error (EIO): /etc/machine-id").with_hint()
    assert "(EIO): /etc/machine-id" in str(last(loaded, Kind.STEP_REFUSED).data["findings"])
    run(loaded, *argv).is_(0)


@pytest.mark.parametrize("argv", [("status",), ("advance",), ("rollback",), ("journal", "show")])
def test_a_configuration_that_cannot_be_read_may_say_that_the_journal_is_elsewhere(
    loaded: Path, argv: tuple[str, ...]
) -> None:
    with unchanged(loaded):
        run(loaded, *argv, prepare=unreadable(f"/{CONFIG}")).is_(64, f"/{CONFIG} cannot be read").with_hint()
