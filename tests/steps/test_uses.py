"""What of the host hangs on a PCI function: disks in use, and the network's way out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.devices import framebuffers
from steps.disks import Use, disk_uses, disk_volumes, pci_in_path, uses_of
from steps.nics import default_interfaces, network_uses
from tests.support.memory_host import Link, MemoryHost, Node, completed

SATA = "0000:00:11.0"
NVME = "0000:01:00.0"
USB = "0000:00:14.0"
HEAD = b"Filename\tType\tSize\tUsed\tPriority\n"


def disk(name: str, below: str, *partitions: str, number: int = 8) -> dict[str, Node]:
    """A disk with its partitions, as /sys/block shows it."""
    real = f"/sys/devices/{below}/block/{name}"
    tree: dict[str, Node] = {f"/sys/block/{name}": Link(f"../{real.removeprefix('/sys/')}")}
    tree[f"{real}/dev"] = f"{number}:0\n".encode()
    for place, partition in enumerate(partitions, 1):
        tree[f"{real}/{partition}/partition"] = f"{place}\n".encode()
        tree[f"{real}/{partition}/dev"] = f"{number}:{place}\n".encode()
    return tree


def mount(number: str, source: str, target: str, type_: str = "ext4") -> bytes:
    return f"28 1 {number} / {target} rw,relatime shared:1 - {type_} {source} rw\n".encode()


SDA = disk("sda", f"pci0000:00/{SATA}/ata1/host0/target0:0:0/0:0:0:0", "sda1", "sda2")
SDB = disk("sdb", f"pci0000:00/{USB}/usb1/1-1/1-1:1.0/host6/target6:0:0/6:0:0:0", "sdb1", number=9)


def uses(tree: dict[str, Node]) -> dict[str, list[str]]:
    host = MemoryHost(tree)
    return {address: [f"{use.name} {use.what}" for use in found] for address, found in disk_uses(host).items()}


def test_the_controller_of_the_root_disk_is_in_use() -> None:
    tree = SDA | {"/proc/self/mountinfo": mount("8:1", "/dev/root", "/")}
    assert uses(tree) == {SATA: ["sda1 on sda holds the file system mounted on /"]}


def test_a_mounted_disk_behind_a_usb_controller_counts_for_that_controller() -> None:
    tree = SDA | SDB | {"/proc/self/mountinfo": mount("9:1", "/dev/sdb1", "/media/a\\040b")}
    assert uses(tree) == {USB: ["sdb1 on sdb holds the file system mounted on /media/a b"]}


def test_swap_on_a_partition_counts() -> None:
    assert uses(SDA | {"/proc/swaps": HEAD + b"/dev/sda2 partition 1 0 -2\n"}) == {
        SATA: ["sda2 on sda holds swap in use"]
    }


def test_a_swap_file_counts_for_nothing_by_itself() -> None:
    assert uses(SDA | {"/proc/swaps": HEAD + b"/swap.img file 1 0 -2\n"}) == {}


def test_a_volume_on_raid_on_two_disks_counts_for_both_controllers() -> None:
    tree = SDA | SDB
    for name, below, number in (("dm-0", "md127", 253), ("md127", "sda2 sdb1", 9127)):
        tree |= disk(name, "virtual", number=number)
        tree |= {f"/sys/devices/virtual/block/{name}/slaves/{each}": None for each in below.split()}
    tree |= {"/dev/mapper/vg-root": Link("../dm-0"), "/proc/self/mountinfo": mount("0:30", "/dev/mapper/vg-root", "/")}
    found = uses(tree)
    assert found[SATA] == ["dm-0 on sda holds the file system mounted on /"]
    assert found[USB] == ["dm-0 on sdb holds the file system mounted on /"]


def test_a_volume_that_is_active_and_not_mounted_is_told_apart_from_what_is_in_use() -> None:
    tree = SDA | SDB | disk("dm-0", "virtual", number=253) | {"/sys/devices/virtual/block/dm-0/slaves/sdb1": None}
    assert uses(tree) == {}
    found = disk_volumes(MemoryHost(tree))
    assert {address: [f"{use.name} {use.what}" for use in seen] for address, seen in found.items()} == {
        USB: ["dm-0 on sdb is active"]
    }


def test_a_disk_is_in_use_by_what_lies_on_its_partitions_and_a_partition_or_volume_by_its_own() -> None:
    tree = SDA | disk("dm-0", "virtual", number=253) | disk("dm-1", "virtual", number=254)
    tree |= {f"/sys/devices/virtual/block/{name}/slaves/sda2": None for name in ("dm-0", "dm-1")}
    tree |= {"/dev/mapper/vg-root": Link("../dm-0"), "/dev/disk/by-id/whole": Link("../../sda")}
    host = MemoryHost(tree | {"/proc/self/mountinfo": mount("0:30", "/dev/mapper/vg-root", "/")})
    used = [Use("dm-0", "holds the file system mounted on /")]
    for node in ("/dev/sda", "/dev/disk/by-id/whole", "/dev/sda2", "/dev/dm-0", "/dev/mapper/vg-root"):
        assert list(uses_of(host, node)) == used, node
    for node in ("/dev/sda1", "/dev/dm-1", "/dev/sdz", "/srv/image.raw"):
        assert uses_of(host, node) == (), node


def test_swap_in_a_volume_counts_through_its_name_in_mapper() -> None:
    tree = SDA | disk("dm-1", "virtual", number=253) | {"/sys/devices/virtual/block/dm-1/slaves/sda2": None}
    tree |= {"/dev/dm-1": None, "/proc/swaps": HEAD + b"/dev/dm-1 partition 1 0 -2\n"}
    assert uses(tree)[SATA] == ["dm-1 on sda holds swap in use"]


def test_every_disk_of_a_mounted_btrfs_counts() -> None:
    tree = SDA | SDB | {"/sys/fs/btrfs/1234-abcd/devices/sdb1": None, "/sys/fs/btrfs/features": None}
    assert uses(tree) == {USB: ["sdb1 on sdb belongs to the mounted btrfs 1234-abcd"]}


@pytest.mark.parametrize(
    "known",
    [{"/proc/self/mountinfo": mount("0:40", "rpool/ROOT", "/", "zfs")}, {"/sys/module/zfs/version": b"2.2.4-pve1\n"}],
    ids=["mounted", "of volumes only"],
)
def test_the_disks_of_a_zfs_pool_are_asked_of_zpool(known: dict[str, Node]) -> None:
    tree = SDA | known | {"/dev/disk/by-id/x": Link("/dev/sda2")}
    host = MemoryHost(tree, answers={"zpool": completed(("zpool",), "rpool\t1G\n\t/dev/disk/by-id/x\t1G\n")})
    assert [use.what for use in disk_uses(host)[SATA]] == ["belongs to an imported ZFS pool"]


def test_a_multipath_nvme_counts_for_its_controller() -> None:
    subsystem = "/sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    tree: dict[str, Node] = {
        "/sys/block/nvme0n1": Link("../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1"),
        f"{subsystem}/nvme0n1/dev": b"259:0\n",
        f"{subsystem}/nvme0n1/nvme0n1p1/partition": b"1\n",
        f"{subsystem}/nvme0n1/nvme0n1p1/dev": b"259:1\n",
        f"{subsystem}/nvme0": Link(f"../../../pci0000:00/{NVME}/nvme/nvme0"),
        "/proc/self/mountinfo": mount("259:1", "/dev/nvme0n1p1", "/"),
    }
    assert list(uses(tree)) == [NVME]


def test_without_mountinfo_the_old_list_of_mounts_is_read() -> None:
    assert SATA in uses(SDA | {"/proc/mounts": b"/dev/sda1 / ext4 rw 0 0\nproc /proc proc rw 0 0\n"})


def test_a_disk_that_nothing_uses_is_free() -> None:
    assert uses(SDA | SDB | {"/proc/self/mountinfo": mount("0:5", "tmpfs", "/run", "tmpfs")}) == {}


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_rubbish_in_proc_is_no_traceback(mounts: bytes, swaps: bytes) -> None:
    uses(SDA | {"/proc/self/mountinfo": mounts, "/proc/swaps": swaps})


def test_the_addresses_in_a_path_are_the_function_and_the_bridges_above_it() -> None:
    path = "/sys/devices/pci0000:00/0000:00:1c.0/10000:e1:00.0/nvme/nvme0"
    assert pci_in_path(path) == ("0000:00:1c.0", "10000:e1:00.0")


ROUTE = b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
NIC = "0000:04:00.0"


def route(name: str, destination: str = "00000000", mask: str = "00000000", flags: str = "0003") -> bytes:
    return ROUTE + f"{name}\t{destination}\t0101A8C0\t{flags}\t0\t0\t100\t{mask}\t0\t0\t0\n".encode()


def nic(name: str, address: str, state: str = "up") -> dict[str, Node]:
    real = f"/sys/devices/pci0000:00/{address}/net/{name}"
    return {
        f"/sys/class/net/{name}": Link(f"../../devices/pci0000:00/{address}/net/{name}"),
        f"{real}/operstate": f"{state}\n".encode(),
        f"{real}/device": Link(f"../../../{address}"),
    }


def virtual(name: str, **files: bytes | None) -> dict[str, Node]:
    tree: dict[str, Node] = {f"/sys/class/net/{name}": Link(f"../../devices/virtual/net/{name}")}
    tree |= {f"/sys/devices/virtual/net/{name}/{key.replace('__', '/')}": value for key, value in files.items()}
    return tree | {f"/sys/devices/virtual/net/{name}/operstate": b"up\n"}


@pytest.mark.parametrize(
    ("top", "tree"),
    [
        ("eth0", {}),
        ("br0", virtual("br0", brif__eth0=None)),
        ("bond0", virtual("bond0", bonding__slaves=b"eth0 eth1\n")),
        ("vlan5", virtual("vlan5", lower_eth0=None)),
        ("br0", virtual("br0", brif__vlan5=None) | virtual("vlan5", lower_eth0=None)),
    ],
)
def test_the_card_of_the_default_route_is_found_below_bridges_bonds_and_vlans(top: str, tree: dict[str, Node]) -> None:
    host = MemoryHost(nic("eth0", NIC) | nic("eth9", "0000:05:00.0") | tree | {"/proc/net/route": route(top)})
    found = network_uses(host)
    assert [use.via for use in found[NIC]] == [top]
    assert [use.via for use in found["0000:05:00.0"]] == [None]


PPPOE = b"Id       Address              Device\n00002A01 00:11:22:33:44:55   vlan7\n"
VLAN7 = virtual("vlan7", lower_eth0=None)


@pytest.mark.parametrize(
    ("top", "tree"),
    [
        # ovs_netdev_link links a port to the datapath; the bridge with the route is a port of its own kind.
        ("vmbr0", virtual("vmbr0", type=b"1\n") | virtual("ovs-system", type=b"1\n", lower_eth0=None)),
        ("vmbr0", virtual("vmbr0", type=b"1\n") | virtual("ovs-system", lower_vlan7=None) | VLAN7),
        ("ppp0", virtual("ppp0", type=b"512\n") | VLAN7 | {"/proc/net/pppoe": PPPOE}),
    ],
)
def test_the_card_of_the_default_route_is_found_where_no_link_leads_to_it(top: str, tree: dict[str, Node]) -> None:
    host = MemoryHost(nic("eth0", NIC) | nic("eth9", "0000:05:00.0") | tree | {"/proc/net/route": route(top)})
    found = network_uses(host)
    assert [(use.via, use.sure) for use in found[NIC]] == [(top, True)]
    assert [use.via for use in found["0000:05:00.0"]] == [None]


@pytest.mark.parametrize(
    ("top", "tree"),
    [
        ("wg0", virtual("wg0", type=b"65534\n")),
        ("ppp0", virtual("ppp0", type=b"512\n")),
        ("ppp0", virtual("ppp0", type=b"512\n") | {"/proc/net/pppoe": PPPOE.splitlines(keepends=True)[0]}),
        ("br0", virtual("br0", type=b"1\n", brif__tap0=None, lower_tap0=None) | virtual("tap0", type=b"1\n")),
    ],
)
def test_below_a_tunnel_every_card_that_is_up_may_carry_the_default_route(top: str, tree: dict[str, Node]) -> None:
    cards = nic("eth0", NIC) | nic("eth8", "0000:05:00.0") | nic("eth9", "0000:06:00.0", "down")
    found = network_uses(MemoryHost(cards | tree | {"/proc/net/route": route(top)}))
    uses = {address: [(use.via, use.sure) for use in each] for address, each in found.items()}
    assert uses == {NIC: [(top, False)], "0000:05:00.0": [(top, False)], "0000:06:00.0": [(None, True)]}


def test_a_tunnel_beside_a_card_with_a_default_route_makes_no_other_card_doubtful() -> None:
    table = route("wg0") + route("eth0").removeprefix(ROUTE)
    tree = nic("eth0", NIC) | nic("eth9", "0000:05:00.0") | virtual("wg0", type=b"65534\n")
    found = network_uses(MemoryHost(tree | {"/proc/net/route": table}))
    assert [(use.via, use.sure) for use in found[NIC]] == [("eth0", True)]
    assert [use.via for use in found["0000:05:00.0"]] == [None]


def test_a_default_route_over_hardware_that_is_not_on_pci_makes_no_card_doubtful() -> None:
    real = "/sys/devices/platform/soc/usb1/net/usb0"
    usb: dict[str, Node] = {"/sys/class/net/usb0": Link(real), f"{real}/device": Link("../../../usb1")}
    found = network_uses(MemoryHost(nic("eth0", NIC) | usb | {"/proc/net/route": route("usb0")}))
    assert [use.via for use in found[NIC]] == [None]


def test_a_default_route_of_ipv6_alone_counts() -> None:
    zero = "0" * 32
    lines = (
        f"{zero} 00 {zero} 00 fe80{'0' * 28} 00000400 00000001 00000000 00000003 eth0\n"
        f"{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"
    )
    assert default_interfaces(MemoryHost({"/proc/net/ipv6_route": lines.encode()})) == ("eth0",)


@pytest.mark.parametrize(
    "table",
    [route("eth0", mask="00FFFFFF", destination="0001A8C0"), route("eth0", flags="0200"), ROUTE, b"", b"\xff\n\xff"],
)
def test_other_routes_are_no_default(table: bytes) -> None:
    assert default_interfaces(MemoryHost({"/proc/net/route": table})) == ()


@pytest.mark.parametrize("holder", ["efifb", "efidrm", "vesadrm", "simple-framebuffer.0"])
def test_the_framebuffer_is_found_on_the_function_and_not_on_the_bridge_above_it(holder: str) -> None:
    iomem = (
        b"00000000-00000000 : PCI Bus 0000:00\n"
        b"  00000000-00000000 : 0000:00:01.0\n"
        b"    00000000-00000000 : 0000:01:00.0\n"
        b"      00000000-00000000 : " + holder.encode() + b"\n"
        b"    00000000-00000000 : 0000:01:00.1\n"
        b"  00000000-00000000 : nouveau\n"
    )
    assert framebuffers(MemoryHost({"/proc/iomem": iomem})) == {"0000:01:00.0": holder}
    assert framebuffers(MemoryHost({})) == {}
