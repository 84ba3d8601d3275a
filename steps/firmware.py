"""What the firmware's setup calls the switches that passthrough needs, and where its menus usually keep them.

These are the usual names. No two makers agree on all of them; VT-d, Interrupt Remapping and CPU Configuration are those
of MSI's and ASUS' manuals, the others were not looked up board by board.
"""

from __future__ import annotations

from enum import StrEnum

from steps.cpu import CpuVendor


class Switch(StrEnum):
    """One switch of the firmware's setup, by what it does."""

    VIRTUALIZATION = "virtualization"
    IOMMU = "iommu"
    REMAPPING = "interrupt remapping"
    LARGE_BARS = "above 4g"
    PRIMARY_DISPLAY = "primary display"


_AMD = {
    Switch.VIRTUALIZATION: "SVM Mode (also: AMD-V, CPU Virtualization; under CPU Configuration or CPU Features)",
    Switch.IOMMU: "IOMMU (also: AMD-Vi; under AMD CBS > NBIO, North Bridge or Chipset; Enabled, not Auto)",
    Switch.REMAPPING: "IOMMU (AMD-Vi) and Local APIC Mode: x2APIC (under AMD CBS)",
}
_INTEL = {
    Switch.VIRTUALIZATION: "Intel Virtualization Technology (also: VT-x, VMX; under CPU Configuration or CPU Features)",
    Switch.IOMMU: "VT-d (also: Intel VT for Directed I/O; under System Agent, Chipset or CPU Configuration)",
    Switch.REMAPPING: "VT-d with Interrupt Remapping, and x2APIC (under System Agent, Chipset or Processor)",
}
_BOTH = {
    Switch.LARGE_BARS: "Above 4G Decoding (also: Above 4G Memory, Memory Mapped I/O above 4GB; under PCI Subsystem)",
    Switch.PRIMARY_DISPLAY: "Primary Display (also: Init Display First, Initiate Graphic Adapter)",
}


def named(switch: Switch, vendor: CpuVendor) -> str:
    """A switch under its usual names on boards for this vendor's CPUs; under both where the vendor is another."""
    if switch in _BOTH:
        return _BOTH[switch]
    if vendor is CpuVendor.OTHER:
        return f"{_AMD[switch]} on AMD boards, {_INTEL[switch]} on Intel boards"
    return (_AMD if vendor is CpuVendor.AMD else _INTEL)[switch]
