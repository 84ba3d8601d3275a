"""A rollback from a rescue system: what was made anew there is made once more by the host itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.hosts.base import OFFLINE
from engine.hosts.simulated.host import SimulatedHost
from tests.badinput.support import copy, manifest, run
from tests.journal.damages import DEVICES

CFG = "boot/grub/grub.cfg"


@pytest.mark.parametrize("command", ["rollback", "advance"])
def test_what_a_rescue_system_made_anew_is_made_once_more_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    machine = tmp_path / "m"
    run(machine, "machine", "create", "--from", "debian12-lab").is_(0)
    run(machine, "init", *DEVICES).is_(0)
    untouched = copy(machine, tmp_path / "untouched")
    run(machine, "advance", "--until", "stubbed").is_(0)
    (machine / CFG).write_text((machine / CFG).read_text() + "# by hand\n")
    with monkeypatch.context() as outside:
        outside.setattr(SimulatedHost, "booted", False)
        outside.setattr(SimulatedHost, "boot_id", f"{OFFLINE}0")
        run(machine, "rollback").is_(3, "its next boot finishes the rollback")
        # Another machine finds the disks under other names.
        (machine / CFG).write_text((machine / CFG).read_text() + "# hd1\n")
        run(machine, "rollback").is_(3, "finished by the host's own next boot")
    run(machine, "machine", "reboot").is_(0)
    run(machine, command).is_(0)
    after, before = manifest(machine), manifest(untouched)
    assert {path: one for path, one in after.items() if path.startswith(CFG)} == {
        path: one for path, one in before.items() if path.startswith(CFG)
    }
    run(machine, "journal", "verify").is_(0)
    run(machine, "rollback").is_(0)
