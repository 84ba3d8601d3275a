"""systemd-boot as Debian has it: kernel-install makes entries of type 1, or unified kernel images, of one line."""

from __future__ import annotations

from tests.field.support import Description
from tests.loaders.system import System

LINE = "root=UUID=00000000-0000-4000-8000-000000000001 ro quiet"
COMMANDS = ("/usr/bin/bootctl", "/usr/bin/kernel-install")


def without_grub(description: Description) -> None:
    """The lab's machine with UEFI, an EFI system partition at /boot/efi, and systemd-boot on it."""
    description["uefi"] = True
    description["boot_loader"] = "systemd-boot"
    description["mounts"].append({"source": "/dev/vda15", "target": "/boot/efi", "type": "vfat"})
    description["commands"] = [path for path in description["commands"] if "grub" not in path] + list(COMMANDS)
    kept = {path: one for path, one in description["files"].items() if "grub" not in path}
    description["files"] = {**kept, "/etc/kernel/cmdline": {"text": f"{LINE}\n"}}


def type1(description: Description) -> None:
    """Entries named after the distribution, as `kernel-install --entry-token=os-id` names them."""
    without_grub(description)
    description["files"]["/etc/kernel/entry-token"] = {"text": "debian\n"}


def uki(description: Description) -> None:
    """Unified kernel images, which ukify makes for kernel-install; the kernel's name has a `+`, as Debian 13's have."""
    type1(description)
    for kernel in description["kernels"]:
        kernel["release"] = "6.12.118+deb13-amd64"
    description["files"]["/etc/kernel/install.conf"] = {"text": "layout=uki\n"}


def _edit(content: bytes) -> bytes:
    return content.replace(b" quiet", b" nosmt quiet")


SYSTEMS = (
    System("systemd-boot on Debian, entries (type 1)", type1, "etc/kernel/cmdline", _edit, recovery=False),
    System("systemd-boot, unified kernel images", uki, "etc/kernel/cmdline", _edit, recovery=False),
)
