"""A journal whose tail was cut is found out by the heads that the system's log remembers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from journal.errors import Exit
from tests.kill.crash import run

DEVICES = ("--device=03:00.0", "--device=03:00.1", "--device=00:12.0", "--device=00:12.2", "--stub=pci-stub")


def test_a_cut_tail_shows_by_the_system_log(tmp_path: Path) -> None:
    machine = tmp_path / "m"
    assert run(machine, "init", *DEVICES).code == 0
    assert run(machine, "advance", "--until", "modules_loaded").code == 0
    assert run(machine, "journal", "verify").code == 0
    database = sqlite3.connect(machine / "var/lib/vfiostate/journal.db")
    for (name,) in database.execute("select name from sqlite_master where type = 'trigger'").fetchall():
        database.execute(f"drop trigger {name}")
    database.execute("delete from events where seq >= (select max(seq) from events)")
    database.commit()
    database.close()
    found = run(machine, "journal", "verify")
    assert found.code == Exit.DAMAGED, found.output


def test_the_log_of_another_setup_is_no_evidence(tmp_path: Path) -> None:
    machine = tmp_path / "m"
    assert run(machine, "init", *DEVICES).code == 0
    assert run(machine, "advance").code == 0
    with (machine / "var/log/syslog").open("a", encoding="utf-8") as log:
        log.write(f"vfiostate: setup 0123456789ab: running; journal head 99 {'0' * 64}\n")
    assert run(machine, "journal", "verify").code == 0
