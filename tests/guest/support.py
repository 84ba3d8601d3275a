"""Orders, QEMUs and a simulated machine in which the article's devices are under vfio-pci."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import tempfile
from pathlib import Path

from engine.hosts.simulated import SimulatedHost, description
from journal.events import Json
from steps.base import Brief
from steps.config import Cdrom, Config, Device, Disk, Guest, Network
from steps.guest.base import Order
from steps.guest.capabilities import DSDT, Capabilities

GPU = Device("0000:03:00.0", "10de:1200", x_vga=True)
AUDIO = Device("0000:03:00.1", "10de:0e0c")
USB = (Device("0000:00:12.0", "1002:4397"), Device("0000:00:12.2", "1002:4396"))
DEVICES = (GPU, AUDIO, *USB)
SETUP = "0123456789ab"
ARTICLE = Guest(
    name="win7",
    rtc="localtime",
    boot_menu=True,
    balloon=True,
    firmware="/usr/share/qemu/bios.bin",
    disks=(Disk("/dev/sdc6", bootindex=2),),
    cdroms=(Cdrom("/srv/windows7.iso", bootindex=1), Cdrom("/srv/virtio-win-0.1-74.iso")),
    networks=(Network("tap0", "br0", "52:54:00:26:7f:96"),),
    start_timeout=10.0,
    stop_timeout=5.0,
)
MODELS = frozenset(
    {
        *("ahci", "ich9-ahci", "ide-cd", "ide-hd", "vfio-pci", "ioh3420"),
        *("virtio-blk-pci", "virtio-net-pci", "virtio-balloon-pci"),
    }
)
QEMU_7 = Capabilities(
    "/usr/bin/qemu-system-x86_64",
    (7, 2, 22),
    MODELS | {"pcie-root-port"},
    frozenset({"q35", "pc"}),
    frozenset({"host", "max", "qemu64"}),
    frozenset({"kvm", "tcg"}),
    frozenset({"host", "x-vga"}),
    sandbox=True,
    inherits_socket=True,
)
QEMU_1_5 = dataclasses.replace(
    QEMU_7,
    version=(1, 5, 0),
    devices=MODELS,
    cpus=frozenset({"host", "qemu64"}),
    accels=None,
    disk_options=frozenset({"scsi"}),
    sandbox=False,
    inherits_socket=False,
    dsdt=DSDT,
)


def order(guest: Guest = ARTICLE, devices: tuple[Device, ...] = DEVICES, *, install: bool = False) -> Order:
    """An order for a guest."""
    return Order(guest, () if install else devices, SETUP, install)


def brief(guest: Guest | None = ARTICLE, devices: tuple[Device, ...] = DEVICES) -> Brief:
    """What the step is told."""
    return Brief(Config(devices, guest=guest), SETUP, "boot")


@functools.cache
def _template() -> tempfile.TemporaryDirectory[str]:
    """One such machine, made once and copied: making and booting one takes longer than most tests."""
    place = tempfile.TemporaryDirectory()
    host = SimulatedHost.create(Path(place.name) / "machine", description.find("article"))
    for module in ("kvm_amd", "vfio_iommu_type1", "vfio_pci"):
        assert host.run(("modprobe", module), timeout=5.0).ok
    for device in DEVICES:
        path = f"/sys/bus/pci/devices/{device.address}/driver/unbind"
        host.write_attribute(path, device.address, timeout=5.0)
    for device in DEVICES:
        host.write_attribute("/sys/bus/pci/drivers/vfio-pci/new_id", device.id.replace(":", " "), timeout=5.0)
    return place


def copy(source: str, target: str) -> None:
    """As shutil.copy2; sysfs has files that may only be written to, and nothing is in them."""
    try:
        shutil.copy2(source, target)
    except PermissionError:
        Path(target).touch()
        shutil.copymode(source, target)


def bound_machine(directory: Path, *, qemu: str = "1.5.0", faults: dict[str, Json] | None = None) -> SimulatedHost:
    """The article's machine with the devices under vfio-pci and KVM loaded."""
    shutil.copytree(Path(_template().name) / "machine", directory, symlinks=True, copy_function=copy)
    host = SimulatedHost(directory)
    found = dataclasses.replace(host.machine.description, qemu=qemu, faults={"qemu": faults or {}})
    host.machine.describe(found)
    return host
