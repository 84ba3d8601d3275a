"""What goes wrong for people, most reported first: eighteen to the last, driven through the command line.

18  efifb/simpledrm holds the BAR   named      when it holds it: before the check, or after the boot without a driver
19  the GPU's driver wins           prevented  softdeps and stub are in the initramfs; named, with what lies in it
20  audio, USB, UCSI forgotten      named      by `init`, refused in a shared group, a warning in another one
21  an unbind hangs                 named      not waited for: the journal says "unknown", the way on and back stay open
22  driver_override stays set       prevented  cleared on the way back, before the reboot
23  nothing bound after a reboot    prevented  a unit binds them, and `advance` goes on from there, with no step twice
24  addresses are renumbered        named      address and id are checked together, and the new address is told
25  /dev/vfio/N                     prevented  the node is given to the guest and its memory limit raised; otherwise
                                               named with QEMU's own words and what they mean
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from journal.events import Kind
from tests.badinput.support import At, events, faults, last, manifest, roll_back, run, state, unchanged
from tests.field.support import (
    ADDRESSES,
    CONF,
    LAB,
    NATIVE,
    STUBBED,
    Description,
    advanced,
    command,
    driver,
    drivers,
    function,
    image,
    made,
    modules,
    overrides,
    reboot,
    redescribed,
    refused,
)

On = Callable[..., Path]
BUILT_IN = ("usbcore", "xhci_hcd", "xhci_pci")


def _built_in(description: Description) -> None:
    """The USB controller's native driver is part of the kernel: it has the device before any stub."""
    for name in BUILT_IN:
        modules(description)[name]["builtin"] = True


def test_18_a_framebuffer_that_holds_the_cards_memory_is_named_before_the_guest_starts(at: At) -> None:
    machine = at("stubbed")
    redescribed(machine, lambda found: found.update(framebuffer=["efifb", "0000:01:00.0"]))
    reboot(machine)
    advanced(machine)
    answer = advanced(machine, "(efifb) holds memory of 0000:01:00.0", "/proc/iomem: efifb", "video=efifb:off")
    assert answer.text.count("holds memory of") == 1


def test_19_the_stub_is_in_the_initramfs_with_its_softdeps_before_anybody_reboots(at: At) -> None:
    found = image(at("stubbed"))
    assert {"vfio_pci", "bochs"} <= found.modules
    assert "softdep bochs pre: vfio_pci" in found.files[CONF].splitlines()
    assert drivers(at("rebooted")) == STUBBED


def test_19_a_native_driver_that_won_is_named_with_what_lies_in_the_initramfs(at: At) -> None:
    machine = at("stubbed")
    (machine / CONF).unlink()
    command(machine, "update-initramfs", "-u", "-k", "all")
    reboot(machine)
    lost = f"/{CONF} is not in it"
    refused(machine, "native-driver-won", "bochs-drm took 0000:01:00.0", "bochs is in it", lost, "rollback")


def test_20_the_function_beside_the_card_that_was_forgotten_is_named(at: At) -> None:
    machine = at("new")
    told = "0000:01:00.1 [8086:2668] is in IOMMU group 7 too, which goes as a whole or not at all"
    run(machine, "init", "--force", "--device=01:00.0", "--no-guest").is_(0, told)
    refused(machine, "group-not-viable", "0000:01:00.1 [8086:2668] audio", 'adding "0000:01:00.1" (id "8086:2668")')


def test_20_one_in_a_group_of_its_own_is_a_warning(tmp_path: Path) -> None:
    def change(description: Description) -> None:
        function(description, "0000:01:00.1")["group"] = 17

    machine = made(tmp_path, "debian12-lab", "--device=01:00.0", "--no-guest", change=change)
    advanced(machine, "left with the host: audio 0000:01:00.1", "USB-C functions go to the guest with it")


