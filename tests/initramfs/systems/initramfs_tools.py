"""initramfs-tools as Debian has it."""

from __future__ import annotations

from tests.initramfs.system import COMMANDS, System, more

SYSTEMS = (
    System(
        "initramfs-tools on Debian",
        "initramfs-tools",
        COMMANDS,
        "etc/initramfs-tools/modules",
        more,
        "boot/initrd.img-{}",
        "update-initramfs",
    ),
)
