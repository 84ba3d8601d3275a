"""`vfiostate machine`: what it makes, what it says, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine.capture.describe import commands
from engine.cli import machine, main
from engine.hosts.simulated.boot import Entry
from engine.hosts.simulated.description import MACHINES
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


def test_a_machine_lives_in_a_directory_of_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--simulate", str(tmp_path / "sp ace é'$x")]
    assert main([*where, "machine", "create"]) == 0
    assert main([*where, "init", "--device", "03:00.0", "--device", "03:00.1", "--stub", "pci-stub"]) == 0
    assert main([*where, "advance", "--until", "stubbed"]) == 0
    assert main([*where, "machine", "reboot"]) == 0
    assert "pci-stub.ids=" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--simulate", "--root"])
def test_a_directory_whose_name_is_not_utf_8_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert main([option, f"{tmp_path}/\udcff", "status"]) == 64
    assert "\\xff': expected a path in UTF-8." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_cannot_be_made_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    description = json.loads((MACHINES / "debian12-lab.json").read_text())
    description["files"]["/etc/default/grub"] = {"text": "GRUB_TIMEOUT=$(\n"}
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(description))
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        assert main(["--simulate", str(tmp_path / name), "machine", "create", "--from", str(file)]) == 64
        assert "-> Repair its /etc/default/grub" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == [file, tmp_path / "empty"]
    assert main(["--simulate", str(tmp_path / "empty"), "machine", "create"]) == 0


def test_a_mistyped_directory_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--simulate", str(tmp_path / "mistyped" / "m"), "status"]) == 64
    assert f"{tmp_path / 'mistyped'} is no directory." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "why"),
    [("", "it is empty."), ("{\n,}", "it is no JSON at line 2, column 1."), (b"\xff", "it is not UTF-8.")],
)
def test_a_description_that_is_none_is_answered_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | bytes, why: str
) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["--simulate", str(tmp_path / "m"), "machine", "create", "--from", str(file)]) == 64
    assert f"The machine description {file} cannot be read: {why}" in capsys.readouterr().err


def test_a_description_is_read_from_what_is_no_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--simulate", str(tmp_path / "m"), "machine", "create", "--from", "/dev/null"]) == 64
    assert "/dev/null cannot be read: it is empty." in capsys.readouterr().err


def test_a_machine_is_made_where_there_is_none_and_is_the_article_s(tmp_path: Path) -> None:
    host = SimulatedHost.create_if_missing(tmp_path / "m")
    assert host.release == "3.11.0-15-generic"
    assert SimulatedHost.create_if_missing(tmp_path / "m").boot_id == host.boot_id
    assert host.label.endswith(str(tmp_path / "m"))
