"""What QEMU's last lines mean, where they are about VFIO: the reason in the host, and what to do about it.

The texts are those of hw/vfio/{common,container,pci}.c and of RLIMIT_MEMLOCK's refusal; seen with QEMU 7.2.
"""

from __future__ import annotations

from collections.abc import Sequence

AGAIN = "then `vfiostate advance` again"
_MEMLOCK = (
    "QEMU may not lock all of the guest's memory (RLIMIT_MEMLOCK), though it is raised before each start: see `dmesg |"
    f" grep RLIMIT_MEMLOCK` and what limits this session (a container?), or less `memory` in [guest]; {AGAIN}"
)
# All words of a row must be on one line; the first row that fits is the answer.
_MEANINGS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("/dev/vfio/", "Permission denied"),
        "the guest's account may not open its VFIO group, though it is given to it before each start: see `ls -l"
        f" /dev/vfio` for what took it back (a udev rule?), or name another `user` in [guest]; {AGAIN}",
    ),
    (
        ("/dev/vfio/", "Device or resource busy"),
        "another process has the VFIO group open, such as another guest: `fuser -v /dev/vfio/*` names it; end it, "
        + AGAIN,
    ),
    (
        ("group", "is not viable"),
        "a member of the IOMMU group is under a native driver: `vfiostate devices` shows which;"
        f" `vfiostate rollback --to rebooted`, {AGAIN}",
    ),
    (
        ("unable to map backing store", "Cannot allocate memory"),
        "the kernel did not find all of the huge pages: the host's memory is in small pieces; end what uses much of it,"
        f" or `echo 1 > /proc/sys/vm/compact_memory`, {AGAIN}, or do it right after a boot",
    ),
    (("VFIO_MAP_DMA", "Cannot allocate memory"), _MEMLOCK),
    (("vfio_dma_map", "Cannot allocate memory"), _MEMLOCK),
    (("DMA mapping failed",), _MEMLOCK),
)


def hint(lines: Sequence[str]) -> str:
    """What to do about a guest that ended with these lines."""
    for words, said in _MEANINGS:
        if any(all(word in line for word in words) for line in lines):
            return said
    return "the lines above are QEMU's own; `vfiostate guest command` shows how it is started"
