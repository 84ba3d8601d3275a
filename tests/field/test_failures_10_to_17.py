"""What goes wrong for people, most reported first: ten to seventeen, driven through the command line.

10  overwritten later by tools      prevented  before the trial boot: our words are not in those files yet; a
                                               command line that is not the one tried is named, and any later loss
11  one kernel's initramfs rebuilt  prevented  the images of all kernels are
12  vfio_virqfd is gone             prevented  kmod is asked: it is neither loaded nor listed where the kernel has none
13  vfio-pci is built in            prevented  the command line alone is used: no softdep, no initramfs
14  two identical ids               named      refused with the other card; allowed by name only
15  group is not viable             named      each member with its driver, and what can be done about it
16  root disk or NIC in the group   named      refused for what hangs on it, and the group is not offered whole
17  the IOMMU is off                named      in the firmware and on the command line are different answers; a trial
                                               boot without it is not made the default
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from steps.base import State
from tests.badinput.support import GRUB, At, run, unchanged
from tests.field.support import (
    CFG,
    CONF,
    IDS,
    KERNEL,
    LAB,
    STUBBED,
    Description,
    advanced,
    attribute,
    command,
    drivers,
    has_token,
    image,
    made,
    modules,
    reboot,
    refused,
    replaced,
    untried,
    words,
)

On = Callable[..., Path]
SECOND = "5.10.0-1-amd64"


def _overwritten(machine: Path, stages: dict[State, Path]) -> None:
    """A package puts its own file back, and generates."""
    (machine / GRUB).write_bytes((stages[State.NEW] / GRUB).read_bytes())
    command(machine, "update-grub")


def test_10_a_tool_that_overwrites_the_options_before_the_trial_boot_overwrites_nothing_of_ours(
    at: At, stages: dict[State, Path]
) -> None:
    machine = at("stubbed")
    _overwritten(machine, stages)
    reboot(machine)
    advanced(machine)
    assert has_token((machine / GRUB).read_text().replace('"', " ").split())
    reboot(machine)
    assert has_token(words(machine)) and drivers(machine) == STUBBED


def test_10_a_tool_that_changes_the_options_before_the_trial_boot_is_named_and_what_it_wrote_is_not_edited(
    at: At,
) -> None:
    machine = at("stubbed")
    replaced(machine / GRUB, '"quiet"', '"quiet nosmt"')
    command(machine, "update-grub")
    reboot(machine)
    refused(
        machine, "line-changed-since-trial", "tried with 'quiet'", "now 'quiet nosmt'", "rollback --to modules_loaded"
    )


def test_10_without_a_trial_a_tool_that_overwrites_the_options_before_the_reboot_is_named(
    at: At, stages: dict[State, Path]
) -> None:
    machine = untried(at)
    _overwritten(machine, stages)
    run(machine, "status").is_(4, "/etc/default/grub: changed since we wrote it")
    reboot(machine)
    refused(
        machine, "token-missing", "something has overwritten it", "/etc/default/grub", "rollback --to modules_loaded"
    )


def test_10_a_tool_that_overwrites_the_options_much_later_is_named(at: At, stages: dict[State, Path]) -> None:
    machine = at("bound")
    _overwritten(machine, stages)
    reboot(machine)
    said = "something has overwritten the boot configuration"
    advanced(machine, "`bound` was lost", "The kernel was started without", said, "puts the words back")
    run(machine, "status").is_(4, "/etc/default/grub: changed since we wrote it")


def test_11_the_initramfs_of_every_kernel_is_rebuilt(at: At) -> None:
    machine = at("modules_loaded")
    run(machine, "machine", "install-kernel", SECOND).is_(0)
    assert all("vfio_pci" not in image(machine, release).modules for release in (KERNEL, SECOND))
    advanced(machine)
    for release in (KERNEL, SECOND):
        assert "vfio_pci" in image(machine, release).modules
        assert CONF in image(machine, release).files
    reboot(machine)
    advanced(machine)
    reboot(machine, "previous")
    assert words(machine)[0].endswith(SECOND)
    assert drivers(machine) == STUBBED


def test_12_a_module_that_the_kernel_no_longer_has_is_not_asked_for(tmp_path: Path) -> None:
    def change(description: Description) -> None:
        del modules(description)["vfio_virqfd"]
        for module in modules(description).values():
            module["depends"] = [one for one in module.get("depends", []) if one != "vfio_virqfd"]

    machine = made(tmp_path, "debian12-lab", *LAB, change=change)
    advanced(machine)
    assert "modprobe vfio_virqfd" not in advanced(machine, "vfio_virqfd is part of another module").text
    assert "vfio_virqfd" not in (machine / "etc/modules").read_text()
    assert {"vfio", "vfio_pci"} <= set((machine / "etc/modules").read_text().splitlines())


def test_13_where_vfio_pci_is_built_in_the_command_line_alone_does_it(tmp_path: Path) -> None:
    def change(description: Description) -> None:
        for name in ("irqbypass", "vfio", "vfio_virqfd", "vfio_iommu_type1", "vfio_pci_core", "vfio_pci"):
            modules(description)[name]["builtin"] = True

    machine = made(tmp_path, "debian12-lab", *LAB, change=change)
    before = image(machine)
    run(machine, "advance", "--until", "stubbed").is_(0, "no softdeps and no initramfs are needed")
    assert not (machine / CONF).exists()
    assert image(machine) == before
    reboot(machine)
    advanced(machine)
    assert IDS in words(machine)
    assert drivers(machine) == STUBBED


def test_14_the_hosts_own_card_of_the_same_id_is_not_taken_unasked(on: On) -> None:
    twins = ("--device=02:00.0", "--device=02:00.1")
    machine = on("intel-twins", *twins)
    advanced(machine, "0000:01:00.0 also is 10de:1b80", "ours is taken by its address")
    allowed = [f"--allow-identical-ids={one}" for one in ("10de:1b80", "10de:10f0")]
    run(machine, "rollback").is_(0)
    run(machine, "init", "--force", *twins, *allowed).is_(0)
    advanced(machine, "0000:01:00.0 also is 10de:1b80", "it would take the host's card too")


def test_15_a_group_that_is_not_viable_is_named_with_each_of_its_members(on: On) -> None:
    machine = on("debian12-lab", "--device=00:1f.3", "--no-guest")
    members = ("0000:00:1f.0 [8086:2918]", "driver lpc_ich", "0000:00:1f.2 [8086:2922]", "driver ahci")
    refused(machine, "group-not-viable", *members, "another slot")


def test_15_a_group_that_became_not_viable_keeps_the_guest_from_being_started(at: At) -> None:
    machine = at("bound")
    audio, pci = "0000:01:00.1", "/sys/bus/pci"
    attribute(machine, f"{pci}/drivers/vfio-pci/unbind", audio)
    attribute(machine, f"{pci}/devices/{audio}/driver_override", "\n")
    attribute(machine, f"{pci}/drivers/snd_hda_intel/bind", audio)
    refused(machine, "group-not-viable", f"{audio} is under snd_hda_intel")


@pytest.mark.parametrize(
    ("name", "device", "code", "said"),
    [
        (
            "shared-group",
            "01:00.0",
            "group-not-viable",
            ("sda1 on sda holds the file system mounted on /", "sda2 on sda holds swap", "The host needs 0000:02:00.0"),
        ),
        ("debian12-lab", "00:07.0", "disk-in-use", ("vda1", "leave this controller with the host")),
        ("intel-twins", "00:1f.6", "default-route", ("eno1", "Move the default route to another card")),
    ],
)
def test_16_what_holds_the_root_disk_or_the_default_route_is_refused(
    on: On, name: str, device: str, code: str, said: tuple[str, ...]
) -> None:
    refused(on(name, "--device", device, "--no-guest"), code, *said)


def test_17_an_iommu_that_is_off_in_the_firmware_is_named_as_that(on: On) -> None:
    machine = on("iommu-off", "--device=03:00.0", "--device=03:00.1", "--allow-boot-vga=03:00.0")
    refused(
        machine, "iommu-off-in-firmware", "neither DMAR nor IVRS", "In the firmware's setup turn on IOMMU (also: AMD-Vi"
    )


def test_17_an_iommu_that_is_off_on_the_command_line_is_named_as_that(at: At) -> None:
    machine = at("new")
    replaced(machine / GRUB, '"quiet"', '"quiet intel_iommu=off"')
    # The next boot's line counts as much as this one's.
    refused(machine, "iommu-off-on-command-line", "intel_iommu=off in /etc/default/grub", "Take intel_iommu=off out")
    command(machine, "update-grub")
    reboot(machine)
    refused(machine, "iommu-off-on-command-line", "turned off by the kernel's command line: intel_iommu=off")


def test_17_an_iommu_that_went_off_with_the_reboot_is_named(at: At) -> None:
    for machine, line in ((at("stubbed"), "vfiostate.setup="), (untried(at), "quiet vfiostate.setup=")):
        replaced(machine / CFG, line, f"iommu=off {line}")
        reboot(machine)
        assert has_token(words(machine))
        with unchanged(machine):
            run(machine, "advance").is_(5, "The kernel has no IOMMU groups", "iommu=off").with_hint()


def test_17_a_trial_boot_without_an_iommu_is_made_again_when_asked_for(at: At) -> None:
    machine = at("stubbed")
    replaced(machine / CFG, "vfiostate.setup=", "iommu=off vfiostate.setup=")
    reboot(machine)
    run(machine, "advance").is_(5, "The kernel has no IOMMU groups", "advance --again")
    replaced(machine / CFG, "iommu=off ", "")
    run(machine, "advance", "--again").is_(3, "The trial boot is made once more")
    reboot(machine)
    advanced(machine)
    assert drivers(machine) == STUBBED
