"""What an image of the lab is made of: a Debian release, a boot loader, an initramfs generator, a kernel.

One recipe is one image. Each boot loader and each generator is one value here: its packages, its configuration, and the
commands that its first boot runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

ROOT = "6c616200-7666-4973-8000-76666c616273"  # the UUID of the root file system
ESP = "4C61-6256"  # that of the EFI system partition
WORDS = f"root=UUID={ROOT} ro console=ttyS0,115200 ignore_loglevel quiet"
COMMON = (
    "zstd",
    "pciutils",
    "kmod",
    "python3",
    "python3-venv",
    "qemu-system-x86",
    "seabios",
    "ipxe-qemu",
    "iproute2",
    "systemd-sysv",
    "udev",
    "dbus",
    "sudo",
    "busybox",
    "procps",
    "strace",
)
# What dpkg leaves out of every image.
LEFT_OUT = ("/usr/share/doc", "/usr/share/man", "/usr/share/locale")
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "man-db.timer",
    "logrotate.timer",
    "getty@tty1.service",
    "systemd-pcrphase.service",
)
# The serial console is where a boot that fails is read.
ETC_DEFAULT_GRUB = (
    "# If you change this file, run 'update-grub' afterwards to update\n"
    "# /boot/grub/grub.cfg.\n\n"
    "GRUB_DEFAULT=0\n"
    "GRUB_TIMEOUT=1\n"
    "GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n"
    'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'
    'GRUB_CMDLINE_LINUX="console=ttyS0,115200 ignore_loglevel"\n\n'
    "GRUB_TERMINAL=serial\n"
    'GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"\n'
)
FILES = {
    "/etc/hostname": "lab\n",
    "/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 lab\n",
    "/etc/sudoers.d/lab": "lab ALL=(ALL) NOPASSWD: ALL\n",
    "/etc/systemd/system/lab-agent.service": (
        "[Unit]\nDescription=The lab's agent\nDefaultDependencies=no\nAfter=systemd-udevd.service local-fs.target\n"
        "Conflicts=shutdown.target\nBefore=shutdown.target\n\n"
        "[Service]\nExecStart=/usr/bin/python3 /usr/local/lib/lab/agent.py\nRestart=always\nRestartSec=1\n"
        "Environment=LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root\n"
        "LimitCORE=0\nTimeoutStopSec=5\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    ),
}


@dataclass(frozen=True)
class Loader:
    """A boot loader: `esp` is where its EFI system partition is mounted, '' where it is started by a BIOS."""

    packages: tuple[str, ...]
    install: tuple[tuple[str, ...], ...]
    files: Mapping[str, str] = field(default_factory=dict)
    esp: str = ""


@dataclass(frozen=True)
class Generator:
    """An initramfs generator. A small image at a low level of compression takes 70 s under emulation and not 600."""

    packages: tuple[str, ...]
    build: tuple[tuple[str, ...], ...]
    files: Mapping[str, str] = field(default_factory=dict)


GRUB_MADE = ("sh", "-c", "test -f /boot/grub/grub.cfg && ls /boot/grub/*/core.* >/dev/null")
# What makes the entries anew: kernel-install, with what the generator built.
ENTRIES = (
    "sh",
    "-ec",
    "for k in /boot/vmlinuz-*; do v=${k#/boot/vmlinuz-}; i=/boot/initrd.img-$v;"
    ' set -- "$v" "$k"; [ ! -e "$i" ] || set -- "$@" "$i"; kernel-install add "$@"; done',
)
LOADERS = {
    "grub-bios": Loader(
        ("grub-pc",),
        (("grub-install", "--target=i386-pc", "/dev/vda"), ("update-grub",), GRUB_MADE),
        {"/etc/default/grub": ETC_DEFAULT_GRUB},
    ),
    "grub-uefi": Loader(
        ("grub-efi-amd64", "efibootmgr"),
        (("grub-install", "--target=x86_64-efi"), ("update-grub",), GRUB_MADE),
        {"/etc/default/grub": ETC_DEFAULT_GRUB},
        esp="/boot/efi",
    ),
    "systemd-boot": Loader(
        ("systemd-boot", "efibootmgr"),
        (("bootctl", "install"), ENTRIES, ("bootctl", "list")),
        {"/etc/kernel/cmdline": f"{WORDS}\n"},
        esp="/boot/efi",
    ),
    "uki": Loader(
        ("systemd-boot", "systemd-boot-efi", "systemd-ukify", "efibootmgr"),
        (("bootctl", "install"), ENTRIES, ("bootctl", "list")),
        {"/etc/kernel/cmdline": f"{WORDS}\n", "/etc/kernel/install.conf": "layout=uki\n"},
        esp="/efi",
    ),
}
GENERATORS = {
    "initramfs-tools": Generator(
        ("initramfs-tools",),
        (
            ("sed", "-i", "s/^MODULES=.*/MODULES=dep/; s/^COMPRESS=.*/COMPRESS=zstd/; "
             "s/^# *COMPRESSLEVEL=.*/COMPRESSLEVEL=1/", "/etc/initramfs-tools/initramfs.conf"),
            ("update-initramfs", "-u", "-k", "all"),
        ),
    ),
    "dracut": Generator(
        ("dracut",),
        (("sh", "-ec", "for k in /boot/vmlinuz-*; do v=${k#/boot/vmlinuz-}; dracut -f /boot/initrd.img-$v $v; done"),),
        {"/etc/dracut.conf.d/lab.conf": 'hostonly="yes"\nhostonly_cmdline="no"\ncompress="zstd -1"\n'},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """One image. `more` are packages beside those that every image has; the files of `later`, and of what they need,
    lie in LATER, to be installed when it suits."""

    suite: str = "bookworm"
    loader: str = "grub-bios"
    generator: str = "initramfs-tools"
    kernel: str = "linux-image-amd64"
    more: tuple[str, ...] = ()
    later: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For files and messages."""
        words = [self.suite, self.loader, self.generator]
        words += [word.removeprefix("linux-image-") for word in (self.kernel, *self.more) if word != BASE_KERNEL]
        words += [f"later-{word.removeprefix('linux-image-')}" for word in self.later]
        return "-".join(words)

    @property
    def esp(self) -> str:
        """Where the EFI system partition is mounted, '' on a machine with a BIOS."""
        return LOADERS[self.loader].esp

    @property
    def python(self) -> str:
        """The version of the release's Python."""
        return {"bookworm": "3.11", "trixie": "3.13"}[self.suite]

    @property
    def packages(self) -> tuple[str, ...]:
        """All packages beside those of Debian's minimal base."""
        return (self.kernel, *LOADERS[self.loader].packages, *GENERATORS[self.generator].packages, *COMMON, *self.more)

    @property
    def files(self) -> dict[str, str]:
        """Configuration that is in place before vfiostate ever sees the machine."""
        fstab = f"UUID={ROOT} / ext4 errors=remount-ro 0 1\n"
        if self.esp:
            fstab += f"UUID={ESP} {self.esp} vfat umask=0077 0 2\n"
        return FILES | {"/etc/fstab": fstab} | {**LOADERS[self.loader].files, **GENERATORS[self.generator].files}

    @property
    def first_boot(self) -> tuple[tuple[str, ...], ...]:
        """What the first boot runs: the real generator and the real boot loader's installation."""
        return (*GENERATORS[self.generator].build, *LOADERS[self.loader].install, ("sync",))

    @cached_property
    def key(self) -> str:
        """Changes with everything here that the image is made of."""
        made_of = [self.suite, self.packages, self.files, MASKED, self.first_boot, self.esp, *self.later]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


BASE_KERNEL = "linux-image-amd64"
LATER = "/root/later"
BASE = Recipe()
