"""What `checked` says of the devices: every way in which one must not be, or should not be, given to a guest."""

from __future__ import annotations

import pytest

from steps import groups, guards
from steps.base import Finding, Severity
from steps.config import Allow, Config, Device
from steps.devices import read_devices
from tests.support.memory_host import Link, MemoryHost, Node
from tests.support.pci_tree import Card, sysfs

GPU = Card("0000:03:00.0", "10de:1200", "030000", "nouveau", 11, boot_vga="0")
AUDIO = Card("0000:03:00.1", "10de:0e0c", "040300", "snd_hda_intel", 11)
HOST_GPU = Card("0000:01:00.0", "1002:68f9", "030000", "radeon", 5, boot_vga="1")
PORT = Card("0000:00:02.0", "1022:1512", "060400", "pcieport", 11, bridge=True)
BOTH = (Device(GPU.address, GPU.id), Device(AUDIO.address, AUDIO.id))


def judged(
    *cards: Card, devices: tuple[Device, ...] = BOTH, allow: Allow | None = None, tree: dict[str, Node] | None = None
) -> dict[str, Finding]:
    """The findings by code, on a host with these functions and this beside them."""
    config = Config(devices, allow=allow or Allow())
    facts = read_devices(MemoryHost(sysfs(*cards) | (tree or {})), config)
    found = (*guards.findings(config, facts), *groups.findings(config, facts), *groups.siblings(config, facts))
    for finding in found:
        assert finding.message and (finding.evidence or finding.hint), finding.code
    return {finding.code: finding for finding in found}


def refusals(found: dict[str, Finding]) -> set[str]:
    return {code for code, finding in found.items() if finding.severity is Severity.REFUSAL}


def test_a_card_with_its_audio_in_a_group_of_their_own_has_nothing_against_it() -> None:
    assert judged(GPU, AUDIO, HOST_GPU, PORT) == {}


def test_a_device_that_is_not_there_is_refused_and_its_new_address_named() -> None:
    moved = Card("0000:04:00.0", GPU.id, "030000", "nouveau", 12)
    found = judged(AUDIO, HOST_GPU, moved)
    assert "device-absent" in refusals(found)
    assert "0000:04:00.0 now" in found["device-absent"].message
    assert "change 0000:03:00.0 to 0000:04:00.0" in found["device-absent"].hint


def test_another_device_at_the_address_is_refused_with_what_is_there() -> None:
    other = Card(GPU.address, "10de:1b80", "030000", "nouveau", 11)
    found = judged(other, AUDIO, HOST_GPU)
    assert "device-id" in refusals(found)
    assert "10de:1b80, expected 10de:1200" in found["device-id"].message
    assert "nowhere on this host" in found["device-id"].message


def test_an_id_in_capitals_is_the_same_id() -> None:
    assert judged(GPU, AUDIO, HOST_GPU, devices=(Device(GPU.address, "10DE:1200"), BOTH[1])) == {}


def test_a_device_named_twice_is_refused() -> None:
    assert "device-twice" in refusals(judged(GPU, AUDIO, HOST_GPU, devices=(*BOTH, BOTH[0])))


def test_a_configuration_without_devices_is_refused() -> None:
    assert refusals(judged(GPU, devices=())) == {"no-devices"}


@pytest.mark.parametrize(
    "card",
    [
        Card("0000:00:02.0", "1022:1512", "060400", "pcieport", 11, bridge=True),
        Card("0000:00:02.0", "1022:1512", "088000", None, 11, bridge=True),
        Card("0000:00:02.0", "8086:2918", "060100", "lpc_ich", 11),
    ],
)
def test_a_bridge_is_refused(card: Card) -> None:
    assert "bridge" in refusals(judged(card, devices=(Device(card.address, card.id),)))


def test_the_card_the_host_boots_on_is_refused_unless_it_is_allowed_by_name() -> None:
    mine = (Device(HOST_GPU.address, HOST_GPU.id),)
    assert "boot-vga" in refusals(judged(HOST_GPU, GPU, devices=mine))
    assert "boot-vga" in refusals(judged(HOST_GPU, GPU, devices=mine, allow=Allow(boot_vga=(GPU.address,))))
    allowed = judged(HOST_GPU, GPU, devices=mine, allow=Allow(boot_vga=(HOST_GPU.address,)))
    assert allowed["boot-vga"].severity is Severity.WARNING and refusals(allowed) == set()


