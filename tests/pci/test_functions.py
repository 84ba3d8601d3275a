"""What sysfs says of PCI functions, checked where it enters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.errors import VfiostateError
from steps.pci import group_members, list_functions, read_function, read_groups
from tests.support.memory_host import Link, MemoryHost
from tests.support.pci_tree import Card, sysfs

GPU = Card("0000:03:00.0", "10de:1200", "030000", "nouveau", 11, boot_vga="0")
AUDIO = Card("0000:03:00.1", "10de:0e0c", "040300", "snd_hda_intel", 11)
BRIDGE = Card("0000:00:01.0", "8086:1901", "060400", "pcieport", 11, bridge=True)
BARE = Card("10000:e1:00.0", "144d:a808", "010802", None, None, override=None)
HOST = MemoryHost(sysfs(GPU, AUDIO, BRIDGE, BARE))


def test_a_function_is_read_with_all_that_the_kernel_says_of_it() -> None:
    tree = sysfs(GPU)
    base = "/sys/devices/pci0000:00/0000:03:00.0"
    tree |= {f"{base}/reset_method": b"flr bus\n", f"{base}/numa_node": b"1\n", f"{base}/modalias": b"pci:v0x\n"}
    found = read_function(MemoryHost(tree), "0000:03:00.0")
    assert found is not None
    assert (found.id, found.subsystem, found.class_code, found.driver) == (
        "10de:1200",
        "1af4:1100",
        0x030000,
        "nouveau",
    )
    assert (found.group, found.boot_vga, found.is_bridge, found.driver_override) == (11, False, False, None)
    assert (found.reset_methods, found.numa, found.modalias) == (("flr", "bus"), 1, "pci:v0x")
    assert found.has_override and found.is_display and found.slot == "0000:03:00"


def test_absent_is_none_and_not_a_default() -> None:
    found = read_function(HOST, BARE.address)
    assert found is not None
    assert (found.driver, found.group, found.boot_vga, found.modalias, found.numa) == (None, None, None, None, None)
    assert not found.has_override
    assert read_function(HOST, "0000:09:00.0") is None


@pytest.mark.parametrize(("text", "meaning"), [("(null)", None), ("", None), ("vfio-pci", "vfio-pci")])
def test_an_unset_override_reads_as_none(text: str, meaning: str | None) -> None:
    found = read_function(MemoryHost(sysfs(Card("0000:03:00.0", "10de:1200", override=text))), "0000:03:00.0")
    assert found is not None and found.driver_override == meaning and found.has_override


@pytest.mark.parametrize("driver", ["vfio-pci", "pci-stub", None])
def test_a_member_under_a_stub_or_without_driver_spoils_no_group(driver: str | None) -> None:
    found = read_function(MemoryHost(sysfs(Card("0000:03:00.0", "10de:1200", driver=driver))), "0000:03:00.0")
    assert found is not None and not found.spoils_group


def test_a_bridge_spoils_no_group_and_a_native_driver_does() -> None:
    bridge, gpu = read_function(HOST, BRIDGE.address), read_function(HOST, GPU.address)
    assert bridge is not None and bridge.is_bridge and not bridge.spoils_group
    assert gpu is not None and gpu.spoils_group


def test_a_directory_of_a_bus_makes_a_bridge_whatever_the_class_says() -> None:
    host = MemoryHost(sysfs(Card("0000:00:01.0", "8086:1901", "088000", bridge=True)))
    found = read_function(host, "0000:00:01.0")
    assert found is not None and found.is_bridge and not found.bridge_class


def test_functions_are_listed_in_the_order_of_their_numbers() -> None:
    addresses = [BRIDGE.address, GPU.address, AUDIO.address, BARE.address]
    assert [found.address for found in list_functions(HOST)] == addresses


def test_groups_name_their_pci_members_only() -> None:
    tree = sysfs(GPU, AUDIO)
    tree["/sys/kernel/iommu_groups/11/devices/arm-smmu.0"] = Link("../../../../devices/platform/arm-smmu.0")
    tree["/sys/kernel/iommu_groups/40/devices"] = None
    host = MemoryHost(tree)
    assert read_groups(host) == {11: (GPU.address, AUDIO.address), 40: ()}
    assert group_members(host, 11) == (GPU.address, AUDIO.address)
    assert group_members(host, 12) == ()


def test_a_host_without_pci_or_iommu_has_none() -> None:
    empty = MemoryHost({})
    assert list_functions(empty) == () and read_groups(empty) == {}


def test_a_value_that_sysfs_cannot_hold_is_refused_with_its_place() -> None:
    tree = sysfs(GPU)
    tree["/sys/devices/pci0000:00/0000:03:00.0/vendor"] = b"rubbish\n"
    with pytest.raises(VfiostateError, match=r"0000:03:00\.0/vendor holds 'rubbish'"):
        read_function(MemoryHost(tree), GPU.address)


@given(st.binary(max_size=12))
def test_no_bytes_in_an_attribute_end_in_a_traceback(content: bytes) -> None:
    tree = sysfs(GPU)
    base = "/sys/devices/pci0000:00/0000:03:00.0"
    for name in ("vendor", "class", "driver_override", "boot_vga", "numa_node", "reset_method", "modalias"):
        tree[f"{base}/{name}"] = content
    try:
        read_function(MemoryHost(tree), GPU.address)
    except VfiostateError as error:
        assert error.hint