def test_21_an_unbind_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    def change(description: Description) -> None:
        _built_in(description)
        function(description, "0000:02:00.0")["hangs"] = True

    machine = made(tmp_path, "debian12-lab", *LAB, change=change)
    before = manifest(machine)
    run(machine, "advance", "--until", "stubbed").is_(0, "xhci_pci will take 0000:02:00.0")
    reboot(machine)
    advanced(machine, "is unbound in the next step")
    with unchanged(machine):
        answer = run(machine, "advance").is_(1, "/sys/bus/pci/drivers/xhci_hcd/unbind", "no answer within 30 s")
    assert "End what still uses the device (`dmesg` names the task)" in answer.with_hint().err
    assert "unknown" in [event.data["result"] for event in events(machine) if event.kind is Kind.OUTCOME]
    assert state(machine) == "rebooted"
    redescribed(machine, lambda found: function(found, "0000:02:00.0").update(hangs=False))
    advanced(machine)
    assert drivers(machine) == STUBBED
    roll_back(machine)
    assert manifest(machine) == before


def test_22_driver_override_is_cleared_on_the_way_back(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", *LAB, change=_built_in)
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    run(machine, "advance", "--until", "bound").is_(0)
    assert overrides(machine) == ["(null)", "(null)", "vfio-pci"]
    run(machine, "rollback").is_(3)
    assert overrides(machine) == ["(null)"] * 3
    assert driver(machine, ADDRESSES[2]) == NATIVE[2]


def test_23_after_a_reboot_all_is_bound_again_and_no_step_is_taken_twice(at: At) -> None:
    machine = at("bound")
    before = manifest(machine)
    reboot(machine)
    # The ids on the command line have bound them before the unit came: it leaves what vfio-pci holds alone.
    assert (drivers(machine), overrides(machine)) == (STUBBED, ["(null)"] * 3)
    advanced(machine, "`bound` was lost, now `rebooted`", "what binds at every boot is installed already")
    assert state(machine) == "bound"
    assert manifest(machine) == before
    begun = [event.step for event in events(machine) if event.kind is Kind.STEP_STARTED]
    assert begun == ["checked", "modules_loaded", "stubbed", "rebooted", "bound", "bound"]


def _renumbered(description: Description) -> None:
    """A new card in front of it: the USB controller is one bus further."""
    function(description, "0000:02:00.0")["address"] = "0000:04:00.0"


def test_24_addresses_renumbered_by_the_reboot_are_told_with_the_new_one(at: At) -> None:
    machine = at("stubbed")
    redescribed(machine, _renumbered)
    reboot(machine)
    refused(machine, "devices-renumbered", "0000:02:00.0 is not 1b36:000d any more", "1b36:000d is at 0000:04:00.0 now")


def test_24_addresses_renumbered_before_the_check_or_after_the_binding_are_told_too(at: At) -> None:
    for stage in ("new", "bound"):
        machine = at(stage)
        redescribed(machine, _renumbered)
        reboot(machine)
        said = ("no PCI function at 0000:02:00.0", "change 0000:02:00.0 to 0000:04:00.0 in the configuration")
        refused(machine, "device-absent", *said)


DENIED = "vfio 0000:01:00.0: failed to open /dev/vfio/7: Permission denied"
MEMLOCK = "VFIO_MAP_DMA failed: Cannot allocate memory"
LATER = "qemu: hardware error: vfio: DMA mapping failed, unable to continue"


@pytest.mark.parametrize(
    ("says", "means"), [(DENIED, "ls -l /dev/vfio"), (MEMLOCK, "RLIMIT_MEMLOCK"), (LATER, "RLIMIT_MEMLOCK")]
)
def test_25_a_group_that_qemu_cannot_use_is_told_with_its_words_and_what_they_mean(
    at: At, says: str, means: str
) -> None:
    machine = at("bound")
    faults(machine, qemu={"dies": says})
    with unchanged(machine):
        assert means in run(machine, "advance").is_(1, says).with_hint().err
    assert says in str(last(machine, Kind.STEP_FAILED).data["evidence"])
    assert state(machine) == "bound"


def test_25_a_group_that_another_process_has_open_is_told(at: At) -> None:
    machine = at("bound")
    with (machine / "dev/vfio/7").open("r+") as node:
        fcntl.flock(node, fcntl.LOCK_EX)
        run(machine, "advance").is_(1, "Device or resource busy", "has the VFIO group open")
    advanced(machine)
    run(machine, "guest", "stop").is_(0)


def test_25_the_node_and_the_memory_are_the_guests_before_it_is_started(at: At) -> None:
    run(at("bound"), "plan").is_(0, "owns /dev/vfio/7 /dev/vfio/8 while it runs", "may lock ", "MiB of memory")
