"""Two equal cards, one for the host: taken by its address, early, with each generator that can run a script."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.badinput.support import copy, manifest, roll_back, run
from tests.field.support import (
    Description,
    advanced,
    driver,
    function,
    made,
    modules,
    reboot,
    redescribed,
    refused,
    words,
)
from tests.initramfs.system import System
from tests.initramfs.systems import systems

KERNEL = "6.1.0-18-amd64"
CARD, AUDIO = "0000:02:00.0", "0000:02:00.1"
HOST_CARD, HOST_AUDIO = "0000:01:00.0", "0000:01:00.1"
ONE_CARD = ("--device=02:00.0", "--device=02:00.1", "--no-guest")
CAN = [system for system in systems() if system.conf]
CANNOT = [system for system in systems() if not system.conf]
Change = Callable[[Description], None]


def twins(directory: Path, system: System, *init: str, change: Change | None = None) -> Path:
    """The machine with two equal cards and this generator."""

    def both(description: Description) -> None:
        system.change(description)
        files = description["files"]
        for path in list(system.files):
            text = files.pop(path)
            text["text"] = text["text"].replace("6.1.0-56-amd64", KERNEL)
            files[path.replace("6.1.0-56-amd64", KERNEL)] = text
        if change is not None:
            change(description)

    return made(directory, "intel-twins", *ONE_CARD, *init, change=both)


def holders(machine: Path) -> list[str | None]:
    """Who holds the guest's card and the host's."""
    return [driver(machine, address) for address in (CARD, AUDIO, HOST_CARD, HOST_AUDIO)]


NATIVE = ["nouveau", "snd_hda_intel"] * 2
SPLIT = ["vfio-pci", "vfio-pci", "nouveau", "snd_hda_intel"]


@pytest.mark.parametrize("system", CAN, ids=lambda system: system.name)
def test_one_card_goes_and_the_other_keeps_its_driver_there_and_back(system: System, tmp_path: Path) -> None:
    machine = twins(tmp_path, system)
    before = copy(machine, tmp_path / "before")
    run(machine, *system.advance, "--until", "stubbed").is_(
        0, f"{CARD} is taken by its address", f"{HOST_CARD} is 10de:1b80 too"
    )
    assert holders(machine) == NATIVE
    reboot(machine)
    assert not any(".ids=" in word for word in words(machine))
    assert holders(machine) == SPLIT
    advanced(machine)
    reboot(machine)
    assert holders(machine) == SPLIT
    run(machine, "advance", "--until", "bound").is_(0)
    assert holders(machine) == SPLIT
    roll_back(machine)
    assert manifest(machine) == manifest(before)
    reboot(machine)
    assert holders(machine) == NATIVE


def split_there_and_back(machine: Path, tmp_path: Path) -> None:
    """To `bound` with one card for each, and back to what was there before."""
    before = copy(machine, tmp_path / "before")
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    assert holders(machine) == SPLIT
    run(machine, "advance", "--until", "bound").is_(0)
    roll_back(machine)
    assert manifest(machine) == manifest(before)


TOOLS = next(system for system in CAN if system.model == "initramfs-tools")


def test_a_dracut_that_takes_in_a_few_of_its_modules_alone_is_told_of_ours(tmp_path: Path) -> None:
    def few(description: Description) -> None:
        description["files"]["/etc/dracut.conf.d/few.conf"] = {"text": 'dracutmodules+=" base kernel-modules "\n'}

    machine = twins(tmp_path, next(system for system in CAN if system.model == "dracut"), change=few)
    split_there_and_back(machine, tmp_path)


def test_pci_stub_takes_one_card_by_its_address_too(tmp_path: Path) -> None:
    machine = twins(tmp_path, TOOLS, "--stub=pci-stub")
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    assert holders(machine) == ["pci-stub", "pci-stub", "nouveau", "snd_hda_intel"]
    run(machine, "advance", "--until", "bound").is_(0)
    assert holders(machine) == SPLIT


def test_a_stub_driver_that_is_built_in_takes_one_card_by_its_address_too(tmp_path: Path) -> None:
    def change(description: Description) -> None:
        for name in ("irqbypass", "vfio", "vfio_virqfd", "vfio_iommu_type1", "vfio_pci_core", "vfio_pci"):
            modules(description)[name]["builtin"] = True

    machine = twins(tmp_path, TOOLS, change=change)
    split_there_and_back(machine, tmp_path)


def test_the_recovery_entry_leaves_both_cards_to_the_host(tmp_path: Path) -> None:
    machine = twins(tmp_path, TOOLS)
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine, "recovery")
    assert holders(machine) == NATIVE


def test_an_address_that_is_another_device_after_the_reboot_is_left_alone(tmp_path: Path) -> None:
    machine = twins(tmp_path, TOOLS)
    run(machine, "advance", "--until", "stubbed").is_(0)

    def swap(description: Description) -> None:
        function(description, CARD)["device"] = "1b81"

    redescribed(machine, swap)
    reboot(machine)
    assert driver(machine, CARD) == "nouveau"
    refused(machine, "devices-renumbered", CARD)


@pytest.mark.parametrize("state", ["stubbed", "bound"])
def test_an_address_that_is_the_twin_s_after_the_reboot_is_left_alone_and_refused(state: str, tmp_path: Path) -> None:
    def makers(description: Description) -> None:
        for address, maker in ((CARD, "aaaa"), (HOST_CARD, "bbbb")):
            function(description, address)["subsystem_device"] = maker

    def swap(description: Description) -> None:
        card, other = function(description, CARD), function(description, HOST_CARD)
        card["subsystem_device"], other["subsystem_device"] = other["subsystem_device"], card["subsystem_device"]

    machine = twins(tmp_path, TOOLS, change=makers)
    run(machine, "advance", "--until", "stubbed").is_(0)
    if state == "bound":
        reboot(machine)
        run(machine, "advance", "--until", "bound").is_(0)
    redescribed(machine, swap)
    reboot(machine)
    assert driver(machine, CARD) == "nouveau"
    answer = refused(machine, "twin-at-address", CARD, HOST_CARD)
    assert "The native driver" not in answer.text
    assert driver(machine, CARD) == "nouveau"


def test_a_twin_that_lost_its_driver_is_no_success(tmp_path: Path) -> None:
    machine = twins(tmp_path, TOOLS)
    run(machine, "advance", "--until", "stubbed").is_(0)
    (machine / "etc/modprobe.d/mine.conf").write_text("blacklist snd_hda_intel\n")
    reboot(machine)
    refused(machine, "host-lost-twin", HOST_AUDIO, "snd_hda_intel")


def test_an_id_that_the_user_has_given_already_is_refused_since_it_takes_both(tmp_path: Path) -> None:
    machine = twins(tmp_path, TOOLS)
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    (machine / "etc/modprobe.d/mine.conf").write_text("options vfio-pci ids=10de:1b80\n")
    refused(machine, "identical-ids-given", "modprobe.d", HOST_CARD)


@pytest.mark.parametrize("system", CANNOT[:1], ids=lambda system: system.name)
def test_a_generator_that_runs_no_script_is_refused_with_the_way_that_is_left(system: System, tmp_path: Path) -> None:
    machine = twins(tmp_path, system)
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    refused(machine, "identical-ids", "booster's images have no shell", "identical_ids")


def test_a_kernel_without_driver_override_is_refused_when_it_is_checked(tmp_path: Path) -> None:
    def old(description: Description) -> None:
        description["kernels"][0]["release"] = "3.11.0-12-generic"

    machine = made(tmp_path, "intel-twins", *ONE_CARD, change=old)
    refused(machine, "identical-ids", "no driver_override")


def test_what_the_script_has_set_is_no_drift(tmp_path: Path) -> None:
    machine = twins(tmp_path, TOOLS, "--stub=pci-stub")
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    answer = run(machine, "audit")
    assert "driver_override" not in answer.text
    run(machine, "advance", "--until", "bound").is_(0)
    assert "driver_override" not in run(machine, "audit").is_(0).text
