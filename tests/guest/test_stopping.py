"""The end of a guest: by its power button first, by force when it does not listen."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from engine.back.stopping import stop_guest
from engine.guests import unix
from engine.hosts.simulated import SimulatedHost
from steps.actions import StartProcess
from steps.guest.qemu import shown
from steps.run import RunStep
from tests.guest.support import bound_machine, brief


def running(directory: Path, **faults: bool | str) -> SimulatedHost:
    """A machine on which the guest runs (or tries to)."""
    host = bound_machine(directory, qemu="7.2.22", faults=dict(faults))
    step = RunStep()
    for action in step.plan(brief(), step.probe(host, brief())).actions:
        if isinstance(action, StartProcess):
            host.start(action)
        else:
            host.run(action.argv, timeout=5.0)  # type: ignore[union-attr]  # the plan holds commands and one start
    if "dies" not in faults:
        host.qmp("win7", "query-status", timeout=60.0)  # that it is up is no matter of its end
    return host


@pytest.mark.parametrize(
    ("faults", "how"),
    [({}, "shut itself down"), ({"ignores_powerdown": True}, "switched off"), ({"dies": "x"}, "did not run")],
)
def test_a_guest_is_asked_before_it_is_made(faults: dict[str, bool | str], how: str, tmp_path: Path) -> None:
    host = running(tmp_path / "m", **faults)
    if "dies" in faults:
        host.kill("win7", timeout=5.0)
    assert how in stop_guest(host, "win7", 5.0)
    assert host.alive("win7") is None


def test_a_monitor_that_speaks_to_somebody_else_first_takes_no_time_from_the_guest(tmp_path: Path) -> None:
    host = running(tmp_path / "m")
    with socket.socket(socket.AF_UNIX) as other, unix.address(host.local("/run/vfiostate/win7.qmp")) as address:
        other.connect(address)
        assert other.recv(1)
        leaves = threading.Timer(2.5, other.shutdown, [socket.SHUT_RDWR])
        leaves.start()
        assert stop_guest(host, "win7", 2.0) == "it shut itself down"
        leaves.join()


def test_what_ended_leaves_only_its_log(tmp_path: Path) -> None:
    host = running(tmp_path / "m")
    assert {one.name for one in host.local("/run/vfiostate").iterdir()} == {"win7.log", "win7.pid", "win7.qmp"}
    stop_guest(host, "win7", 5.0)
    assert {one.name for one in host.local("/run/vfiostate").iterdir()} == {"win7.log"}


def test_stopping_what_does_not_run_is_no_failure(tmp_path: Path) -> None:
    host = bound_machine(tmp_path / "m")
    assert stop_guest(host, "win7", 1.0) == "it did not run"


def test_a_second_guest_of_that_name_is_not_started(tmp_path: Path) -> None:
    host = running(tmp_path / "m")
    with pytest.raises(FileExistsError):
        host.start(StartProcess("win7", ("/usr/bin/qemu-system-x86_64",), "again"))
    stop_guest(host, "win7", 5.0)


def test_a_command_is_shown_so_that_a_shell_reads_it_back() -> None:
    import shlex

    argv = ("/usr/bin/qemu", "-name", "my guest", "-drive", "file=/a b'c,,d", "-S")
    assert shlex.split(shown(argv).replace(" \\\n", " ")) == list(argv)
    assert len(shown(argv).splitlines()) == 4
