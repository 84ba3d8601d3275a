"""What the user wants, typed. Reading it from TOML and checking it is the engine's."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Stub(StrEnum):
    """The driver that keeps the native ones off the devices from early boot on."""

    VFIO_PCI = "vfio-pci"
    PCI_STUB = "pci-stub"


class Persist(StrEnum):
    """Where the modules to load at boot are written down."""

    ETC_MODULES = "etc-modules"
    MODULES_LOAD_D = "modules-load.d"


class Accel(StrEnum):
    """QEMU's accelerator."""

    KVM = "kvm"
    TCG = "tcg"


class DiskInterface(StrEnum):
    """How a disk is attached to the guest."""

    VIRTIO = "virtio"
    SATA = "sata"


class Display(StrEnum):
    """Where the guest's own (not the passed-through) display goes."""

    NONE = "none"
    VNC = "vnc"


class HugePages(StrEnum):
    """The sizes of huge pages that x86 has."""

    M2 = "2M"
    G1 = "1G"


@dataclass(frozen=True, slots=True)
class Device:
    """A PCI function to pass through: address `DDDD:BB:DD.F` (the domain may have five digits) and expected
    `vendor:device` as in `10de:1200`; `x_vga` and `romfile` go to QEMU's vfio-pci."""

    address: str
    id: str
    x_vga: bool = False
    romfile: str | None = None


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of the guest: a block device or an image."""

    path: str
    format: str = "raw"
    interface: DiskInterface = DiskInterface.VIRTIO
    bootindex: int | None = None
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class Cdrom:
    """A CD image of the guest."""

    path: str
    bootindex: int | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """A tap interface in a bridge, both made where missing (and removed by the way back when made by us)."""

    tap: str
    bridge: str | None = None
    mac: str | None = None
    model: str = "virtio-net-pci"


@dataclass(frozen=True, slots=True)
class Guest:
    """The virtual machine. `backend` is the way to run it (a module of steps.guest); `memory` is MiB; `firmware` a BIOS
    image for -bios, `ovmf_code`/`ovmf_vars` a UEFI pair; `user` the account QEMU runs as (`root` only when said so);
    `args` are appended as they are. `vcpupin` has the host's CPUs of each vCPU, `emulatorpin` those of all its other
    threads, `isolated_cpus` those that the kernel is to keep free: lists of CPUs as the kernel writes them."""

    name: str = "guest"
    backend: str = "qemu"
    binary: str = "qemu-system-x86_64"
    accel: Accel = Accel.KVM
    machine: str = "q35"
    cpu: str = "host"
    memory: int = 1024
    sockets: int = 1
    cores: int = 1
    threads: int = 1
    vcpupin: tuple[str, ...] = ()
    emulatorpin: str | None = None
    isolated_cpus: str | None = None
    hugepages: HugePages | None = None
    rtc: str = "utc"
    boot_menu: bool = False
    balloon: bool = False
    firmware: str | None = None
    ovmf_code: str | None = None
    ovmf_vars: str | None = None
    disks: tuple[Disk, ...] = ()
    cdroms: tuple[Cdrom, ...] = ()
    networks: tuple[Network, ...] = ()
    display: Display = Display.NONE
    vnc: str = "127.0.0.1:0"
    user: str = "nobody"
    sandbox: bool = True
    start_timeout: float = 60.0
    stop_timeout: float = 60.0
    args: tuple[str, ...] = ()

    @property
    def vcpus(self) -> int:
        """How many CPUs it has."""
        return self.sockets * self.cores * self.threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """What is refused unless the user says so by name."""

    boot_vga: tuple[str, ...] = ()
    identical_ids: tuple[str, ...] = ()
    keyboard: tuple[str, ...] = ()
    unsafe_interrupts: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration, as /etc/vfiostate.toml says it."""

    devices: tuple[Device, ...]
    stub: Stub = Stub.VFIO_PCI
    persist: Persist = Persist.ETC_MODULES
    boot_loader: str = "auto"
    initramfs: str = "auto"
    unbind_timeout: float = 30.0
    extra_modules: tuple[str, ...] = ()
    iommu_pt: bool = False
    guest: Guest | None = None
    allow: Allow = field(default_factory=Allow)
    journal_url: str | None = None
    metrics: str | None = None
