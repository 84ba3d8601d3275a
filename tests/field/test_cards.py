"""Cards and groups, driven through the command line: what each kind of device needs, and what must not be taken.

Each machine is the lab's with one thing changed: virtual functions, keyboards, NVMe disks, a bridge to conventional
PCI, a domain of five digits, a card without a reset, a variant driver.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import config as configuration
from journal.events import Json, Kind
from steps.config import Config
from tests.badinput.support import GRUB, last, run, state
from tests.field.support import (
    KERNEL,
    LAB,
    Description,
    advanced,
    attribute,
    driver,
    function,
    made,
    modules,
    reboot,
    redescribed,
    refused,
    replaced,
)

Change = Callable[[Description], None]
GPU, AUDIO, USB = "0000:01:00.0", "0000:01:00.1", "0000:02:00.0"
CARD = ("--device=01:00.0", "--device=01:00.1", "--no-guest")
PHYSICAL, VIRTUAL = "0000:05:00.0", ("0000:05:10.0", "0000:05:10.2")
NUMVFS = f"/sys/bus/pci/devices/{PHYSICAL}/sriov_numvfs"


def card(address: str, ids: str, code: str, group: int, **more: object) -> Description:
    """A function to be added to a description."""
    vendor, device = ids.split(":")
    found: Description = {"address": address, "vendor": vendor, "device": device, "device_class": code, "group": group}
    return {"reset_method": "flr", **found, **more}


def virtual_functions(description: Description, *, second: bool = True) -> None:
    """A network card with two virtual functions, under drivers of their own."""
    description["functions"] += [
        card(PHYSICAL, "8086:154d", "020000", 40, total_vfs=8, driver="ixgbe"),
        card(VIRTUAL[0], "8086:10ed", "020000", 41, physfn=PHYSICAL, driver="ixgbevf"),
    ]
    if second:
        description["functions"].append(card(VIRTUAL[1], "8086:10ed", "020000", 42, physfn=PHYSICAL))
    for name, device in (("ixgbe", "154D"), ("ixgbevf", "10ED")):
        modules(description)[name] = {
            "file": f"kernel/drivers/net/ethernet/intel/{name}/{name}.ko",
            "aliases": [f"pci:v00008086d0000{device}sv*sd*bc*sc*i*"],
            "drivers": [name],
        }


def noted(machine: Path, code: str, severity: str, *words: str) -> None:
    """`plan` shows this finding, with these words."""
    answer = run(machine, "plan", "--json").is_(0, f'"{code}"')
    found = [
        one
        for step in json.loads(answer.out)["steps"]
        for one in step["findings"]
        if one["code"] == code and one["severity"] == severity
    ]
    assert found, answer.text
    text = " ".join((found[0]["message"], *found[0]["evidence"], found[0]["hint"]))
    for word in words:
        assert word in text, (word, text)


def silent(machine: Path, *codes: str) -> None:
    """`plan` shows none of these findings."""
    answer = run(machine, "plan", "--json").is_(0)
    assert not [code for code in codes if f'"{code}"' in answer.out], answer.text


# --- SR-IOV


def test_a_virtual_function_is_known_to_go_with_the_reboot_and_what_would_keep_it_is_said(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", "--device=05:10.0", "--no-guest", change=virtual_functions)
    rule = f'ACTION=="add|bind", SUBSYSTEM=="pci", KERNEL=="{PHYSICAL}", DRIVER=="?*", ATTR{{sriov_numvfs}}="2"'
    noted(machine, "virtual-function", "warning", f"virtual function of {PHYSICAL}", f"{NUMVFS}: 2", rule)
    rules = machine / "etc/udev/rules.d"
    rules.mkdir(parents=True)
    (rules / "10-vf.rules").write_text(f"# {rule}\n")
    noted(machine, "virtual-function", "warning", "nothing was found")
    (rules / "10-vf.rules").write_text(f"{rule}\n")
    noted(machine, "virtual-function", "note", "/etc/udev/rules.d/10-vf.rules speaks of making virtual functions")


def test_a_virtual_function_that_the_reboot_took_is_named_as_that_and_goes_on_once_it_is_made(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", "--device=05:10.0", "--no-guest", change=virtual_functions)
    run(machine, "advance", "--until", "stubbed").is_(0, "taken by its address when it is bound")
    reboot(machine)
    assert not (machine / "sys/bus/pci/devices" / VIRTUAL[0]).exists()
    refused(machine, "virtual-function-gone", f"{NUMVFS}: 0 of 8", f"echo N > {NUMVFS}")
    attribute(machine, NUMVFS, "2\n")
    assert driver(machine, VIRTUAL[0]) == "ixgbevf"
    advanced(machine, "it is unbound in the next step")
    advanced(machine)
    assert (driver(machine, VIRTUAL[0]), driver(machine, VIRTUAL[1])) == ("vfio-pci", "ixgbevf")
    run(machine, "rollback").is_(3)
    assert driver(machine, VIRTUAL[0]) == "ixgbevf"


def test_after_a_later_reboot_the_missing_virtual_function_is_no_renumbered_card(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", "--device=05:10.0", "--no-guest", change=virtual_functions)
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    attribute(machine, NUMVFS, "2\n")
    advanced(machine)
    advanced(machine)
    reboot(machine)
    answer = run(machine, "audit").is_(4, f"it is a virtual function of {PHYSICAL}, which has none in this boot")
    assert "nowhere on this host" not in answer.text
    refused(machine, "virtual-function-gone", f"{NUMVFS}: 0 of 8")


def test_a_physical_function_whose_virtual_ones_are_in_use_is_refused(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", "--device=05:00.0", "--no-guest", change=virtual_functions)
    refused(machine, "physical-function-in-use", f"{VIRTUAL[0]} [8086:10ed]: driver ixgbevf", f"echo 0 > {NUMVFS}")
    attribute(machine, NUMVFS, "0\n")
    silent(machine, "physical-function-in-use")


def test_idle_virtual_functions_of_a_physical_one_are_only_told_of(tmp_path: Path) -> None:
    def idle(description: Description) -> None:
        virtual_functions(description)
        del modules(description)["ixgbevf"]
        function(description, VIRTUAL[0])["driver"] = None

    machine = made(tmp_path, "debian12-lab", "--device=05:00.0", "--no-guest", change=idle)
    noted(machine, "physical-function-in-use", "warning", "2 virtual functions", "driver none")


def test_virtual_functions_are_no_forgotten_functions_of_one_card(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", "--device=05:10.0", "--no-guest", change=virtual_functions)
    silent(machine, "sibling-left-out")


# --- what the host needs for itself


def keyboards(*on: str | None) -> Change:
    """A keyboard on each of these controllers; None is a PS/2 one."""

    def change(description: Description) -> None:
        description["keyboards"] = [{"name": f"Board {n}", "function": one} for n, one in enumerate(on)]

    return change


def test_the_controller_of_the_hosts_last_keyboard_is_refused_unless_it_is_allowed_by_name(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", "--device=02:00.0", "--no-guest", change=keyboards(USB))
    refused(machine, "last-keyboard", "Board 0", f'[allow] keyboard = ["{USB}"]')
    run(machine, "init", "--force", "--device=02:00.0", "--no-guest", "--allow-keyboard=01:00.0").is_(0)
    refused(machine, "last-keyboard", "Board 0")
    run(machine, "init", "--force", "--device=02:00.0", "--no-guest", "--allow-keyboard=02:00.0").is_(0)
    advanced(machine, "takes the host's last keyboard along", "reached over the network")


@pytest.mark.parametrize("other", [None, "0000:00:1d.0"])
def test_where_another_keyboard_stays_it_is_only_told_of(tmp_path: Path, other: str | None) -> None:
    def change(description: Description) -> None:
        description["functions"].append(card("0000:00:1d.0", "8086:2934", "0c0330", 50, driver="xhci_hcd"))
        modules(description)["xhci_pci"]["aliases"].append("pci:v00008086d00002934sv*sd*bc*sc*i*")
        keyboards(USB, other)(description)

    machine = made(tmp_path, "debian12-lab", "--device=02:00.0", "--no-guest", change=change)
    noted(machine, "keyboard", "warning", "Board 0", "The host keeps Board 1")


def test_an_nvme_disk_goes_unless_the_host_has_something_mounted_or_swapped_on_it(tmp_path: Path) -> None:
    def change(description: Description) -> None:
        description["functions"].append(card("0000:06:00.0", "144d:a80a", "010802", 60, driver="nvme"))
        modules(description)["nvme"] = {
            "file": "kernel/drivers/nvme/host/nvme.ko",
            "aliases": ["pci:v0000144Dd0000A80Asv*sd*bc*sc*i*"],
            "drivers": ["nvme"],
        }
        disk = {"name": "nvme0n1", "function": "0000:06:00.0", "sectors": 2048, "partitions": ["nvme0n1p1"]}
        description.setdefault("disks", []).append(disk)

    def used(how: Change) -> Change:
        def both(description: Description) -> None:
            change(description)
            how(description)

        return both

    swap = used(lambda found: found.update(swaps=["/dev/nvme0n1p1"]))
    mount = used(lambda found: found["mounts"].append({"source": "/dev/nvme0n1p1", "target": "/srv", "type": "ext4"}))
    for name, spoilt, said in (("swap", swap, "swap in use"), ("mount", mount, "the file system mounted on /srv")):
        (tmp_path / name).mkdir()
        machine = made(tmp_path / name, "debian12-lab", "--device=06:00.0", "--no-guest", change=spoilt)
        refused(machine, "disk-in-use", f"nvme0n1p1 on nvme0n1 holds {said}")
    machine = made(tmp_path, "debian12-lab", "--device=06:00.0", "--no-guest", change=change)
    advanced(machine)


# --- groups


def test_a_group_that_is_not_viable_is_shown_whole_with_a_way_for_each_member(tmp_path: Path) -> None:
    machine = made(tmp_path, "shared-group", "--device=01:00.0", "--no-guest")
    answer = refused(
        machine, "group-not-viable", "0000:01:00.0", "goes to the guest", "-> move the card to another slot"
    )
    assert "sda1 on sda holds the file system mounted on /" in answer.text
    assert "pcie_acs_override=" in answer.text and "vfiostate does not add it" in answer.text


def test_a_part_of_the_board_is_not_told_to_change_slots(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", "--device=00:1f.3", "--no-guest")
    answer = refused(machine, "group-not-viable", "0000:00:1f.3 is a part of the board", "-> no way here")
    assert "Plug the card" not in answer.text


def behind_a_bridge(description: Description) -> None:
    """A PCIe-to-PCI bridge with two conventional cards, in the bridge's group."""
    description["functions"] += [
        card("0000:00:1c.0", "1b21:1080", "060401", 70),
        card("0000:07:01.0", "1102:0004", "040100", 70, parent="0000:00:1c.0", conventional=True),
        card("0000:07:02.0", "10ec:8139", "020000", 70, parent="0000:00:1c.0", conventional=True, driver="8139too"),
    ]
    modules(description)["8139too"] = {
        "file": "kernel/drivers/net/ethernet/realtek/8139too.ko",
        "aliases": ["pci:v000010ECd00008139sv*sd*bc*sc*i*"],
        "drivers": ["8139too"],
    }


