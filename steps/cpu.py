"""The CPU as /proc/cpuinfo tells it: whose it is, whether it can run guests, and whether the firmware forbids it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from steps.base import Host
from steps.reading import text_of

# arch/x86/kernel/cpu/feat_ctl.c, amd.c and hygon.c; arch/x86/kvm before Linux 6.7 says it when kvm_amd is loaded.
_FORBIDDEN = re.compile(
    r"VMX .*disabled by BIOS|VMX not enabled \(by BIOS\)|SVM disabled \(by BIOS\)|disabled by bios$"
)


class CpuVendor(StrEnum):
    """Whose IOMMU goes with the CPU."""

    INTEL = "intel"
    AMD = "amd"
    OTHER = "other"


_VENDORS = {
    "GenuineIntel": CpuVendor.INTEL,
    "AuthenticAMD": CpuVendor.AMD,
    "HygonGenuine": CpuVendor.AMD,
}


def read_cpu(host: Host) -> tuple[CpuVendor, frozenset[str]]:
    """The CPU's vendor and its flags, of the first processor in /proc/cpuinfo; no flags where it names none."""
    vendor, flags = CpuVendor.OTHER, frozenset[str]()
    for line in text_of(host, "/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "vendor_id":
            vendor = _VENDORS.get(value.strip(), CpuVendor.OTHER)
        if key.strip() == "flags":
            flags = frozenset(value.split())
            break
    return vendor, flags


def forbidden(log: Sequence[str]) -> tuple[str, ...]:
    """The kernel log's lines that say that the firmware has virtualization switched off.

    What is off there does not show among the flags at all, since Linux 5.6 (vmx) and 6.7 (svm).
    """
    return tuple(line for line in log if _FORBIDDEN.search(line))
