"""The mount that a file lies on, as the kernel tells it by mount id (Documentation/filesystems/proc.rst, fdinfo); and
one that is missing."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from steps.reading import NOT_THERE, Files

# Where file systems of their own belong that the boot loader reads; restore.sh heeds the same.
BOOT = ("/boot", "/boot/efi", "/efi")


@dataclass(frozen=True, slots=True)
class Mount:
    """`device` is the number of the file system: one for all its mounts, and for all subvolumes of a btrfs, each of
    which has another one in stat(2). `type` is its name as in /proc/filesystems."""

    device: str
    type: str


def mount_of(place: Path) -> Mount | None:
    """The mount that holds what is there; None where the kernel does not say (no /proc, a mount outside our root)."""
    descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
    try:
        told = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
        table = Path("/proc/self/mountinfo").read_bytes().decode(errors="replace")
    except OSError:
        return None
    finally:
        os.close(descriptor)
    ident = dict(line.split(":", 1) for line in told.splitlines() if ":" in line).get("mnt_id", "").strip()
    for line in table.splitlines():
        head, _, tail = line.partition(" - ")
        if head.split(" ", 1)[0] == ident:
            return Mount(head.split()[2], tail.split()[0])
    return None


def not_mounted(host: Files, path: str) -> str | None:
    """The place of a file system that a path lies on and that is not mounted: the nearest directory above it that is
    there, empty. None where nothing tells so."""
    for folder in map(str, PurePosixPath(path).parents):
        with contextlib.suppress(*NOT_THERE):
            return None if host.list(folder) or folder not in BOOT else folder
    return None
