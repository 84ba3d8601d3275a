"""`vfiostate machine`: what it makes, what it says, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine.capture.describe import commands
from engine.cli import machine, main
from engine.hosts.simulated.boot import Entry
from engine.hosts.simulated.host import DOUBLES, SimulatedHost


def test_the_entries_on_the_command_line_are_those_of_the_model() -> None:
    assert tuple(Entry) == machine.ENTRIES


def test_capture_looks_for_every_command_that_has_a_double() -> None:
    assert set(DOUBLES) - {"sync", "true"} <= set(commands())


def test_a_machine_is_made_rebooted_and_given_a_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--simulate", str(tmp_path / "m")]
    assert main([*where, "machine", "create", "--from", "debian12-lab"]) == 0
    assert main([*where, "machine", "reboot", "--entry", "recovery"]) == 0
    assert main([*where, "machine", "install-kernel", "6.1.0-60-amd64"]) == 0
    assert main([*where, "machine", "reboot"]) == 0
    assert main([*where, "machine", "reboot", "--entry", "previous"]) == 0
    said = capsys.readouterr().out
    assert re.findall(r"vmlinuz-(\S+)", said) == ["6.1.0-56-amd64", "6.1.0-60-amd64", "6.1.0-56-amd64"]


def test_the_machines_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["machine", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "article" in [one["name"] for one in found["machines"]]


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["machine", "create"], 64, "--simulate DIR"),
        (["machine", "reboot"], 64, "--simulate DIR"),
        (["--simulate", "{new}", "machine", "reboot"], 64, "machine create"),
        (["--simulate", "{new}", "machine", "create", "--from", "nosuch"], 64, "nosuch"),
        (["--simulate", "{full}", "machine", "create"], 64, "not an empty directory"),
        (["--simulate", "{new}", "machine", "reboot", "--entry", "trial"], 64, "trial"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], status: int, said: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    words = [word.format(new=tmp_path / "new", full=tmp_path / "full") for word in argv]
    try:
        found = main(words)
    except SystemExit as ended:
        found = int(str(ended.code))
    assert found == status
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists() or not any((tmp_path / "new").iterdir())


@pytest.mark.parametrize("release", ["../x", "", "6", "6.1/x", "6.1 x", "6.1" + "x" * 300])
def test_a_kernel_of_an_impossible_release_leaves_the_machine_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], release: str
) -> None:
    where = ["--simulate", str(tmp_path / "m"), "machine"]
    assert main([*where, "create", "--from", "debian12-lab"]) == 0
    assert main([*where, "install-kernel", release]) in (1, 64)
    assert "  -> " in capsys.readouterr().err
    assert main([*where, "install-kernel", "6.1.0-60-amd64"]) == 0
    assert main([*where, "reboot"]) == 0
    assert "vmlinuz-6.1.0-60-amd64" in capsys.readouterr().out


def test_a_machine_is_made_where_there_is_none_and_is_the_article_s(tmp_path: Path) -> None:
    host = SimulatedHost.create_if_missing(tmp_path / "m")
    assert host.release == "3.11.0-15-generic"
    assert SimulatedHost.create_if_missing(tmp_path / "m").boot_id == host.boot_id
    assert host.label.endswith(str(tmp_path / "m"))
