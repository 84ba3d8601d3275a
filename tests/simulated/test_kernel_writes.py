"""What the simulated kernel answers to writes: the table of the lab's real kernel, errno by errno."""

from __future__ import annotations

import errno

import pytest

from engine.hosts.base import OutcomeUnknown
from engine.hosts.simulated import drivers
from engine.hosts.simulated.host import SimulatedHost
from tests.simulated.conftest import Fresh

GPU, AUDIO, USB, NIC, ABSENT = "0000:01:00.0", "0000:01:00.1", "0000:02:00.0", "0000:03:00.0", "0000:09:00.0"
DRIVERS = "/sys/bus/pci/drivers"
VFIO = f"{DRIVERS}/vfio-pci"


def write(host: SimulatedHost, path: str, value: str) -> str:
    """Write; the errno's name, or `ok`."""
    try:
        host.write_attribute(path, value, timeout=5)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def holder(host: SimulatedHost, address: str) -> str | None:
    return drivers.driver_of(host.machine, address)


@pytest.fixture
def lab(fresh: Fresh) -> SimulatedHost:
    """The lab's machine, with vfio-pci loaded."""
    host = fresh("debian12-lab")
    assert host.run(["modprobe", "vfio-pci"], timeout=5).ok
    return host


# Observed on Debian 12, kernel 6.1.0-56-amd64.
@pytest.mark.parametrize(
    ("path", "value", "answer"),
    [
        (f"{VFIO}/bind", GPU, "ENODEV"),
        (f"{DRIVERS}/bochs-drm/bind", GPU, "EBUSY"),
        (f"{VFIO}/bind", ABSENT, "ENODEV"),
        (f"{VFIO}/unbind", ABSENT, "ENODEV"),
        (f"{VFIO}/unbind", GPU, "ENODEV"),
        (f"{DRIVERS}/bochs-drm/unbind", GPU, "ok"),
        (f"{DRIVERS}/bochs-drm/unbind", f"{GPU}\n", "ok"),
        (f"{DRIVERS}/bochs-drm/unbind", "", "ok"),
        (f"{VFIO}/new_id", "1234", "EINVAL"),
        (f"{VFIO}/new_id", "rubbish here", "EINVAL"),
        (f"{VFIO}/new_id", "0x1234 0x1111", "ok"),
        (f"{VFIO}/remove_id", "1234 1111", "ENODEV"),
        (f"{DRIVERS}/bochs-drm/new_id", "1234 1111", "EEXIST"),
        ("/sys/bus/pci/drivers_probe", GPU, "ok"),
        ("/sys/bus/pci/drivers_probe", ABSENT, "ENODEV"),
        ("/sys/bus/pci/drivers_probe", "rubbish", "ENODEV"),
        (f"/sys/bus/pci/devices/{GPU}/driver_override", "nosuch", "ok"),
        (f"/sys/bus/pci/devices/{GPU}/driver_override", "x" * 4095, "EINVAL"),
        (f"/sys/bus/pci/devices/{GPU}/vendor", "0x10de", "EACCES"),
        (f"/sys/bus/pci/devices/{ABSENT}/driver_override", "vfio-pci", "ENOENT"),
        (f"{DRIVERS}/nosuch/bind", GPU, "ENOENT"),
        (DRIVERS, "x", "EISDIR"),
    ],
)
def test_a_write_is_answered_as_by_a_real_kernel(lab: SimulatedHost, path: str, value: str, answer: str) -> None:
    assert write(lab, path, value) == answer


def test_an_override_is_cleared_by_a_newline_and_not_by_an_empty_write(lab: SimulatedHost) -> None:
    path = f"/sys/bus/pci/devices/{GPU}/driver_override"
    assert lab.read(path) == b"(null)\n"
    for value, expected in (
        ("vfio-pci", "vfio-pci"),
        ("", "vfio-pci"),
        ("\n", "(null)"),
        ("a\n", "a"),
        ("\0", "(null)"),
    ):
        assert write(lab, path, value) == "ok"
        assert lab.read(path).decode() == f"{expected}\n"
    assert holder(lab, GPU) == "bochs-drm"


def test_override_then_unbind_then_probe_gives_the_device_to_vfio(lab: SimulatedHost) -> None:
    override = f"/sys/bus/pci/devices/{GPU}/driver_override"
    assert write(lab, override, "vfio-pci") == "ok"
    assert write(lab, f"{DRIVERS}/bochs-drm/unbind", GPU) == "ok"
    assert write(lab, f"{DRIVERS}/bochs-drm/bind", GPU) == "ENODEV"
    assert write(lab, "/sys/bus/pci/drivers_probe", GPU) == "ok"
    assert holder(lab, GPU) == "vfio-pci"
    assert lab.list("/dev/vfio") == ("7", "vfio")
    assert b"fc000000-fcffffff : vfio-pci" in lab.read("/proc/iomem")
    assert write(lab, f"{VFIO}/unbind", GPU) == "ok"
    assert lab.list("/dev/vfio") == ("vfio",)
    assert write(lab, override, "\n") == "ok"
    assert write(lab, "/sys/bus/pci/drivers_probe", GPU) == "ok"
    assert holder(lab, GPU) == "bochs-drm"


