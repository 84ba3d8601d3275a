"""`vfiostate doctor` as it is called: what it prints, its exit code, and that it needs nothing set up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.cli import main
from journal.errors import NotRootError
from tests.cli.conftest import Run


def test_a_host_that_is_ready_is_told_what_comes_next(run: Run) -> None:
    said = run("doctor")
    assert (said.code, said.err) == (0, "")
    assert said.out.endswith("nothing stands in the way\nnext: vfiostate init\n")


def test_with_a_configuration_the_plan_comes_next_and_with_a_setup_its_status(run: Run) -> None:
    assert run("init", "--device", "03:00.0", "--device", "03:00.1").code == 0
    said = run("doctor")
    assert said.code == 0 and said.out.endswith("next: vfiostate plan\n")
    assert run("advance", "--until", "stubbed").code == 0
    said = run("doctor")
    assert said.code == 0, said.out
    assert "is under way, in the state `stubbed`" in said.out and said.out.endswith("next: vfiostate status\n")


def test_what_the_setup_itself_bound_is_not_called_set_up_before_it(run: Run) -> None:
    assert run("init", "--device", "03:00.0", "--device", "03:00.1").code == 0
    assert run("advance", "--until", "stubbed").code == 0
    assert run("machine", "reboot").code == 0
    assert run("advance", "--until", "bound").code == 0
    for _ in ("bound", "taken back, up to the reboot"):
        said = run("doctor")
        assert said.code == 0 and "set up already" not in said.out, said.out
        assert run("rollback").code in (0, 3)


def test_what_was_there_before_any_setup_is_said(run: Run, machine: Path) -> None:
    devices = machine / "sys/bus/pci/devices"
    assert run("init", "--device", "03:00.0", "--device", "03:00.1").code == 0
    for address in ("0000:03:00.0", "0000:03:00.1"):
        (devices / address / "driver_override").write_text("vfio-pci\n")
    assert run("doctor").out.count("driver_override vfio-pci. It is left so on the way back.") == 2


def test_what_blocks_is_told_last_with_its_cure_and_the_exit_code_of_a_refusal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--simulate", str(tmp_path / "m"), "machine", "create", "--from", "iommu-off"]) == 0
    capfd.readouterr()
    assert main(["--simulate", str(tmp_path / "m"), "doctor"]) == 5
    said = capfd.readouterr().out
    assert said.startswith("blocks  IOMMU ")
    assert "neither DMAR nor IVRS" in said and "-> In the firmware's setup turn on IOMMU" in said
    assert "2 things stand in the way" in said


def test_what_is_to_be_run_again_after_doctor_is_doctor(run: Run, machine: Path) -> None:
    for name in ("etc/default/grub", "boot/grub/grub.cfg"):
        (machine / name).unlink()
    said = run("doctor")
    assert said.code == 5
    assert "No boot loader was found" in said.out
    assert "then run `vfiostate doctor` again" in said.out and "run `vfiostate advance`" not in said.out


def test_a_mistaken_configuration_is_one_of_the_things_that_block(run: Run, machine: Path) -> None:
    (machine / "etc/vfiostate.toml").write_text("stup = 1\n")
    said = run("doctor")
    assert said.code == 5
    assert "blocks  configuration" in said.out and "stup" in said.out
    assert "devices         4 of 7 can be taken" in said.out


def test_without_root_the_journal_is_named_as_not_looked_at(
    run: Run, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotRootError("the journal and the host's boot files belong to root", hint="run it with sudo")

    monkeypatch.setattr("engine.doctor.open_session", refuse)
    said = run("doctor")
    assert said.code == 0
    assert "not looked at without root:\n    the journal: whether a setup is under way" in said.out
    assert "as far as it can be seen without root\nnext: sudo vfiostate doctor, then vfiostate init" in said.out


def test_json_says_each_area_with_its_findings(run: Run) -> None:
    found = json.loads(run("doctor", "--json").out)
    assert found["schema"] == "vfiostate.doctor/1" and found["blocks"] is False
    assert [area["name"] for area in found["areas"]][:2] == ["IOMMU", "boot loader"]
    assert {area["standing"] for area in found["areas"]} == {"ok"}
