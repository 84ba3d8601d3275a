"""What a machine is made of and what is installed on it, as data. FORMAT.md explains every field.

What the machine is doing (bindings, loaded modules, files) lives in its directory and not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from journal.events import Json


class Iommu(StrEnum):
    """Whose IOMMU the chipset has."""

    AMD = "amd"
    INTEL = "intel"
    NONE = "none"


class Init(StrEnum):
    """What starts services."""

    SYSTEMD = "systemd"
    OPENRC = "openrc"
    RC_LOCAL = "rc.local"


@dataclass(frozen=True, slots=True)
class Module:
    """A kernel module. `file` is below /lib/modules/RELEASE; `drivers` are the PCI drivers it registers."""

    file: str
    builtin: bool = False
    depends: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    pre: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kernel:
    """An installed kernel. Built-in modules initialise in the order given here, as they do in link order."""

    release: str
    modules: Mapping[str, Module]
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Function:
    """A PCI function. `parent` is the bridge above it, `group` its IOMMU group where known, `driver` the one bound when
    the machine was described, `hangs` whether an unbind never returns. `conventional` is PCI without Express, `physfn`
    what a virtual function is one of, `total_vfs` how many a physical one can have, `vfs_autoprobe` whether drivers
    take those by themselves, `rom` the content of its expansion ROM. Hex without 0x throughout."""

    address: str
    vendor: str
    device: str
    device_class: str
    subsystem_vendor: str = "0000"
    subsystem_device: str = "0000"
    revision: str = "00"
    parent: str | None = None
    group: int | None = None
    driver: str | None = None
    boot_vga: bool | None = None
    reset_method: str | None = None
    numa_node: int = -1
    resources: tuple[tuple[int, int, int], ...] = ()
    hangs: bool = False
    conventional: bool = False
    physfn: str | None = None
    total_vfs: int = 0
    vfs_autoprobe: bool = True
    rom: str | None = None

    @property
    def modalias(self) -> str:
        """The alias that udev matches modules by (Documentation/ABI, `modalias`)."""
        base, sub, interface = (self.device_class[n : n + 2] for n in (0, 2, 4))
        return (
            f"pci:v{self.vendor.upper():0>8}d{self.device.upper():0>8}"
            f"sv{self.subsystem_vendor.upper():0>8}sd{self.subsystem_device.upper():0>8}"
            f"bc{base.upper()}sc{sub.upper()}i{interface}"
        )

    @property
    def bridge(self) -> bool:
        """Whether it is a PCI-to-PCI bridge (class 0604)."""
        return self.device_class.startswith("0604")


@dataclass(frozen=True, slots=True)
class Disk:
    """A block device; `function` is the controller it hangs on, `slaves` what a virtual one is made of."""

    name: str
    function: str | None
    sectors: int
    partitions: tuple[str, ...] = ()
    slaves: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system."""

    source: str
    target: str
    type: str


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface: one of a PCI function, or a bridge with its ports."""

    name: str
    function: str | None = None
    ports: tuple[str, ...] = ()
    default_route: bool = False


@dataclass(frozen=True, slots=True)
class Keyboard:
    """A keyboard: the USB controller it hangs on, None for a PS/2 one."""

    name: str
    function: str | None = None


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file of the machine, or a symlink where `link` is given."""

    text: str = ""
    mode: int = 0o644
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """A whole machine. `threads` are all its logical CPUs, `smt` those of a core; `memory` is MiB; `framebuffer` the
    firmware framebuffer's driver and the function it is on, `cmdline` the running kernel's when it was described (None:
    what GRUB's files make of it)."""

    name: str
    kernels: tuple[Kernel, ...]
    functions: tuple[Function, ...]
    about: str = ""
    cpu_vendor: str = "GenuineIntel"
    cpu_model: str = "simulated"
    cpu_flags: tuple[str, ...] = ()
    threads: int = 1
    smt: int = 1
    nodes: int = 1
    memory: int = 4096
    iommu: Iommu = Iommu.NONE
    acpi_tables: tuple[str, ...] = ()
    interrupt_remapping: bool = True
    framebuffer: tuple[str, str] | None = None
    uefi: bool = False
    secure_boot: bool = False
    distribution: str = "Debian"
    init: Init = Init.SYSTEMD
    boot_loader: str = "grub"
    initramfs: str = "initramfs-tools"
    usrmerge: bool = True
    root: str = "UUID=00000000-0000-4000-8000-000000000001"
    cmdline: str | None = None
    autoload: tuple[str, ...] = ()
    disks: tuple[Disk, ...] = ()
    mounts: tuple[Mount, ...] = ()
    swaps: tuple[str, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    keyboards: tuple[Keyboard, ...] = ()
    commands: tuple[str, ...] = ()
    qemu: str | None = None
    files: Mapping[str, TextFile] = field(default_factory=dict)
    faults: Mapping[str, Json] = field(default_factory=dict)

    def function(self, address: str) -> Function | None:
        """The function at that address."""
        return next((one for one in self.functions if one.address == address), None)

    def kernel(self, release: str) -> Kernel | None:
        """The kernel of that release."""
        return next((one for one in self.kernels if one.release == release), None)
