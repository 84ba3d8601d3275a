"""The log: for reading along where it is asked for, and nothing at all otherwise."""

from __future__ import annotations

import json
import os
from pathlib import Path

from engine.log import to_systemd
from tests.cli.conftest import spawn


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
