"""Proxmox VE: systemd-boot on two mirrored disks, and GRUB on a machine without UEFI."""

from __future__ import annotations

from tests.field.support import Description
from tests.loaders.system import System

UUIDS = ("5A3B-09F2", "5A3C-7D10")
ROOT = "ZFS=rpool/ROOT/pve-1"


def _common(description: Description) -> None:
    description["boot_loader"] = "proxmox-boot-tool"
    kept = [path for path in description["commands"] if "grub" not in path]
    description["commands"] = [
        *kept,
        "/usr/sbin/update-grub",
        "/usr/bin/grub-fstest",
        "/usr/sbin/grub-mkconfig",
        "/usr/sbin/proxmox-boot-tool",
    ]
    description["root"] = ROOT


def _systemd_boot(description: Description) -> None:
    _common(description)
    description["uefi"] = True
    description["files"]["/etc/kernel/cmdline"] = {"text": f"root={ROOT} boot=zfs quiet\n"}
    description["files"]["/etc/kernel/proxmox-boot-uuids"] = {"text": "".join(f"{uuid}\n" for uuid in UUIDS)}
    for uuid in UUIDS:
        description["files"][f"/dev/disk/by-uuid/{uuid}"] = {"text": ""}


def _grub(description: Description) -> None:
    _common(description)


def _of_line(content: bytes) -> bytes:
    return content.replace(b" quiet", b" splash").rstrip(b"\n") + b" mine=1\n"


def _of_grub(content: bytes) -> bytes:
    return content.replace(b"GRUB_TIMEOUT=5", b"GRUB_TIMEOUT=9") + b"# mine\n"


SYSTEMS = (
    System(
        "systemd-boot on Proxmox VE, by proxmox-boot-tool",
        _systemd_boot,
        "etc/kernel/cmdline",
        _of_line,
        trial=False,
        recovery=False,
    ),
    System("GRUB on Proxmox VE, by proxmox-boot-tool", _grub, "etc/default/grub", _of_grub, trial=False),
)
