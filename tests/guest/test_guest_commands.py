"""`vfiostate guest` as a user sees it, on the article's machine with the shipped example as its configuration."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from engine import config
from engine.cli import main
from engine.guests import launch
from engine.hosts.simulated import SimulatedHost
from journal.errors import Exit
from journal.events import Kind
from journal.store import Journal
from tests.guest.support import ARTICLE, DEVICES, copy

CONFIG = "etc/vfiostate.toml"
EXAMPLE = resources.files("engine.config") / "examples/article.toml"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Path]:
    """The article's machine with the example in place and KVM loaded."""
    yield place(tmp_path / "machine")
    SimulatedHost(tmp_path / "machine").kill("win7", timeout=5.0)


def place(directory: Path) -> Path:
    """Make it."""
    host = SimulatedHost.create_if_missing(directory)
    (directory / CONFIG).write_bytes(EXAMPLE.read_bytes())
    (directory / CONFIG).chmod(0o644)
    assert host.run(("modprobe", "kvm_amd"), timeout=5.0).ok
    return directory


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The machine brought to `bound`, to be copied."""
    directory = tmp_path_factory.mktemp("bound") / "machine"
    place(directory)
    assert vfiostate(directory, "advance", "--until", "stubbed") == Exit.DONE
    assert vfiostate(directory, "advance", "--reboot") == Exit.REBOOT
    assert vfiostate(directory, "advance", "--until", "bound") == Exit.DONE
    return directory


@pytest.fixture
def running(once: Path, tmp_path: Path) -> Iterator[Path]:
    """The machine in `running`."""
    directory = tmp_path / "machine"
    shutil.copytree(once, directory, symlinks=True, copy_function=copy)
    assert vfiostate(directory, "advance") == Exit.DONE
    yield directory
    for name in ("win7", "win8"):
        SimulatedHost(directory).kill(name, timeout=5.0)


def vfiostate(machine: Path, *words: str) -> int:
    """Run the program."""
    return int(main(["--simulate", str(machine), *words]))


def kill_guest(machine: Path) -> None:
    """End the guest behind our back. It ends a moment after it was sent the signal."""
    pid = SimulatedHost(machine).alive("win7")
    assert pid is not None
    os.kill(pid, 9)
    assert launch.gone("win7", machine / "run/vfiostate", 60.0)


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


def configured(machine: Path, change: str) -> None:
    """The example with another guest, or with none."""
    text = EXAMPLE.read_text("utf-8")
    (machine / CONFIG).write_text(
        {
            "none": text[: text.index("[guest]")],
            "name": text.replace('name = "win7"', 'name = "win8"'),
            "backend": text.replace("[guest]\n", '[guest]\nbackend = "libvirt"\n'),
            "memory": text.replace("memory = 1024", "memory = 512"),
        }[change]
    )


@pytest.mark.parametrize("change", ["none", "name", "backend"])
def test_a_guest_that_runs_is_stopped_before_there_is_another(
    running: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    pid = SimulatedHost(running).alive("win7")
    configured(running, change)
    for command in (("plan",), ("advance",), ("guest", "start"), ("guest", "start", "--install")):
        capsys.readouterr()
        assert vfiostate(running, *command) == Exit.REFUSED
        told = capsys.readouterr().err
        assert "The guest win7 was started and not stopped" in told and "guest stop" in told
    assert (SimulatedHost(running).alive("win7"), SimulatedHost(running).alive("win8")) == (pid, None)
    assert vfiostate(running, "audit") == Exit.DONE
    assert vfiostate(running, "guest", "stop") == Exit.DONE
    assert "state: bound" in capsys.readouterr().out and SimulatedHost(running).alive("win7") is None
    if change == "name":
        assert vfiostate(running, "advance") == Exit.DONE
        assert SimulatedHost(running).alive("win8") is not None
    elif change == "none":
        assert vfiostate(running, "advance") == Exit.DONE
        assert "nothing comes after `bound`" in capsys.readouterr().out
    assert vfiostate(running, "rollback", "--to", "bound") == Exit.DONE
    assert SimulatedHost(running).alive("win8") is None


def test_what_only_a_start_goes_by_may_change_while_it_runs(running: Path) -> None:
    configured(running, "memory")
    assert vfiostate(running, "advance") == Exit.DONE


def test_one_that_ended_by_itself_is_stopped_first_too(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kill_guest(running)
    configured(running, "name")
    assert vfiostate(running, "advance") == Exit.REFUSED
    assert vfiostate(running, "guest", "stop") == Exit.DONE
    assert "win7 was stopped: it did not run" in capsys.readouterr().out
    assert vfiostate(running, "advance") == Exit.DONE
    assert SimulatedHost(running).alive("win8") is not None


def test_after_a_reboot_it_may_be_another(running: Path) -> None:
    assert vfiostate(running, "machine", "reboot") == Exit.DONE
    configured(running, "name")
    assert vfiostate(running, "advance") == Exit.DONE
    assert SimulatedHost(running).alive("win8") is not None


def test_one_that_is_being_installed_keeps_its_name(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vfiostate(machine, "guest", "start", "--install") == Exit.DONE
    configured(machine, "name")
    assert vfiostate(machine, "guest", "start", "--install") == Exit.REFUSED
    assert vfiostate(machine, "advance") == Exit.REFUSED
    assert "The guest win7 was started and not stopped" in capsys.readouterr().err
    assert vfiostate(machine, "guest", "stop") == Exit.DONE
    assert vfiostate(machine, "advance") == Exit.DONE


def test_a_guest_that_runs_is_not_said_to_have_ended(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = SimulatedHost(running)
    host.qmp("win7", "stop", timeout=5.0)
    assert vfiostate(running, "advance") == Exit.REFUSED
    told = capsys.readouterr()
    assert "is paused, not running" in told.err and "state: running" in told.out and "had ended" not in told.out
    host.qmp("win7", "cont", timeout=5.0)
    assert vfiostate(running, "advance") == Exit.DONE
    assert "nothing comes after `running`" in capsys.readouterr().out


def test_a_start_that_is_over_is_not_said_to_be_on_the_host(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def started() -> int:
        capsys.readouterr()
        assert vfiostate(running, "journal", "explain") == Exit.DONE
        told = capsys.readouterr().out
        assert told.count("Started win7") == told.count("Start win7 ")
        return told.count("Started win7")

    assert vfiostate(running, "guest", "stop") == Exit.DONE
    assert started() == 0
    assert vfiostate(running, "advance") == Exit.DONE
    assert started() == 1
    kill_guest(running)
    assert vfiostate(running, "advance") == Exit.DONE
    assert started() == 1


def test_a_guest_that_was_installed_and_then_started_with_its_devices_is_stopped_once(
    once: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = tmp_path / "machine"
    shutil.copytree(once, machine, symlinks=True, copy_function=copy)
    assert vfiostate(machine, "guest", "start", "--install") == Exit.DONE
    kill_guest(machine)
    assert vfiostate(machine, "advance") == Exit.DONE
    capsys.readouterr()
    assert vfiostate(machine, "rollback", "--to", "bound") == Exit.DONE
    assert capsys.readouterr().err.count("take back: stop win7") == 1
    assert SimulatedHost(machine).alive("win7") is None