def test_cards_behind_a_bridge_to_conventional_pci_go_together_and_acs_is_no_way(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", "--device=07:01.0", "--no-guest", change=behind_a_bridge)
    said = ("behind the bridge 0000:00:1c.0", "one requester id", 'adding "0000:07:02.0" (id "10ec:8139")')
    answer = refused(machine, "group-not-viable", *said, "0000:00:1c.0 [1b21:1080] PCI bridge")
    assert "pcie_acs_override" not in answer.text
    run(machine, "init", "--force", "--device=07:01.0", "--device=07:02.0", "--no-guest").is_(0)
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    run(machine, "advance", "--until", "bound").is_(0)
    assert [driver(machine, one) for one in ("0000:07:01.0", "0000:07:02.0")] == ["vfio-pci"] * 2


def test_groups_that_an_acs_override_splits_are_told_of(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", *LAB)
    silent(machine, "acs-override")
    replaced(machine / GRUB, '"quiet"', '"quiet pcie_acs_override=downstream"')
    noted(machine, "acs-override", "warning", "pcie_acs_override=downstream")


def test_a_card_in_a_domain_of_five_digits_goes_the_whole_way_and_back(tmp_path: Path) -> None:
    def change(description: Description) -> None:
        description["functions"] += [
            card("10000:e1:00.0", "144d:a80a", "010802", 80, driver="nvme"),
            card("10000:e1:00.1", "144d:a80b", "088000", 80),
        ]
        modules(description)["nvme"] = {
            "file": "kernel/drivers/nvme/host/nvme.ko",
            "aliases": ["pci:v0000144Dd0000A80Asv*sd*bc*sc*i*"],
            "drivers": ["nvme"],
        }

    machine = made(tmp_path, "debian12-lab", "--device=10000:e1:00.0", "--no-guest", change=change)
    noted(machine, "group-member-unlisted", "warning", "10000:e1:00.1")
    run(machine, "devices", "10000:e1:00.0").is_(0, "shares its group with 10000:e1:00.1")
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    run(machine, "advance", "--until", "bound").is_(0)
    assert driver(machine, "10000:e1:00.0") == "vfio-pci"
    reboot(machine)
    assert driver(machine, "10000:e1:00.0") == "vfio-pci"
    run(machine, "rollback").is_(3)
    reboot(machine)
    run(machine, "rollback").is_(0)
    assert (state(machine), driver(machine, "10000:e1:00.0")) == ("new", "nvme")


def test_every_function_of_a_card_that_was_forgotten_is_named_at_once(tmp_path: Path) -> None:
    def change(description: Description) -> None:
        description["functions"] += [
            card("0000:01:00.2", "10de:1ad8", "0c0330", 90, driver="xhci_hcd"),
            card("0000:01:00.3", "10de:1ad9", "0c8000", 91),
        ]

    machine = made(tmp_path, "debian12-lab", *CARD, change=change)
    said = ("USB controller 0000:01:00.2", "USB-C (UCSI) controller 0000:01:00.3")
    noted(machine, "sibling-left-out", "warning", *said)
    four = ("--device=01:00.0", "--device=01:00.1", "--device=01:00.2", "--device=01:00.3", "--no-guest")
    run(machine, "init", "--force", *four).is_(0)
    silent(machine, "sibling-left-out")


# --- resets, framebuffers, variants


def resets(**methods: str | None) -> Change:
    """These functions of the card with these ways to be reset."""

    def change(description: Description) -> None:
        for name, method in methods.items():
            one = function(description, {"gpu": GPU, "audio": AUDIO, "usb": USB}[name])
            one.pop("reset_method", None)
            one.update({"reset_method": method} if method else {})

    return change


def test_ways_to_reset_are_in_the_list_and_in_the_plan(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", *CARD, change=resets(gpu="flr bus", audio="pm"))
    run(machine, "devices", "01:00.0").is_(0, "reset flr,bus")
    run(machine, "plan").is_(0, f"{GPU} is reset by flr, then bus", f"{AUDIO} is reset by pm")
    silent(machine, "no-reset", "reset-by-bus")


def test_a_card_without_a_reset_is_warned_of_unless_its_whole_bus_goes(tmp_path: Path) -> None:
    alone = ("--device=01:00.0", "--no-guest")
    machine = made(tmp_path, "debian12-lab", *CARD, change=resets(gpu=None, audio=None))
    noted(machine, "reset-by-bus", "note", GPU, "resets its whole bus")
    run(machine, "init", "--force", *alone).is_(0)
    answer = run(machine, "plan", "--json")
    assert '"no-reset"' in answer.out and f"{AUDIO} on its bus stays with the host" in answer.out


def test_a_graphics_card_that_is_reset_by_its_power_state_only_is_told_of(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", *CARD, change=resets(gpu="pm", audio="pm"))
    noted(machine, "weak-reset", "note", GPU, "reset_method: pm")


def test_a_kernel_that_names_no_way_to_reset_still_says_that_there_is_one(tmp_path: Path) -> None:
    machine = made(tmp_path, "article", "--device=03:00.0", "--device=03:00.1", "--no-guest")
    assert not (machine / "sys/bus/pci/devices/0000:03:00.0/reset_method").exists()
    run(machine, "devices", "03:00.0").is_(0, "reset unnamed")


@pytest.mark.parametrize(
    ("holder", "word", "other"),
    [
        ("efifb", "video=efifb:off", "vesafb"),
        ("efidrm", "(initcall_blacklist=sysfb_init)", "video="),
        ("simple-framebuffer", "(initcall_blacklist=sysfb_init)", "video="),
    ],
)
def test_a_framebuffer_on_the_card_is_named_with_the_word_for_that_one(
    tmp_path: Path, holder: str, word: str, other: str
) -> None:
    def change(description: Description) -> None:
        description["framebuffer"] = [holder, GPU]
        del modules(description)["bochs"]

    machine = made(tmp_path, "debian12-lab", *CARD, change=change)
    answer = run(machine, "plan").is_(0, f"({holder}) holds memory of {GPU}", word)
    assert other not in answer.err


def test_a_variant_driver_that_the_kernel_has_for_the_device_is_told_of(tmp_path: Path) -> None:
    def change(description: Description) -> None:
        modules(description)["vfio_pci"].setdefault("aliases", []).append("vfio_pci:v*d*sv*sd*bc*sc*i*")
        modules(description)["bochs_vfio_pci"] = {
            "file": "kernel/drivers/vfio/pci/bochs/bochs-vfio-pci.ko",
            "aliases": ["vfio_pci:v00001234d00001111sv*sd*bc*sc*i*"],
            "drivers": ["bochs-vfio-pci"],
        }

    machine = made(tmp_path, "debian12-lab", *CARD, change=change)
    noted(machine, "variant-driver", "note", f"made for {GPU}: bochs_vfio_pci", f"/lib/modules/{KERNEL}")
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    run(machine, "advance", "--until", "bound").is_(0)
    assert driver(machine, GPU) == "vfio-pci"


# --- what changed over the reboot


def test_a_card_whose_id_changed_with_the_reboot_is_told_from_one_that_moved(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", *CARD)
    run(machine, "advance", "--until", "stubbed").is_(0)
    redescribed(machine, lambda found: function(found, GPU).update(device="1112"))
    reboot(machine)
    refused(machine, "devices-renumbered", f"{GPU} is not 1234:1111 any more: there is 1234:1112", "firmware updated")
    assert last(machine, Kind.STEP_REFUSED).data["findings"]


def test_a_setup_of_a_version_that_knew_fewer_keys_goes_on(tmp_path: Path) -> None:
    def older() -> None:
        encode = configuration.encode

        def without(config: Config) -> dict[str, Json]:
            data = encode(config)
            allow = data["allow"]
            assert isinstance(allow, dict)
            return {**data, "allow": {key: value for key, value in allow.items() if key != "keyboard"}}

        configuration.encode = without

    machine = made(tmp_path, "debian12-lab", *CARD)
    run(machine, "advance", prepare=older).is_(0)
    run(machine, "advance").is_(0)
    assert state(machine) == "modules_loaded"
    run(machine, "init", "--force", *CARD, "--allow-keyboard=02:00.0").is_(0)
    run(machine, "advance").is_(5, "The configuration changed after `checked`: allow")
