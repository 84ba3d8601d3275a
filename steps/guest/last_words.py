"""What QEMU's last lines mean, where they are about VFIO: the reason in the host, and what to do about it.

The texts are those of hw/vfio/{common,container,pci}.c and of RLIMIT_MEMLOCK's refusal; seen with QEMU 7.2.
"""

from __future__ import annotations

from collections.abc import Sequence

AGAIN = "then run `vfiostate advance` again."
_MEMLOCK = (
    "QEMU may not lock all of the guest's memory (RLIMIT_MEMLOCK), though it is raised before each start. See `dmesg |"
    f" grep RLIMIT_MEMLOCK` and what limits this session (a container?), or give the guest less `memory`; {AGAIN}"
)
# All words of a row must be on one line; the first row that fits is the answer.
_MEANINGS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("/dev/vfio/", "Permission denied"),
        "The guest's account may not open its VFIO group, though it is given to it before each start. See `ls -l"
        f" /dev/vfio` for what took it back (a udev rule?), or name another `user` in [guest]; {AGAIN}",
    ),
    (
        ("/dev/vfio/", "Device or resource busy"),
        f"Another process, such as a guest, has the VFIO group open: `fuser -v /dev/vfio/*` names it. End it; {AGAIN}",
    ),
    (
        ("group", "is not viable"),
        "A member of the IOMMU group is under a native driver: `vfiostate devices` shows which. Run"
        " `vfiostate rollback --to rebooted`, then `vfiostate advance`.",
    ),
    (
        ("unable to map backing store", "Cannot allocate memory"),
        "The kernel did not find all of the huge pages: the host's memory is in small pieces. End what uses much of it,"
        f" or `echo 1 > /proc/sys/vm/compact_memory`, or boot anew; {AGAIN}",
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
    return "Mend what QEMU says above (`vfiostate guest command` shows how it is started); " + AGAIN
