"""udev's rules on the simulated machine: virtual functions made at every boot, kept from drivers or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.capture import describe
from engine.hosts.simulated.host import SimulatedHost
from engine.hosts.simulated.udev import rules
from tests.field.support import attribute, driver, made, reboot
from tests.field.test_cards import PHYSICAL, VIRTUAL, virtual_functions

MAKES = f'ACTION=="add|bind", SUBSYSTEM=="pci", KERNEL=="{PHYSICAL}", DRIVER=="?*"'
NUMBER = 'ATTR{sriov_numvfs}="2"'
ALONE = 'ATTR{sriov_drivers_autoprobe}="0"'


def booted(directory: Path, *lines: str) -> Path:
    """The lab's machine with a card that can have virtual functions, after a boot with these rules."""
    machine = made(directory, "debian12-lab", change=virtual_functions)
    place = machine / "etc/udev/rules.d/10-vf.rules"
    place.parent.mkdir(parents=True)
    place.write_text("".join(line + "\n" for line in lines))
    reboot(machine)
    return machine


def held_by(machine: Path) -> list[str | None]:
    """Who has each of the virtual functions; nothing where they are not made."""
    there = [one for one in VIRTUAL if (machine / "sys/bus/pci/devices" / one).exists()]
    return [driver(machine, one) for one in there]


@pytest.mark.parametrize(
    ("lines", "holders"),
    [
        ((), []),
        ((f"{MAKES}, {NUMBER}",), ["ixgbevf", "ixgbevf"]),
        ((f"{MAKES}, {ALONE}, {NUMBER}",), [None, None]),
        ((f"{MAKES}, {NUMBER}, {ALONE}",), ["ixgbevf", "ixgbevf"]),  # too late: they are there
        ((f"# {MAKES}, {NUMBER}",), []),
        ((f"{MAKES}, \\", NUMBER), ["ixgbevf", "ixgbevf"]),
        ((f'{MAKES}, ENV{{ID_VENDOR}}=="x", {NUMBER}',), []),  # more than this model knows
        ((f'KERNEL=="{PHYSICAL}", DRIVER!="?*", {NUMBER}',), []),  # ENOENT without a driver, which udev passes over
        ((f'KERNEL=="{PHYSICAL}", ATTR{{vendor}}=="0x8086", DRIVER=="ixgbe", {NUMBER}',), ["ixgbevf", "ixgbevf"]),
        ((f'KERNEL=="{PHYSICAL}", ATTR{{vendor}}=="0x1002", DRIVER=="ixgbe", {NUMBER}',), []),
    ],
)
def test_what_a_rule_makes_at_boot(tmp_path: Path, lines: tuple[str, ...], holders: list[str | None]) -> None:
    assert held_by(booted(tmp_path, *lines)) == holders


def test_of_two_files_of_one_name_the_first_place_counts(tmp_path: Path) -> None:
    machine = booted(tmp_path)
    place = machine / "usr/lib/udev/rules.d/10-vf.rules"
    place.parent.mkdir(parents=True)
    place.write_text(f"{MAKES}, {NUMBER}\n")
    assert rules(SimulatedHost(machine).machine) == ()
    (machine / "etc/udev/rules.d/10-vf.rules").unlink()
    assert len(rules(SimulatedHost(machine).machine)) == 1


def test_a_virtual_function_that_is_kept_from_drivers_takes_the_one_that_is_named_for_it(tmp_path: Path) -> None:
    machine = booted(tmp_path, f"{MAKES}, {ALONE}, {NUMBER}")
    base = f"/sys/bus/pci/devices/{VIRTUAL[0]}"
    attribute(machine, "/sys/bus/pci/drivers_probe", VIRTUAL[0])
    assert driver(machine, VIRTUAL[0]) is None
    attribute(machine, f"{base}/driver_override", "ixgbevf\n")
    attribute(machine, "/sys/bus/pci/drivers_probe", VIRTUAL[0])
    assert held_by(machine) == ["ixgbevf", None]


def test_what_makes_them_is_captured_and_so_is_that_drivers_are_kept_off(tmp_path: Path) -> None:
    machine = booted(tmp_path, f"{MAKES}, {ALONE}, {NUMBER}")
    description = describe.capture(SimulatedHost(machine))
    assert f"{MAKES}, {ALONE}, {NUMBER}\n" in [one.text for one in description.files.values()]
    physical = description.function(PHYSICAL)
    assert physical is not None and not physical.vfs_autoprobe
