"""The format of the guest's UEFI images: distributions ship raw ones, and Fedora its larger ones as qcow2.

Source: docs/interop/qcow2 of QEMU. A qcow2 that is called raw has the wrong size for the flash, and QEMU ends.
"""

from __future__ import annotations

from steps.base import Host
from steps.config import Guest
from steps.reading import content_of, target_of

MAGIC = b"QFI\xfb"
# Far above any firmware: whatever else a path names by mistake is not read.
LARGEST = 64 << 20


def qcow2(host: Host, guest: Guest) -> frozenset[str]:
    """Those of them that are qcow2, by their paths in the configuration."""
    return frozenset(path for path in (guest.ovmf_code, guest.ovmf_vars) if path is not None and _is_qcow2(host, path))


def _is_qcow2(host: Host, path: str) -> bool:
    stat = host.lstat(target_of(host, path))
    return stat is not None and stat.size <= LARGEST and content_of(host, path).startswith(MAGIC)
