"""The step `checked` as a whole, on the shipped machines: nothing is changed, and everything is said at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from steps import check, doctor
from steps.base import Brief, Plan, Severity
from steps.config import Accel, Allow, Config, Device, Guest, Stub
from tests.support.memory_host import MemoryHost
from tests.support.simulated import machine

ARTICLE = (
    Device("0000:03:00.0", "10de:1200"),
    Device("0000:03:00.1", "10de:0e0c"),
    Device("0000:00:12.0", "1002:4397"),
    Device("0000:00:12.2", "1002:4396"),
)
LAB = (Device("0000:01:00.0", "1234:1111"), Device("0000:01:00.1", "8086:2668"), Device("0000:02:00.0", "1b36:000d"))
TWIN = (Device("0000:02:00.0", "10de:1b80"), Device("0000:02:00.1", "10de:10f0"))
FIRST = (Device("0000:01:00.0", "10de:1b80"), Device("0000:01:00.1", "10de:10f0"))


def planned(directory: Path, name: str, config: Config) -> Plan:
    host = machine(directory, name)
    brief = Brief(config, "0123456789ab", host.boot_id)
    plan = check.STEP.plan(brief, check.STEP.probe(host, brief))
    assert plan.actions == (), "checking changes nothing"
    return plan


def refused(plan: Plan) -> set[str]:
    return {finding.code for finding in plan.findings if finding.severity is Severity.REFUSAL}


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("article", Config(ARTICLE, stub=Stub.PCI_STUB, guest=Guest())),
        ("article", Config(ARTICLE)),
        ("debian12-lab", Config(LAB, guest=Guest(accel=Accel.TCG))),
        ("debian12-lab", Config(LAB, stub=Stub.PCI_STUB)),
    ],
)
def test_a_machine_that_can_be_set_up_is_not_refused(tmp_path: Path, name: str, config: Config) -> None:
    plan = planned(tmp_path / "machine", name, config)
    assert refused(plan) == set()
    assert "IOMMU: on" in plan.notes and any("boot loader grub" in note for note in plan.notes)
    assert set(json.loads(plan.remember["devices"])) == {device.address for device in config.devices}


@pytest.mark.parametrize(
    ("name", "config", "codes"),
    [
        ("intel-twins", Config(TWIN), set()),
        ("intel-twins", Config(TWIN, allow=Allow(identical_ids=("10de:1b80", "10de:10f0"))), set()),
        ("shared-group", Config(FIRST), {"group-not-viable"}),
        ("debian12-lab", Config(LAB, guest=Guest()), {"kvm-missing"}),
        ("debian12-lab", Config(LAB[:1]), {"group-not-viable"}),
        ("debian12-lab", Config((*LAB, Device("0000:00:07.0", "1af4:1001"))), {"disk-in-use"}),
        ("article", Config((*ARTICLE, Device("0000:0a:00.0", "1000:0001"))), {"device-absent"}),
    ],
)
def test_a_machine_or_a_wish_that_cannot_be_is_refused_for_its_reason(
    tmp_path: Path, name: str, config: Config, codes: set[str]
) -> None:
    assert refused(planned(tmp_path / "machine", name, config)) == codes


@pytest.mark.parametrize(
    ("name", "config", "codes"),
    [
        ("article", Config(ARTICLE, stub=Stub.PCI_STUB), set()),
        ("article", Config(ARTICLE), {"initramfs-not-found"}),
        ("debian12-lab", Config(LAB, stub=Stub.PCI_STUB), {"initramfs-not-found"}),
    ],
)
def test_a_generator_is_missed_only_where_the_stub_driver_is_no_part_of_the_kernel(
    tmp_path: Path, name: str, config: Config, codes: set[str]
) -> None:
    host = machine(tmp_path / "machine", name)
    shutil.rmtree(tmp_path / "machine/etc/initramfs-tools")
    brief = Brief(config, "0123456789ab", host.boot_id)
    plan = check.STEP.plan(brief, check.STEP.probe(host, brief))
    assert refused(plan) == codes
    (area,) = (each for each in doctor.examine(host, brief) if each.name == "initramfs")
    assert {finding.code for finding in area.findings} == codes and (area.said == "none is needed") == (not codes)


def test_an_iommu_that_is_off_in_the_firmware_is_refused_as_that(tmp_path: Path) -> None:
    plan = planned(tmp_path / "machine", "iommu-off", Config((Device("0000:03:00.0", "0000:0000"),)))
    assert "iommu-off-in-firmware" in refused(plan)


def test_refusals_come_before_warnings_and_warnings_before_notes(tmp_path: Path) -> None:
    weights = [Severity.REFUSAL, Severity.WARNING, Severity.NOTE]
    plan = planned(tmp_path / "machine", "intel-twins", Config(TWIN[:1], guest=Guest()))
    order = [weights.index(finding.severity) for finding in plan.findings]
    assert order == sorted(order) and order


def test_a_host_that_shows_nothing_is_refused_for_everything_at_once_and_without_a_traceback() -> None:
    host = MemoryHost({})
    brief = Brief(Config(ARTICLE, guest=Guest()), "0123456789ab", "boot")
    found = refused(check.STEP.plan(brief, check.STEP.probe(host, brief)))
    wanted = {"iommu-no-support", "device-absent", "boot-loader-not-found", "initramfs-not-found", "command-missing"}
    assert wanted <= found and "kvm-missing" in found
    assert refused(Plan(findings=check.STEP.verify(brief, check.STEP.probe(host, brief)))) == found
