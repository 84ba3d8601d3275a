"""A journal whose tail was cut is found out by the heads that the system's log remembers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from journal.errors import Exit
from tests.kill.crash import run

JOURNAL = "var/lib/vfiostate/journal.db"
DEVICES = ("--device=03:00.0", "--device=03:00.1", "--device=00:12.0", "--device=00:12.2", "--stub=pci-stub")


def advanced(tmp_path: Path, *argv: str) -> Path:
    """A simulated machine after `advance`."""
    machine = tmp_path / "m"
    assert run(machine, "init", *DEVICES).code == 0
    assert run(machine, "advance", *argv).code == 0
    return machine


def cut(machine: Path, tail: str) -> None:
    """What somebody with root and sqlite3 can do: the events of `tail` go, and the triggers are as they were."""
    database = sqlite3.connect(machine / JOURNAL)
    triggers = database.execute("select name, sql from sqlite_master where type = 'trigger'").fetchall()
    for name, _ in triggers:
        database.execute(f"drop trigger {name}")
    database.execute(f"delete from events where {tail}")
    for _, sql in triggers:
        database.execute(sql)
    database.commit()
    database.close()


def test_a_cut_tail_shows_by_the_system_log(tmp_path: Path) -> None:
    machine = advanced(tmp_path, "--until", "modules_loaded")
    assert run(machine, "journal", "verify").code == 0
    cut(machine, "seq >= (select max(seq) from events)")
    found = run(machine, "journal", "verify")
    assert found.code == Exit.DAMAGED, found.output
    assert "DAMAGED  head" in found.output and "not there" in found.output
    # With the log gone as well nothing shows it, and that is said.
    (machine / "var/log/syslog").unlink()
    found = run(machine, "journal", "verify")
    assert found.code == Exit.DONE, found.output
    assert "--  head: not checked whether the end was cut off or an older copy put back" in found.output


def test_a_journal_whose_every_event_is_gone_shows_by_the_system_log(tmp_path: Path) -> None:
    machine = advanced(tmp_path)
    cut(machine, "true")
    found = run(machine, "journal", "verify")
    assert found.code == Exit.DAMAGED, found.output
    assert "tells of setup" in found.output


def test_an_old_copy_put_back_shows_by_the_system_log(tmp_path: Path) -> None:
    machine = advanced(tmp_path)
    old = (machine / JOURNAL).read_bytes()
    assert run(machine, "advance").code == 0
    assert run(machine, "journal", "verify").code == 0
    (machine / JOURNAL).write_bytes(old)
    found = run(machine, "journal", "verify")
    assert found.code == Exit.DAMAGED, found.output
    assert "another copy of it put back" in found.output


def test_what_a_run_wrote_without_a_transition_is_announced_too(tmp_path: Path) -> None:
    machine = advanced(tmp_path)
    old = (machine / JOURNAL).read_bytes()
    (machine / "etc/modules").unlink()
    (machine / "etc/modules").mkdir()
    assert run(machine, "advance").code != 0
    assert (machine / JOURNAL).read_bytes() != old
    assert "up to event" in run(machine, "journal", "verify").output
    assert "rest on the chain alone" not in run(machine, "journal", "verify").output
    (machine / JOURNAL).write_bytes(old)
    assert run(machine, "journal", "verify").code == Exit.DAMAGED


def test_a_copy_from_before_this_setup_shows_by_the_system_log(tmp_path: Path) -> None:
    machine = advanced(tmp_path)
    assert run(machine, "rollback").code == 0
    old = (machine / JOURNAL).read_bytes()
    assert run(machine, "advance").code == 0
    (machine / JOURNAL).write_bytes(old)
    found = run(machine, "journal", "verify")
    assert found.code == Exit.DAMAGED, found.output
    assert "tells of setup" in found.output


def test_the_log_of_a_setup_before_this_journal_is_no_evidence(tmp_path: Path) -> None:
    machine = advanced(tmp_path)
    place = machine / "var/log/syslog"
    place.write_text(f"vfiostate: setup 0123456789ab: running; journal head 99 {'0' * 64}\n" + place.read_text())
    assert run(machine, "journal", "verify").code == 0


def test_heads_in_a_log_that_was_rotated_count(tmp_path: Path) -> None:
    machine = advanced(tmp_path)
    (machine / "var/log/syslog").rename(machine / "var/log/syslog.1")
    assert "up to event" in run(machine, "journal", "verify").output
