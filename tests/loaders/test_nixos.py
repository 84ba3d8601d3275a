"""NixOS: what is to be added is printed, nothing is changed, and once it is in force the step goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.badinput.support import At, run, unchanged
from tests.field.support import LAB, STUBBED, Description, advanced, command, drivers, has_token, made, reboot, words
from tests.initramfs.system import COMMANDS as INITRAMFS_TOOLS

CONFIGURATION = "etc/nixos/configuration.nix"


def nixos(description: Description) -> None:
    """The lab's machine, with NixOS on it, which has no command that makes an initramfs alone."""
    description["boot_loader"] = "nixos"
    description["distribution"] = "NixOS"
    commands = [each for each in description["commands"] if "grub" not in each and each not in INITRAMFS_TOOLS]
    description["commands"] = [*commands, "/usr/bin/nixos-rebuild"]
    files = {path: one for path, one in description["files"].items() if "grub" not in path}
    files["/etc/os-release"] = {"text": "NAME=NixOS\nID=nixos\n"}
    description["files"] = files


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`modules_loaded`: the next step is to give the devices to the stub driver."""
    machine = made(tmp_path_factory.mktemp("nixos"), "debian12-lab", *LAB, change=nixos)
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    return {"modules_loaded": machine}


def printed(text: str) -> list[str]:
    """The lines of Nix in an answer, as they are to be added."""
    lines = [line.strip() for line in text.splitlines()]
    start = next(n for n, line in enumerate(lines) if line.startswith("boot.kernelParams"))
    end = next(n for n, line in enumerate(lines) if n > start and line == "'';")
    return lines[start : end + 1]


def add(machine: Path, lines: list[str]) -> None:
    """What the user does with them."""
    place = machine / CONFIGURATION
    place.write_text(place.read_text().rstrip("}\n") + "\n".join(["", *lines, "}", ""]))
    command(machine, "nixos-rebuild", "boot")


def test_the_exact_lines_are_printed_and_nothing_is_changed(at: At) -> None:
    machine = at("modules_loaded")
    with unchanged(machine):
        answer = run(machine, "advance").is_(5, "is its user's to write", "nixos-rebuild boot").with_hint()
    (parameters, modules, *softdeps) = printed(answer.text)
    assert parameters.startswith('boot.kernelParams = [ "vfiostate.setup=')
    assert '"vfio-pci.ids=1234:1111,8086:2668,1b36:000d"' in parameters
    assert modules == 'boot.initrd.kernelModules = [ "vfio" "vfio_iommu_type1" "vfio_pci" ];'
    assert "softdep bochs pre: vfio_pci" in softdeps


def test_once_they_are_in_force_the_step_has_nothing_to_do_and_the_devices_are_there_after_the_reboot(at: At) -> None:
    machine = at("modules_loaded")
    add(machine, printed(run(machine, "advance").text))
    with unchanged(machine):
        advanced(machine, "nothing is changed")
    run(machine, "audit").is_(0)
    reboot(machine)
    assert has_token(words(machine)) and drivers(machine) == STUBBED
    advanced(machine)


def test_lines_that_were_written_and_not_built_are_asked_for_again(at: At) -> None:
    machine = at("modules_loaded")
    lines = printed(run(machine, "advance").text)
    place = machine / CONFIGURATION
    place.write_text(place.read_text().rstrip("}\n") + "\n".join(["", *lines, "}", ""]))
    run(machine, "advance").is_(5, "nixos-rebuild boot")


def test_the_users_own_ids_are_in_the_line_that_is_asked_for(at: At) -> None:
    machine = at("modules_loaded")
    add(machine, ['boot.kernelParams = [ "vfio-pci.ids=10de:1200" ];'])
    parameters = printed(run(machine, "advance").text)[0]
    assert '"vfio-pci.ids=10de:1200,1234:1111,8086:2668,1b36:000d"' in parameters


def test_a_generation_that_cannot_be_read_is_refused(at: At) -> None:
    machine = at("modules_loaded")
    for place in (machine / "nix/store").glob("*/boot.json"):
        place.write_text("{")
    with unchanged(machine):
        run(machine, "advance").is_(5, "cannot be read").with_hint()
