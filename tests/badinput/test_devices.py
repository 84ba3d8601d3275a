"""Devices that are not there, are others, or are not named as devices are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from journal.events import Kind
from tests.badinput.support import CONFIG, JOURNAL, At, events, last, run, state, unchanged

ADDRESS = "0000:02:00.0"


def _remove(machine: Path, address: str) -> None:
    """Take a card out of its slot."""
    link = machine / "sys/bus/pci/devices" / address
    shutil.rmtree(link.resolve())
    for name in [*machine.glob(f"sys/bus/pci/drivers/*/{address}"), link]:
        name.unlink()
    for name in machine.glob(f"sys/kernel/iommu_groups/*/devices/{address}"):
        name.unlink()


@pytest.mark.parametrize("stage", ["new", "modules_loaded"])
def test_a_device_that_is_not_there_any_more_is_named_and_nothing_is_changed(at: At, stage: str) -> None:
    machine = at(stage)
    _remove(machine, ADDRESS)
    with unchanged(machine):
        run(machine, "advance").is_(5, ADDRESS).with_hint()
    assert state(machine) == stage
    assert ADDRESS in str(last(machine, Kind.STEP_REFUSED).data)


@pytest.mark.parametrize("stage", ["new", "modules_loaded"])
def test_another_card_in_the_slot_is_told_by_its_id(at: At, stage: str) -> None:
    machine = at(stage)
    place = (machine / "sys/bus/pci/devices" / ADDRESS).resolve() / "device"
    place.chmod(0o644)
    place.write_text("0x0010\n")
    with unchanged(machine):
        run(machine, "advance").is_(5, ADDRESS, "1b36:000d", "1b36:0010").with_hint()
    assert "1b36:0010" in str(last(machine, Kind.STEP_REFUSED).data)


@pytest.mark.parametrize(
    ("device", "code", "words"),
    [
        ("09:00.0", 5, "no device at 0000:09:00.0"),
        ("01:00.5", 5, "0000:01:00.0"),
        ("01:00.0=10de:1200", 5, "found 1234:1111"),
        ("1:0.0", 64, "1:0.0"),
        ("gpu", 64, "gpu"),
        ("", 64, "address"),
        ("01:00.8", 64, "01:00.8"),
        ("01:20.0", 64, "01:20.0"),
        ("01:00.0=12345:1", 64, "12345:1"),
        ("01:00.0=", 64, "id"),
        ("01:00.0\n02:00.0", 64, "address"),
        ("\uff10\uff11:00.0", 64, "address"),
        ("../../etc", 64, "../../etc"),
    ],
)
def test_a_device_that_init_cannot_take_is_told_why(new: Path, device: str, code: int, words: str) -> None:
    with unchanged(new):
        run(new, "init", "--force", "--device", device).is_(code, words).with_hint()


@pytest.mark.parametrize("address", ["1:0.0", "gpu", "", "0000:01:00.0 ", "01:00.9", "0000:01:00.0/../.."])
def test_a_malformed_address_in_the_configuration_is_refused_with_its_line(new: Path, address: str) -> None:
    place = new / CONFIG
    before = place.read_text()
    assert 'address = "0000:01:00.0"' in before
    place.write_text(before.replace('"0000:01:00.0"', f'"{address}"', 1))
    line = 1 + before[: before.index('"0000:01:00.0"')].count("\n")
    with unchanged(new):
        run(new, "advance").is_(64, f"line {line}", "address")
    assert not (new / JOURNAL).exists() or events(new) == []
