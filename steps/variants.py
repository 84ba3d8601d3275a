"""Variant drivers: VFIO drivers of the kernel that know one kind of device, and do more for it than vfio-pci does.

Sources: Documentation/driver-api/vfio-pci-device-specific-driver-acceptance.rst; the aliases `vfio_pci:` in
modules.alias (scripts/mod/file2alias.c, PCI_DRIVER_OVERRIDE_DEVICE_VFIO): the device's modalias behind `vfio_`, which
udev never asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from steps import kmod
from steps.base import Finding, Host, Severity
from steps.pci import Function

_GENERIC = "vfio_pci"


def read(host: Host, functions: Sequence[Function], release: str) -> Mapping[str, tuple[str, ...]]:
    """Address -> the modules of variant drivers that the kernel `release` has for it. Raises as kmod.resolve_alias."""
    found = {}
    for function in functions:
        if function.modalias:
            names = kmod.resolve_alias(host, f"vfio_{function.modalias}", release)
            found[function.address] = tuple(name for name in names if name != _GENERIC)
    return {address: names for address, names in found.items() if names}


def findings(variants: Mapping[str, tuple[str, ...]], release: str) -> Iterator[Finding]:
    """That there are such drivers. Nothing stands in the way: vfio-pci takes these devices, too."""
    for address, names in variants.items():
        yield Finding(
            "variant-driver",
            Severity.NOTE,
            f"The kernel has a VFIO driver made for {address}: {', '.join(names)}. vfio-pci takes it as well, without"
            " what that one adds (such as live migration).",
            tuple(f"/lib/modules/{release}/modules.alias: vfio_pci:… {name}" for name in names),
            f"Where you need it, bind it yourself after `bound`: driverctl or driver_override with the driver of"
            f" {names[0]}; libvirt and QEMU take a device under either.",
        )
