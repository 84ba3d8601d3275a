"""A guest of libvirt on the simulated machine, through the command line: there, back, and what comes between."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.guests import launch
from engine.hosts.simulated import SimulatedHost, guests
from journal.errors import Exit
from journal.events import Json
from tests.guest.libvirt_machine import (
    DOMAIN,
    OURS,
    STRANGER,
    bound,
    configure,
    end,
    make,
    spoil,
    vfiostate,
)
from tests.guest.support import DEVICES

SILENT: Json = {
    "status": 1,
    "stderr": "error: failed to connect to the hypervisor\n"
    "error: Failed to connect socket to '/var/run/libvirt/libvirt-sock': No such file or directory\n",
}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Path]:
    """The machine in `bound`."""
    host = bound(tmp_path / "machine")
    yield host.root
    spoil(host.root)
    end(host)


def left(machine: Path) -> list[str]:
    """What there is of libvirt's and ours that the guest may have left."""
    places = ("etc/libvirt/qemu", "etc/apparmor.d/libvirt", "run/libvirt/qemu", "sys/class/net")
    found = [
        f"{place}/{name}" for place in places if (machine / place).is_dir() for name in os.listdir(machine / place)
    ]
    return sorted(one for one in [*found, OURS] if (machine / one).exists() and not one.endswith(".log"))


def test_there_and_back_leaves_nothing_of_the_guest(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = left(machine)
    assert vfiostate(machine, "advance") == Exit.DONE
    host = SimulatedHost(machine)
    assert all(guests.hold(host.machine, device.address) for device in DEVICES)
    assert (machine / OURS).stat().st_mode & 0o777 == 0o600
    capsys.readouterr()
    assert vfiostate(machine, "guest", "status", "--json") == Exit.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["missing"]) == ("running", []) and told["pid"] in guests.running(host.machine)
    assert vfiostate(machine, "audit") == Exit.DONE
    assert vfiostate(machine, "rollback", "--to", "bound") == Exit.DONE
    assert left(machine) == before
    assert not guests.running(host.machine)


