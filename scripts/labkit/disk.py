"""The disk of an image: partitions and file systems in a plain file, without a loop device or a mount."""

from __future__ import annotations

from pathlib import Path

from .base import run
from .recipe import ESP, ROOT

DISK_MIB = 6144
DISK_ID = "0x76667374"
FIRST = 1024 * 1024  # bytes before the first partition: a BIOS' GRUB lives there
ESP_MIB = 512


def make_disk(root: Path, work: Path, uefi: bool) -> None:
    """The root file system in a partition; with UEFI, an empty EFI system partition before it."""
    disk = work / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(DISK_MIB * 2**20)
    offset = FIRST + (ESP_MIB * 2**20 if uefi else 0)
    kib = DISK_MIB * 1024 - offset // 1024 - (1024 if uefi else 0)  # a GPT has a copy of itself at the end
    table = work / "table"
    table.write_text(gpt(offset, kib) if uefi else dos(offset))
    run(["sh", "-c", 'sfdisk --quiet "$1" <"$2"', "sh", disk, table])
    if uefi:
        run(["mkfs.vfat", "-F", "32", "-n", "ESP", "-i", ESP.replace("-", ""), f"--offset={FIRST // 512}", disk,
             str(ESP_MIB * 1024)], log=work / "mkfs.vfat.log")  # fmt: skip
    run(
        ["mke2fs", "-q", "-t", "ext4", "-L", "lab", "-U", ROOT, "-d", root, "-E", f"offset={offset}", disk, f"{kib}k"],
        log=work / "mke2fs.log",
    )


def dos(offset: int) -> str:
    """The partition table of a machine with a BIOS, for sfdisk."""
    return f"label: dos\nlabel-id: {DISK_ID}\nstart={offset // 512}, type=83, bootable\n"


def gpt(offset: int, kib: int) -> str:
    """The partition table of a machine with UEFI, for sfdisk."""
    return (
        f"label: gpt\nstart={FIRST // 512}, size={(offset - FIRST) // 512}, type=U, name=esp\n"
        f"start={offset // 512}, size={kib * 2}, type=L, name=root\n"
    )
