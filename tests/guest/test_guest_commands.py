"""`vfiostate guest` as a user sees it, on the article's machine with the shipped example as its configuration."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from engine import config
from engine.cli import main
from engine.hosts.simulated import SimulatedHost
from journal.errors import Exit
from journal.events import Kind
from journal.store import Journal
from tests.guest.support import ARTICLE, DEVICES

EXAMPLE = resources.files("engine.config") / "examples/article.toml"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Path]:
    """The article's machine with the example in place and KVM loaded."""
    directory = tmp_path / "machine"
    host = SimulatedHost.create_if_missing(directory)
    (directory / "etc/vfiostate.toml").write_bytes(EXAMPLE.read_bytes())
    (directory / "etc/vfiostate.toml").chmod(0o644)
    assert host.run(("modprobe", "kvm_amd"), timeout=5.0).ok
    yield directory
    host.kill("win7", timeout=5.0)


def vfiostate(machine: Path, *words: str) -> int:
    """Run the program."""
    return int(main(["--simulate", str(machine), *words]))


def kill_guest(machine: Path) -> None:
    """End the guest behind our back."""
    pid = SimulatedHost(machine).alive("win7")
    assert pid is not None
    os.kill(pid, 9)


def events(machine: Path) -> list[tuple[Kind, str]]:
    """The kinds of events with what they say of a guest."""
    journal = Journal.open(machine / "var/lib/vfiostate/journal.db", write=False)
    return [(event.kind, str(event.data.get("what", ""))) for event in journal.events()]


def test_the_shipped_example_is_the_articles_guest() -> None:
    found = config.parse(EXAMPLE.read_bytes())
    assert found.devices == DEVICES
    assert found.guest is not None
    assert dataclasses.replace(found.guest, start_timeout=10.0, stop_timeout=5.0) == ARTICLE


def test_a_system_is_installed_before_anything_is_set_up(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vfiostate(machine, "guest", "status") == Exit.FAILED
    assert "does not run" in capsys.readouterr().out
    assert vfiostate(machine, "guest", "start", "--install") == Exit.DONE
    assert "127.0.0.1:0" in capsys.readouterr().out
    assert vfiostate(machine, "guest", "start", "--install") == Exit.REFUSED
    assert "runs already" in capsys.readouterr().err
    assert vfiostate(machine, "guest", "status", "--json") == Exit.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["status"], told["running"]) == ("vfiostate.guest-status/1", "running", True)
    assert set(told["missing"]) == {device.address for device in DEVICES} and told["uptime"] >= 0
    assert vfiostate(machine, "guest", "stop") == Exit.DONE
    assert "shut itself down" in capsys.readouterr().out
    assert vfiostate(machine, "guest", "stop") == Exit.DONE
    assert [what for kind, what in events(machine) if kind is Kind.GUEST] == ["start", "stop"]
    assert vfiostate(machine, "rollback") == Exit.DONE
    assert "tap0" not in os.listdir(machine / "sys/class/net")


def test_it_is_not_started_with_devices_that_it_cannot_have_yet(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vfiostate(machine, "guest", "start") == Exit.REFUSED
    assert "--install" in capsys.readouterr().err


def test_a_failed_installation_says_why_and_leaves_nothing_running(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    described = json.loads((machine / "machine.json").read_text())
    (machine / "machine.json").write_text(json.dumps(described | {"faults": {"qemu": {"dies": "no room"}}}))
    assert vfiostate(machine, "guest", "start", "--install") == Exit.FAILED
    told = capsys.readouterr().err
    assert "no room" in told and "Traceback" not in told
    assert (Kind.GUEST, "died") in events(machine)


def test_its_command_is_shown_for_reading(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vfiostate(machine, "guest", "command") == Exit.DONE
    shown = capsys.readouterr().out
    assert shown.startswith("/usr/bin/qemu-system-x86_64 \\\n") and "host=0000:03:00.0" in shown
    assert vfiostate(machine, "guest", "command", "--install") == Exit.DONE
    assert "vfio-pci" not in capsys.readouterr().out


def test_stopping_leads_back_to_bound_and_starting_to_running(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vfiostate(machine, "advance", "--until", "stubbed") == Exit.DONE
    assert vfiostate(machine, "advance", "--reboot") == Exit.REBOOT
    assert vfiostate(machine, "advance", "--until", "running") == Exit.DONE
    capsys.readouterr()
    assert vfiostate(machine, "guest", "stop") == Exit.DONE
    assert "state: bound" in capsys.readouterr().out
    assert vfiostate(machine, "guest", "start") == Exit.DONE
    assert "state: running" in capsys.readouterr().out
    assert vfiostate(machine, "guest", "status", "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["missing"] == []
    assert vfiostate(machine, "rollback", "--to", "bound") == Exit.DONE
    assert SimulatedHost(machine).alive("win7") is None and "tap0" not in os.listdir(machine / "sys/class/net")


@pytest.mark.parametrize("reached", ["bound", "running"])
def test_stopping_after_a_reboot_calls_nothing_bound_that_is_not(
    machine: Path, capsys: pytest.CaptureFixture[str], reached: str
) -> None:
    assert vfiostate(machine, "advance", "--until", "stubbed") == Exit.DONE
    assert vfiostate(machine, "advance", "--reboot") == Exit.REBOOT
    assert vfiostate(machine, "advance", "--until", reached) == Exit.DONE
    assert vfiostate(machine, "machine", "reboot") == Exit.DONE
    capsys.readouterr()
    assert vfiostate(machine, "guest", "stop") == Exit.DONE
    told = capsys.readouterr().out
    assert f"the host was rebooted: `{reached}` was lost" in told and "win7 did not run" in told
    assert "state: rebooted" in told
    assert vfiostate(machine, "guest", "stop") == Exit.DONE
    assert "the host was rebooted" not in capsys.readouterr().out
    assert vfiostate(machine, "advance") == Exit.DONE
    assert f"state: {reached}" in capsys.readouterr().out


def test_a_guest_that_ended_by_itself_is_started_anew_by_every_command_that_starts_one(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vfiostate(machine, "advance", "--until", "stubbed") == Exit.DONE
    assert vfiostate(machine, "advance", "--reboot") == Exit.REBOOT
    assert vfiostate(machine, "advance", "--until", "running") == Exit.DONE
    for command in (("advance",), ("advance", "--until", "running"), ("guest", "start")):
        kill_guest(machine)
        capsys.readouterr()
        assert vfiostate(machine, "status") == Exit.DRIFT
        assert "next   vfiostate advance (starts the guest)" in capsys.readouterr().out
        assert vfiostate(machine, *command) == Exit.DONE
        said = capsys.readouterr()
        assert "the guest had ended, and was started anew" in said.out
        assert "note: The guest win7 does not run" in said.err
        assert "refusal" not in said.err and "Mend what QEMU says" not in said.err
        assert SimulatedHost(machine).alive("win7") is not None
    assert vfiostate(machine, "guest", "start") == Exit.DONE
    assert "already `running`" in capsys.readouterr().out