def test_the_legacy_vga_ranges_go_to_a_vga_card_only() -> None:
    gpu, audio = (Device(one.address, one.id, x_vga=True) for one in (GPU, AUDIO))
    assert judged(GPU, AUDIO, HOST_GPU, devices=(gpu, BOTH[1])) == {}
    found = judged(GPU, AUDIO, HOST_GPU, devices=(BOTH[0], audio))
    assert refusals(found) == {"x-vga"} and "class 0403" in found["x-vga"].message
    assert "device-absent" in refusals(judged(HOST_GPU, devices=(gpu,)))


def test_that_no_card_stays_with_the_host_is_said() -> None:
    assert judged(GPU, AUDIO)["no-display-left"].severity is Severity.WARNING


def test_a_second_card_of_the_same_id_is_noted_and_goes_too_where_that_is_allowed() -> None:
    twin = Card("0000:04:00.0", GPU.id, "030000", "nouveau", 12, boot_vga="1")
    found = judged(GPU, AUDIO, twin)
    assert refusals(found) == set() and found["identical-ids"].severity is Severity.NOTE
    assert "0000:04:00.0" in found["identical-ids"].message
    for allow in (Allow(identical_ids=(GPU.id,)), Allow(identical_ids=("0000:04:00.0",))):
        assert judged(GPU, AUDIO, twin, allow=allow)["identical-ids"].severity is Severity.WARNING
    both = (*BOTH, Device(twin.address, twin.id))
    assert "identical-ids" not in judged(GPU, AUDIO, twin, HOST_GPU, devices=both)


def test_a_group_with_a_member_on_its_native_driver_is_refused_with_what_holds_it() -> None:
    found = judged(GPU, AUDIO, HOST_GPU, PORT, devices=BOTH[:1])
    assert refusals(found) == {"group-not-viable"}
    bridge, card, audio = found["group-not-viable"].evidence
    assert bridge.endswith("PCI bridge, driver pcieport: a bridge, stays and does no harm")
    assert card.endswith("0000:03:00.0 [10de:1200] graphics, driver nouveau: goes to the guest")
    assert audio.endswith("0000:03:00.1 [10de:0e0c] audio, driver snd_hda_intel -> add it to the devices")
    assert '"0000:03:00.1" (id "10de:0e0c")' in found["group-not-viable"].hint


def test_a_group_with_a_part_of_the_chipset_needs_another_slot() -> None:
    lpc = Card("0000:00:1f.0", "8086:2918", "060100", "lpc_ich", 11)
    found = judged(GPU, AUDIO, HOST_GPU, lpc)
    assert "another slot" in found["group-not-viable"].hint and "chipset" in found["group-not-viable"].hint


SATA = Card("0000:00:11.0", "1002:4391", "010601", "ahci", 11)
DISK: dict[str, Node] = {
    "/sys/block/sda": Link("../devices/pci0000:00/0000:00:11.0/ata1/block/sda"),
    "/sys/devices/pci0000:00/0000:00:11.0/ata1/block/sda/dev": b"8:0\n",
}


def test_a_group_with_the_root_disk_is_not_offered_whole() -> None:
    tree: dict[str, Node] = {
        **DISK,
        "/proc/self/mountinfo": b"1 1 8:0 / / rw - ext4 /dev/sda rw\n",
    }
    found = judged(GPU, AUDIO, HOST_GPU, SATA, tree=tree)
    assert "The host needs 0000:00:11.0" in found["group-not-viable"].hint
    assert "mounted on /" in found["group-not-viable"].evidence[0]
    mine = (*BOTH, Device(SATA.address, SATA.id))
    assert refusals(judged(GPU, AUDIO, HOST_GPU, SATA, devices=mine, tree=tree)) == {"disk-in-use"}


def test_a_controller_with_volumes_that_nothing_has_mounted_is_a_warning() -> None:
    tree: dict[str, Node] = {
        **DISK,
        "/sys/block/dm-0/dev": b"253:0\n",
        "/sys/block/dm-0/slaves/sda": b"",
    }
    found = judged(SATA, HOST_GPU, devices=(Device(SATA.address, SATA.id),), tree=tree)
    assert found["volumes-active"].severity is Severity.WARNING
    assert found["volumes-active"].evidence == ("dm-0 on sda is active",)
    assert "disk-in-use" not in found


@pytest.mark.parametrize("driver", [None, "pci-stub", "vfio-pci"])
def test_a_member_without_the_hosts_driver_is_only_a_warning(driver: str | None) -> None:
    idle = Card(AUDIO.address, AUDIO.id, "040300", driver, 11)
    found = judged(GPU, idle, HOST_GPU, devices=BOTH[:1])
    assert refusals(found) == set() and found["group-member-unlisted"].severity is Severity.WARNING


