"""The log: for reading along where it is asked for, and nothing at all otherwise."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli import main
from engine.hosts.simulated import SimulatedHost
from engine.log import to_systemd
from tests.cli.conftest import TOP, Run, spawn


def _spoken(machine: Path, *argv: str, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    done = spawn("-m", "engine", "--simulate", str(machine), *argv, environment=environment)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_v_logs_what_is_journaled_as_json_away_from_a_terminal(machine: Path) -> None:
    assert _spoken(machine, "init", "--device", "03:00.0", "--device", "03:00.1")[0] == 0
    code, out, err = _spoken(machine, "-v", "advance")
    assert code == 0
    logged = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [one["kind"] for one in logged if one["event"] == "journaled"] == [
        "setup_created",
        "step_started",
        "transition",
    ]
    assert not any(line.startswith("{") for line in out.splitlines())


def test_without_v_nothing_is_logged(machine: Path) -> None:
    _spoken(machine, "init", "--device", "03:00.0", "--device", "03:00.1")
    assert "journaled" not in "".join(_spoken(machine, "advance")[1:])


def test_the_stream_of_systemds_journal_is_known_by_its_inode(tmp_path: Path) -> None:
    with open(tmp_path / "stream", "wb") as stream:
        found = os.fstat(stream.fileno())
        assert to_systemd(f"{found.st_dev}:{found.st_ino}", stream.fileno())
        assert not to_systemd(f"{found.st_dev}:{found.st_ino + 1}", stream.fileno())
        assert not to_systemd(None, stream.fileno())


# The program, which goes no further than to the first file that it would write until its standard input ends.
WAITING = """
import sys
from engine.__main__ import main
from engine.hosts.simulated import SimulatedHost
write_file = SimulatedHost.write_file
def waiting(*words):
    sys.stdin.read()
    write_file(*words)
SimulatedHost.write_file = waiting
sys.exit(main())
"""


def _reader_leaves(machine: Path, *argv: str, terminal: bool) -> int:
    """Run it, and leave when it has said something and changed nothing: the exit code."""
    ours, its = pty.openpty() if terminal else os.pipe()
    command = [sys.executable, "-c", WAITING, "--simulate", str(machine), *argv]
    with subprocess.Popen(command, cwd=TOP, stdin=subprocess.PIPE, stdout=its, stderr=its) as child:
        os.close(its)
        os.read(ours, 1)
        os.close(ours)
        child.communicate()
        return child.returncode


@pytest.mark.parametrize("terminal", [False, True], ids=["a pager that is left", "a terminal that hangs up"])
def test_a_reader_of_the_log_that_goes_away_stops_nothing_halfway(machine: Path, *, terminal: bool) -> None:
    assert _spoken(machine, "init", "--device", "03:00.0", "--device", "03:00.1")[0] == 0
    for _ in range(3):
        assert _spoken(machine, "advance")[0] == 0
    # Of a terminal that hung up the result, too, could not be written (EIO), which is said by the code.
    assert _reader_leaves(machine, "-v", "rollback", terminal=terminal) == int(terminal)
    assert json.loads(_spoken(machine, "status", "--json")[1])["state"] == "new"


def test_a_log_that_cannot_be_written_takes_no_step_back_that_was_taken(
    machine: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe that is full for a moment, where nobody waits for it (EAGAIN)."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            if '"transition"' in text:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return super().write(text)

    assert run("init", "--device", "03:00.0", "--device", "03:00.1").code == 0
    assert run("advance").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Full())
        assert main(["--simulate", str(machine), "-v", "advance"]) == 0
    assert b"vfio" in (machine / "etc/modules").read_bytes()
    assert run("audit").code == 0


def test_what_fails_once_a_step_is_taken_takes_nothing_back(
    machine: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object, **__: object) -> None:
        raise RuntimeError("after the event")

    assert run("init", "--device", "03:00.0", "--device", "03:00.1").code == 0
    assert run("advance").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(SimulatedHost, "system_log", fault)
        assert "after the event" in run("advance").err
    assert json.loads(run("status", "--json").out)["state"] == "modules_loaded"
    assert b"vfio" in (machine / "etc/modules").read_bytes()
    assert run("audit").code == 0