def test_a_plan_shows_the_domain_that_is_then_defined(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vfiostate(machine, "guest", "command") == Exit.DONE
    shown = capsys.readouterr().out
    assert vfiostate(machine, "advance") == Exit.DONE
    assert (machine / OURS).read_text() == shown
    assert shown.strip() in (machine / DOMAIN).read_text()


def test_stopping_and_starting_keeps_the_domain(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vfiostate(machine, "advance") == Exit.DONE
    assert vfiostate(machine, "guest", "stop") == Exit.DONE
    assert "shut itself down" in capsys.readouterr().out
    was = (machine / DOMAIN).read_bytes()
    assert vfiostate(machine, "guest", "start") == Exit.DONE
    assert (machine / DOMAIN).read_bytes() == was
    assert vfiostate(machine, "rollback", "--to", "bound") == Exit.DONE
    assert not (machine / DOMAIN).exists()


def test_a_guest_that_does_not_listen_is_switched_off(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(machine, qemu={"ignores_powerdown": True})
    configure(machine, stop_timeout=1)
    assert vfiostate(machine, "advance") == Exit.DONE
    assert vfiostate(machine, "guest", "stop") == Exit.DONE
    assert "switched off" in capsys.readouterr().out


def test_another_configuration_is_another_domain_and_the_way_back_knows_both(machine: Path) -> None:
    before = left(machine)
    assert vfiostate(machine, "advance") == Exit.DONE
    assert vfiostate(machine, "guest", "stop") == Exit.DONE
    configure(machine, memory=512)
    assert vfiostate(machine, "guest", "start") == Exit.DONE
    assert '<memory unit="MiB">512</memory>' in (machine / DOMAIN).read_text()
    assert vfiostate(machine, "rollback", "--to", "bound") == Exit.DONE
    assert left(machine) == before


def test_a_domain_of_that_name_which_is_not_ours_is_left_alone(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (machine / DOMAIN).write_text(STRANGER)
    assert vfiostate(machine, "advance") == Exit.REFUSED
    assert "it is not vfiostate's" in capsys.readouterr().err
    assert vfiostate(machine, "rollback", "--to", "rebooted") == Exit.DONE
    assert (machine / DOMAIN).read_text() == STRANGER


def test_a_libvirt_that_does_not_run_is_named_and_nothing_is_done(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = left(machine)
    spoil(machine, commands={"virsh": SILENT})
    assert vfiostate(machine, "advance") == Exit.REFUSED
    told = capsys.readouterr().err
    assert "libvirt-sock" in told and "systemctl status libvirtd" in told and "was started" not in told
    assert left(machine) == before


def test_a_way_back_without_libvirt_stops_before_it_changes_anything(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vfiostate(machine, "advance") == Exit.DONE
    before = left(machine)
    spoil(machine, commands={"virsh": SILENT})
    assert vfiostate(machine, "guest", "status") == Exit.FAILED
    assert "cannot be told" in capsys.readouterr().out
    assert vfiostate(machine, "rollback") == Exit.DRIFT
    assert "cannot be told" in capsys.readouterr().err
    assert left(machine) == before
    spoil(machine)
    assert vfiostate(machine, "rollback", "--to", "bound") == Exit.DONE


def test_a_guest_that_was_killed_is_noticed_and_started_again(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vfiostate(machine, "advance") == Exit.DONE
    host = SimulatedHost(machine)
    (pid,) = guests.running(host.machine)
    os.kill(pid, 9)
    assert launch.gone("win7", machine / "run/libvirt/qemu", 60.0)  # it ends a moment after it was sent the signal
    assert vfiostate(machine, "status") == Exit.DRIFT
    assert "does not run (any more)" in capsys.readouterr().out
    assert vfiostate(machine, "advance") == Exit.DONE
    assert pid not in guests.running(host.machine) and guests.running(host.machine)


def test_a_guest_that_does_not_come_up_leaves_nothing_and_says_why(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = left(machine)
    spoil(machine, qemu={"dies": "vfio 0000:03:00.0: failed to setup container"})
    assert vfiostate(machine, "advance") == Exit.FAILED
    assert "failed to setup container" in capsys.readouterr().err
    assert left(machine) == before


def test_what_the_user_edits_is_named_and_neither_overwritten_nor_removed(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vfiostate(machine, "advance") == Exit.DONE
    assert vfiostate(machine, "guest", "stop") == Exit.DONE
    ours = (machine / DOMAIN).read_text()
    theirs = ours.replace('slot="0x05"', 'slot="0x15"')
    (machine / DOMAIN).write_text(theirs)
    capsys.readouterr()
    assert vfiostate(machine, "status") == Exit.DRIFT
    assert "edited since" in capsys.readouterr().out
    # It is started as they want it; with another configuration of ours it would have to be defined over.
    assert vfiostate(machine, "guest", "start") == Exit.DONE
    assert vfiostate(machine, "guest", "stop") == Exit.DONE
    configure(machine, memory=512)
    assert vfiostate(machine, "guest", "start") == Exit.DRIFT
    assert "virsh undefine" in capsys.readouterr().err
    assert vfiostate(machine, "rollback") == Exit.DRIFT
    assert (machine / DOMAIN).read_text() == theirs
    (machine / DOMAIN).write_text(ours)
    assert vfiostate(machine, "rollback", "--to", "bound") == Exit.DONE
    assert not (machine / DOMAIN).exists()


def test_a_system_is_installed_without_the_devices_and_then_gets_them(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vfiostate(machine, "guest", "start", "--install") == Exit.DONE
    assert "hostdev" not in (machine / DOMAIN).read_text() and 'port="5900"' in (machine / DOMAIN).read_text()
    assert vfiostate(machine, "advance") == Exit.REFUSED
    assert "does not show" in capsys.readouterr().err
    assert vfiostate(machine, "guest", "stop") == Exit.DONE
    assert vfiostate(machine, "advance") == Exit.DONE
    assert "hostdev" in (machine / DOMAIN).read_text()
    assert vfiostate(machine, "rollback", "--to", "bound") == Exit.DONE


def test_an_installation_can_be_taken_back_by_restore_sh_and_needs_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = make(tmp_path / "machine")
    spoil(host.root, space=100_000)
    assert vfiostate(host.root, "guest", "start", "--install") == Exit.REFUSED
    assert "too full" in capsys.readouterr().err and not (host.root / OURS).exists()
    spoil(host.root)
    assert vfiostate(host.root, "guest", "start", "--install") == Exit.DONE
    assert vfiostate(host.root, "audit") == Exit.DONE
    script = (host.root / "var/lib/vfiostate/restore.sh").read_text()
    assert f"begin /{DOMAIN}\n" in script and f"begin /{OURS}\n" in script
    end(host)


def test_a_host_without_virsh_is_told_what_to_install(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = make(tmp_path / "machine")
    host.local("/usr/bin/virsh").unlink()
    assert vfiostate(host.root, "guest", "start", "--install") == Exit.REFUSED
    assert "libvirt-clients" in capsys.readouterr().err