@pytest.mark.parametrize(
    ("class_code", "name"), [("040300", "audio"), ("0c0330", "USB controller"), ("0c8000", "USB-C (UCSI) controller")]
)
def test_a_function_of_the_card_left_out_of_another_group_is_a_warning_that_names_it(
    class_code: str, name: str
) -> None:
    left = Card("0000:03:00.2", "10de:1ad8", class_code, "xhci_hcd", 12)
    found = judged(GPU, AUDIO, HOST_GPU, left)
    assert refusals(found) == set() and f"{name} 0000:03:00.2" in found["sibling-left-out"].message


def test_a_function_of_the_card_left_out_while_groups_are_unknown_is_a_warning() -> None:
    cards = [Card(card.address, card.id, card.class_code, card.driver, None) for card in (GPU, AUDIO, HOST_GPU)]
    assert judged(*cards, devices=BOTH[:1])["sibling-left-out"].severity is Severity.WARNING


def test_one_port_of_a_network_card_goes_without_the_other() -> None:
    port, other = (Card(f"0000:05:00.{n}", "8086:10fb", "020000", "ixgbe", 13 + n) for n in (0, 1))
    found = judged(port, other, HOST_GPU, devices=(Device(port.address, port.id),))
    assert refusals(found) == set() and "sibling-left-out" not in found


def test_the_card_of_the_default_route_is_refused_and_one_that_is_only_up_is_not() -> None:
    nic = Card("0000:05:00.0", "8086:10d3", "020000", "e1000e", 13)
    real = "/sys/devices/pci0000:00/0000:05:00.0/net/eth0"
    tree: dict[str, Node] = {"/sys/class/net/eth0": Link(real), f"{real}/operstate": b"up\n"}
    mine = (Device(nic.address, nic.id),)
    up = judged(nic, devices=mine, tree=tree)
    assert up["network-up"].severity is Severity.WARNING and refusals(up) == set()
    tree["/proc/net/route"] = b"Iface\neth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    assert refusals(judged(nic, devices=mine, tree=tree)) == {"default-route"}


def test_below_a_tunnel_a_card_that_is_up_is_refused_and_its_group_is_not_offered_whole() -> None:
    nic = Card("0000:05:00.0", "8086:10d3", "020000", "e1000e", 11)
    real = "/sys/devices/pci0000:00/0000:05:00.0/net/eth0"
    tree: dict[str, Node] = {
        "/sys/class/net/eth0": Link(real),
        f"{real}/operstate": b"up\n",
        "/sys/class/net/ppp0/type": b"512\n",
        "/proc/net/route": b"Iface\nppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n",
    }
    found = judged(GPU, AUDIO, HOST_GPU, nic, devices=(*BOTH, Device(nic.address, nic.id)), tree=tree)
    assert refusals(found) == {"default-route"}
    assert "nothing shows which card carries ppp0" in found["default-route"].message
    assert "`ip link set eth0 down`" in found["default-route"].hint
    shared = judged(GPU, AUDIO, HOST_GPU, nic, tree=tree)["group-not-viable"]
    assert "eth0 may carry the default route" in "\n".join(shared.evidence)
    assert "The host needs 0000:05:00.0" in shared.hint


def test_a_framebuffer_on_the_card_is_a_warning() -> None:
    iomem = b"e0000000-efffffff : 0000:03:00.0\n  e0000000-e02fffff : simple-framebuffer\n"
    found = judged(GPU, AUDIO, HOST_GPU, tree={"/proc/iomem": iomem})
    assert found["framebuffer"].severity is Severity.WARNING and "simple-framebuffer" in found["framebuffer"].message


def test_what_is_set_up_already_is_noted_as_adopted() -> None:
    held = Card(GPU.address, GPU.id, "030000", "vfio-pci", 11, override="vfio-pci")
    found = judged(held, AUDIO, HOST_GPU)
    assert found["adopted-binding"].severity is Severity.NOTE and refusals(found) == set()


def test_everything_is_said_at_once() -> None:
    bad = Card(GPU.address, "10de:9999", "030000", "nouveau", 11, boot_vga="1")
    twin = Card("0000:04:00.1", AUDIO.id, "040300", "snd_hda_intel", 12)
    lpc = Card("0000:00:1f.0", "8086:2918", "060100", "lpc_ich", 11)
    assert refusals(judged(bad, AUDIO, twin, lpc)) == {"device-id", "boot-vga", "group-not-viable"}