def test_an_override_that_names_an_unloaded_driver_waits_for_the_module(fresh: Fresh) -> None:
    host = fresh("debian12-lab")
    assert write(host, f"/sys/bus/pci/devices/{GPU}/driver_override", "vfio-pci") == "ok"
    assert write(host, f"/sys/bus/pci/devices/{GPU}/driver/unbind", GPU) == "ok"
    assert write(host, "/sys/bus/pci/drivers_probe", GPU) == "ok"
    assert holder(host, GPU) is None
    assert host.run(["modprobe", "vfio-pci"], timeout=5).ok
    assert holder(host, GPU) == "vfio-pci"


def test_new_id_binds_every_unbound_device_of_that_id_and_exists_the_second_time(fresh: Fresh) -> None:
    host = fresh("intel-twins")
    host.run(["modprobe", "vfio-pci"], timeout=5)
    cards = ("0000:01:00.0", "0000:02:00.0")
    for card in cards:
        assert write(host, f"/sys/bus/pci/devices/{card}/driver/unbind", card) == "ok"
    assert write(host, f"{VFIO}/new_id", "10de 1b80") == "ok"
    assert [holder(host, card) for card in cards] == ["vfio-pci", "vfio-pci"]
    assert write(host, f"{VFIO}/new_id", "10de 1b80") == "EEXIST"
    assert write(host, f"{VFIO}/remove_id", "10de 1b80") == "ok"
    assert [holder(host, card) for card in cards] == ["vfio-pci", "vfio-pci"]
    assert write(host, f"{VFIO}/remove_id", "10de 1b80") == "ENODEV"


def test_new_id_moves_nothing_that_is_bound_elsewhere(lab: SimulatedHost) -> None:
    assert write(lab, f"{VFIO}/new_id", "1b36 000d") == "ok"
    assert holder(lab, USB) == "xhci_hcd"
    # The native driver registered first, so it is asked first.
    assert write(lab, f"{DRIVERS}/xhci_hcd/unbind", USB) == "ok"
    assert write(lab, "/sys/bus/pci/drivers_probe", USB) == "ok"
    assert holder(lab, USB) == "xhci_hcd"


def test_removing_the_module_lets_its_devices_go_and_keeps_the_override(lab: SimulatedHost) -> None:
    write(lab, f"/sys/bus/pci/devices/{USB}/driver_override", "vfio-pci")
    write(lab, f"{DRIVERS}/xhci_hcd/unbind", USB)
    write(lab, "/sys/bus/pci/drivers_probe", USB)
    assert lab.run(["modprobe", "-r", "vfio-pci"], timeout=5).ok
    assert holder(lab, USB) is None
    assert lab.lstat(VFIO) is None
    assert lab.read(f"/sys/bus/pci/devices/{USB}/driver_override") == b"vfio-pci\n"


def test_vfio_refuses_a_bridge_and_a_device_without_a_group(fresh: Fresh) -> None:
    lab, off = fresh("debian12-lab"), fresh("iommu-off")
    for host, address in ((lab, "0000:00:04.0"), (off, "0000:03:00.0")):
        host.run(["modprobe", "vfio-pci"], timeout=5)
        write(host, f"/sys/bus/pci/devices/{address}/driver_override", "vfio-pci")
        write(host, f"/sys/bus/pci/devices/{address}/driver/unbind", address)
        assert write(host, f"{VFIO}/bind", address) == "EINVAL"
        assert holder(host, address) is None


def test_a_kernel_of_2013_has_no_override_and_binds_by_id(fresh: Fresh) -> None:
    host = fresh("article")
    gpu = "0000:03:00.0"
    host.run(["modprobe", "vfio-pci"], timeout=5)
    assert host.lstat(f"/sys/bus/pci/devices/{gpu}/driver_override") is None
    assert write(host, f"{VFIO}/bind", gpu) == "ENODEV"
    assert write(host, f"{DRIVERS}/nouveau/bind", gpu) == "ENODEV"
    assert write(host, f"{DRIVERS}/nouveau/unbind", gpu) == "ok"
    assert write(host, f"{VFIO}/new_id", "0x10de 0x1200") == "ok"
    assert holder(host, gpu) == "vfio-pci"


def test_an_unbind_that_hangs_is_of_unknown_outcome(fresh: Fresh) -> None:
    host = fresh("debian12-lab")
    text = (
        host.machine.path("/machine.json")
        .read_text()
        .replace(f'"address": "{GPU}",', f'"address": "{GPU}", "hangs": true,')
    )
    host.machine.path("/machine.json").write_text(text)
    host = SimulatedHost(host.root)
    with pytest.raises(OutcomeUnknown):
        host.write_attribute(f"{DRIVERS}/bochs-drm/unbind", GPU, timeout=5)
    assert holder(host, GPU) == "bochs-drm"


def test_a_network_interface_goes_and_comes_with_its_native_driver(lab: SimulatedHost) -> None:
    assert "enp3s0" in lab.list("/sys/class/net")
    write(lab, f"{DRIVERS}/e1000e/unbind", NIC)
    assert "enp3s0" not in lab.list("/sys/class/net")
    write(lab, f"{DRIVERS}/e1000e/bind", NIC)
    assert "enp3s0" in lab.list("/sys/class/net")
