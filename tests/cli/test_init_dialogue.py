"""`vfiostate init` without arguments: what it shows and asks at a terminal, and what it says where there is none."""

from __future__ import annotations

import io
import tomllib
from pathlib import Path

import pytest

from engine.cli import choose, main
from tests.cli.conftest import Run
from tests.field import support
from tests.field.support import Description
from tests.support.terminal import CTRL_C, CTRL_D, at_terminal

PROMPT = b"Enter for none: "


def configured(machine: Path) -> list[str]:
    document = tomllib.loads((machine / "etc/vfiostate.toml").read_text())
    return [device["address"] for device in document["devices"]]


def asked(monkeypatch: pytest.MonkeyPatch, answers: str) -> None:
    """Whoever is asked types this."""
    monkeypatch.setattr(choose, "at_terminal", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(answers))


def made(directory: Path, name: str) -> Path:
    assert main(["--simulate", str(directory), "machine", "create", "--from", name]) == 0
    return directory


# --- at a real terminal


def test_a_number_takes_the_card_with_everything_that_goes_along_and_the_plan_follows(machine: Path) -> None:
    code, screen = at_terminal(
        "--simulate", str(machine), "init", typed=[b"1\n"], prompt=PROMPT, environment={"NO_COLOR": "1"}
    )
    assert code == 0, screen
    assert configured(machine) == ["0000:03:00.0", "0000:03:00.1"]
    assert "1) NVIDIA Corporation GF114" in screen and "with 0000:03:00.1" in screen
    plan = screen.index("the plan:")
    assert screen.index("/etc/vfiostate.toml written") < plan < screen.index("rebooted: after a reboot")
    assert screen.rstrip().endswith("next: vfiostate plan --all, then advance")
    assert "\x1b" not in screen


@pytest.mark.parametrize(("key", "code"), [(CTRL_C, 130), (CTRL_D, 1)], ids=["ctrl-c", "ctrl-d"])
def test_who_thinks_better_of_it_has_written_nothing(machine: Path, key: bytes, code: int) -> None:
    ended, screen = at_terminal("--simulate", str(machine), "init", typed=[key], prompt=PROMPT)
    assert ended == code, screen
    assert "Traceback" not in screen
    assert not (machine / "etc/vfiostate.toml").exists()


# --- what is typed


@pytest.mark.parametrize("wrong", ["0", "5", "-1", "x", "1 9", "²", "1" * 5000, "\x1b[A"])
def test_a_wrong_answer_is_named_and_asked_again(
    run: Run, machine: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    asked(monkeypatch, f"{wrong}\n2\n")
    said = run("init")
    assert said.code == 0
    assert "expected a number from 1 to 4" in said.out and "\x1b" not in said.out
    assert configured(machine) == ["0000:00:12.0", "0000:00:12.2"]


def test_several_numbers_take_several_cards_each_once(run: Run, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, "2, 1 2\n")
    assert run("init").code == 0
    assert configured(machine) == ["0000:00:12.0", "0000:00:12.2", "0000:03:00.0", "0000:03:00.1"]


@pytest.mark.parametrize("answer", ["\n", "", "x\n"], ids=["enter", "end of input", "wrong, then end of input"])
def test_no_answer_writes_nothing(run: Run, machine: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    asked(monkeypatch, answer)
    said = run("init")
    assert said.code == 1 and "nothing was written" in said.err
    assert not (machine / "etc/vfiostate.toml").exists()


def test_what_cannot_be_taken_has_no_number_and_says_why_and_what_lets_it(
    run: Run, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(monkeypatch, "\n")
    shown = run("init").out
    held = shown[shown.index("These cannot:") :]
    assert "0000:01:00.0 is the graphics card the host boots on" in held
    assert "vfiostate init --allow-boot-vga 0000:01:00.0" in held
    assert "0000:00:11.0 holds disks that the host uses" in held
    asked(monkeypatch, "2\n")
    assert run("init", "--allow-boot-vga", "01:00.0").code == 0
    assert configured(machine) == ["0000:01:00.0", "0000:01:00.1"]


def test_a_configuration_that_is_there_is_kept_and_nothing_is_asked(
    run: Run, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / "etc/vfiostate.toml").write_text("# mine\n")
    asked(monkeypatch, "1\n")
    said = run("init")
    assert said.code == 5 and "is there already" in said.err and "These can go" not in said.out


# --- other machines


def test_a_card_in_the_group_of_the_root_disk_is_marked_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    machine = made(tmp_path / "m", "shared-group")
    asked(monkeypatch, "\n")
    assert main(["--simulate", str(machine), "init"]) == 1
    assert "0000:01:00.0 goes only with 0000:02:00.0, which holds disks" in capfd.readouterr().out


def test_where_nothing_can_be_taken_the_doctor_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    machine = made(tmp_path / "m", "iommu-off")
    asked(monkeypatch, "1\n")
    assert main(["--simulate", str(machine), "init"]) == 5
    said = capfd.readouterr().err
    assert "`vfiostate doctor` says" in said
    assert "all the same: vfiostate init --allow-boot-vga 0000:03:00.0" in said


def test_an_iommu_that_is_off_is_told_before_the_choice_and_again_after_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    machine = made(tmp_path / "m", "iommu-off")
    asked(monkeypatch, "1\n")
    assert main(["--simulate", str(machine), "init", "--allow-boot-vga", "03:00.0"]) == 0
    said = capfd.readouterr()
    assert said.out.index("AMD-Vi is off there") < said.out.index("in no IOMMU group yet")
    assert said.out.rstrip().endswith("next: follow the hints above, then vfiostate doctor")
    assert "AMD-Vi is off there" in said.err


def test_the_controller_of_the_last_keyboard_has_a_number_only_where_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def keyboard(description: Description) -> None:
        description["keyboards"] = [{"name": "Board", "function": "0000:00:12.0"}]

    machine = support.made(tmp_path, "article", change=keyboard)
    asked(monkeypatch, "2\n")
    assert main(["--simulate", str(machine), "init", "--allow-unsafe-interrupts"]) == 0
    assert "0000:00:12.0 takes the host's last keyboard along" in capfd.readouterr().out
    assert configured(machine) == ["0000:00:14.2"]
    asked(monkeypatch, "2\n")
    assert main(["--simulate", str(machine), "init", "--force", "--allow-keyboard", "00:12.0"]) == 0
    assert configured(machine) == ["0000:00:12.0", "0000:00:12.2"]


# --- without a terminal


def test_without_a_terminal_the_missing_flags_are_named_ready_to_use(run: Run, machine: Path) -> None:
    said = run("init")
    assert said.code == 64
    assert "--device is missing" in said.err
    assert "--device 03:00.0 --device 03:00.1   # NVIDIA Corporation GF114" in said.err
    assert not (machine / "etc/vfiostate.toml").exists()
