"""Limine on Arch: an EFI system partition at /boot, mkinitcpio, and a limine.conf as archinstall writes it."""

from __future__ import annotations

from tests.field.support import Description
from tests.initramfs.systems import mkinitcpio
from tests.loaders.system import System

OS_RELEASE = 'NAME="Arch Linux"\nID=arch\n'


def arch(description: Description) -> None:
    """The lab's machine, with Arch and Limine on it."""
    mkinitcpio.SYSTEMS[0].change(description)
    description["uefi"] = True
    description["boot_loader"] = "limine"
    description["distribution"] = "Arch Linux"
    description["mounts"].append({"source": "/dev/vda15", "target": "/boot", "type": "vfat"})
    description["commands"] = [path for path in description["commands"] if "grub" not in path]
    kept = {path: one for path, one in description["files"].items() if "grub" not in path}
    description["files"] = {**kept, "/etc/os-release": {"text": OS_RELEASE}}


def _edit(content: bytes) -> bytes:
    return content.replace(b"timeout: 5", b"timeout: 9").replace(b"rw quiet", b"rw nosmt quiet", 1) + b"# mine\n"


SYSTEMS = (System("Limine, by a limine.conf of one's own", arch, "boot/limine.conf", _edit, trial=False),)
