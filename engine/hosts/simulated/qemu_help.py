"""What QEMU prints about itself, by its version: the tables behind `-version`, `-device help` and their like.

Held against QEMU 7.2; when a device or an option came is from QEMU's change logs (https://wiki.qemu.org/ChangeLog).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Version = tuple[int, int, int]

# name -> (bus, alias, came with)
DEVICES: Mapping[str, tuple[str, str, tuple[int, int]]] = {
    "ioh3420": ("PCI", "", (0, 13)),
    "pci-bridge": ("PCI", "", (1, 0)),
    "pcie-root-port": ("PCI", "", (2, 9)),
    "pcie-pci-bridge": ("PCI", "", (2, 11)),
    "usb-ehci": ("PCI", "", (1, 0)),
    "nec-usb-xhci": ("PCI", "", (1, 1)),
    "qemu-xhci": ("PCI", "", (2, 10)),
    "ich9-ahci": ("PCI", "ahci", (0, 14)),
    "ide-cd": ("IDE", "", (0, 15)),
    "ide-hd": ("IDE", "", (0, 15)),
    "nvme": ("PCI", "", (1, 6)),
    "virtio-blk-pci": ("PCI", "virtio-blk", (0, 13)),
    "virtio-scsi-pci": ("PCI", "", (1, 1)),
    "e1000": ("PCI", "", (0, 12)),
    "e1000e": ("PCI", "", (2, 7)),
    "rtl8139": ("PCI", "", (0, 12)),
    "virtio-net-pci": ("PCI", "virtio-net", (0, 13)),
    "VGA": ("PCI", "", (0, 15)),
    "vfio-pci": ("PCI", "", (1, 3)),
    "virtio-balloon-pci": ("PCI", "virtio-balloon", (0, 14)),
    "virtio-rng-pci": ("PCI", "virtio-rng", (1, 3)),
    "intel-iommu": ("System", "", (2, 7)),
}
CPUS = ("qemu64", "qemu32", "kvm64", "host", "Opteron_G5", "SandyBridge", "Haswell", "EPYC", "Skylake-Client", "max")
CPU_CAME: Mapping[str, tuple[int, int]] = {"EPYC": (2, 12), "Skylake-Client": (2, 8), "max": (2, 9)}
PROPERTIES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "vfio-pci": (
        ("addr", "int32"),
        ("bootindex", "int32"),
        ("host", "str"),
        ("multifunction", "bool"),
        ("romfile", "str"),
        ("x-vga", "bool"),
    ),
    "virtio-blk-pci": (("addr", "int32"), ("bootindex", "int32"), ("drive", "str"), ("scsi", "bool")),
}
COMMON = ("id", "bus", "addr", "multifunction", "bootindex", "romfile", "rombar")
SUBOPTIONS_OF_SANDBOX = (2, 11)
CHARDEV_FD = (2, 12)
ACCEL_OPTION = (2, 9)
FULL_NAMES = (2, 6)
HELP_ON_STDOUT = (4, 1)


class Said(NamedTuple):
    """What a program printed, and its exit status."""

    status: int
    stdout: str = ""
    stderr: str = ""


def parse_version(text: str) -> Version:
    """The numbers of a version such as `1.5.0` or `7.2.22 (Debian …)`; 7.2.0 where there are none."""
    words = text.split()
    parts = [int(part) for part in (words[0].split(".") if words else ()) if part.isdecimal()]
    return (parts[0], parts[1], parts[2] if len(parts) > 2 else 0) if len(parts) > 1 else (7, 2, 0)


def has_device(version: Version, name: str) -> bool:
    """Whether a QEMU of that version has a device of that name or alias."""
    return any(name in (one, alias) and version >= came for one, (_, alias, came) in DEVICES.items())


def canonical(name: str) -> str:
    """A device's name, given it or its alias."""
    return next((one for one, (_, alias, _) in DEVICES.items() if alias == name), name)


def machines(version: Version) -> tuple[str, ...]:
    """The names of its machine types."""
    number = f"{version[0]}.{version[1]}"
    q35 = (f"pc-q35-{number}", "q35") if version >= (1, 4) else ()
    return (f"pc-i440fx-{number}", "pc", *q35, "isapc", "none")


def cpus(version: Version) -> tuple[str, ...]:
    """The names of its CPU models."""
    return tuple(name for name in CPUS if version >= CPU_CAME.get(name, (0, 0)))


def version_said(version: Version) -> Said:
    """The answer to `-version`."""
    number = ".".join(str(part) for part in version)
    return Said(
        0, f"QEMU emulator version {number}\nCopyright (c) 2003 Fabrice Bellard and the QEMU Project developers\n"
    )


def help_said(version: Version, option: str, value: str) -> Said | None:
    """The answer to an option whose value asks for help, None where it does not."""
    if option == "-device" and value.endswith((",help", ",?")):
        return _properties(version, value.rpartition(",")[0])
    if value not in ("help", "?"):
        return None
    match option:
        case "-device":
            lines = [_device_line(name) for name, (_, _, came) in DEVICES.items() if version >= came]
            text = "Devices:\n" + "".join(lines)
            return Said(0, text) if version >= HELP_ON_STDOUT else Said(0, "", text)
        case "-machine" | "-M":
            lines = [f"{name:<20} a machine type\n" for name in machines(version)]
            return Said(0, "Supported machines are:\n" + "".join(lines))
        case "-cpu":
            # The column `x86` went with 8.2 or so; the header came with 2.11.
            lines = [f"x86 {name:<20}  a CPU model\n" for name in cpus(version)]
            header = "Available CPUs:\n" if version >= (2, 11) else ""
            return Said(0, header + "".join(lines) + "\nRecognized CPUID flags:\n  3dnow aes avx\n")
        case "-accel" if version >= ACCEL_OPTION:
            return Said(0, "Accelerators supported in QEMU binary:\ntcg\nkvm\n")
        case _:
            return None


def _device_line(name: str) -> str:
    bus, alias, _ = DEVICES[name]
    return f'name "{name}", bus {bus}' + (f', alias "{alias}"' if alias else "") + "\n"


def _properties(version: Version, name: str) -> Said:
    if not has_device(version, name):
        return Said(1, "", f"qemu-system-x86_64: -device {name},help: Device '{name}' not found\n")
    own = PROPERTIES.get(canonical(name), (("addr", "int32"),))
    if version < HELP_ON_STDOUT:
        return Said(0, "", "".join(f"{name}.{key}={kind}\n" for key, kind in own))
    return Said(0, f"{name} options:\n" + "".join(f"  {key}=<{kind}>\n" for key, kind in own))
