"""Hosts in memory that boot through systemd-boot, as Debian's packages and as people set them up."""

from __future__ import annotations

from collections.abc import Mapping

from engine.hosts.simulated.unified_image import build
from steps.boot.efi import EFIVARS, LOADER
from tests.support.memory_host import MemoryHost, Node, completed

ID = "0123456789abcdef0123456789abcdef"
RELEASE = "6.1.0-56-amd64"
LINE = "root=UUID=1-2 ro quiet"
ESP = "/boot/efi"
OSREL = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'


def utf16(text: str) -> bytes:
    """A variable of the boot loader with this text."""
    return b"\x06\0\0\0" + f"{text}\0".encode("utf-16-le")


def variable(name: str) -> str:
    """Where a variable of the boot loader lies."""
    return f"{EFIVARS}/{name}-{LOADER}"


def entry(release: str = RELEASE, *, token: str = ID, options: str = f"{LINE} systemd.machine_id={ID}") -> bytes:
    """An entry as kernel-install 252 writes it."""
    machine = f"machine-id {ID}\n" if token == ID else ""
    return (
        f"title      Debian GNU/Linux 12 (bookworm)\nversion    {release}\n{machine}sort-key   debian\n"
        f"options    {options}\nlinux      /{token}/{release}/linux\n"
        f"initrd     /{token}/{release}/initrd.img-{release}\n"
    ).encode()


def image(more: Mapping[str, bytes] | None = None) -> bytes:
    """A unified kernel image as 60-ukify.install has it made."""
    cmdline = f" {LINE} systemd.machine_id={ID}\0".encode()
    return build(
        {".osrel": OSREL, ".cmdline": cmdline, ".uname": RELEASE.encode(), ".linux": b"kernel", **(more or {})}
    )


def _host(tree: Mapping[str, Node], esp: str) -> MemoryHost:
    common: dict[str, Node] = {
        "/etc/machine-id": f"{ID}\n".encode(),
        "/etc/os-release": OSREL,
        "/proc/cmdline": f"initrd=\\x {LINE}\n".encode(),
        "/proc/self/mounts": f"/dev/vda15 {esp} vfat rw,relatime 0 0\nefivarfs {EFIVARS} efivarfs rw 0 0\n".encode(),
        f"{esp}/EFI/systemd/systemd-bootx64.efi": b"MZ",
        f"{esp}/loader/loader.conf": b"timeout 3\n",
        f"{esp}/loader/entries": None,
        variable("LoaderInfo"): utf16("systemd-boot 252"),
        variable("LoaderFeatures"): b"\x06\0\0\0" + (0x3FFF).to_bytes(8, "little"),
    }
    host = MemoryHost({**common, **tree}, {"bootctl", "kernel-install", "update-initramfs"})
    host.answers = {
        ("bootctl", option): completed(("bootctl", option), f"{esp}\n")
        for option in ("--print-esp-path", "--print-boot-path")
    }
    return host


def kernel(release: str = RELEASE) -> dict[str, Node]:
    """A kernel of Debian's, in /boot, with its modules, and where kernel-install copied it."""
    folder = f"{ESP}/{ID}/{release}"
    return {
        f"/boot/vmlinuz-{release}": b"kernel",
        f"/boot/initrd.img-{release}": b"initrd",
        f"/lib/modules/{release}": None,
        f"{folder}/linux": b"kernel",
        f"{folder}/initrd.img-{release}": b"initrd",
    }


def debian(**more: Node) -> MemoryHost:
    """Debian 12 with its package systemd-boot; entries are named after the machine."""
    tree: dict[str, Node] = {
        **kernel(),
        "/etc/kernel/cmdline": f"{LINE}\n".encode(),
        "/etc/initramfs/post-update.d/systemd-boot": b"#!/bin/sh\n",
        f"{ESP}/loader/entries/{ID}-{RELEASE}.conf": entry(),
    }
    return _host({**tree, **more}, ESP)


def unified(**more: Node) -> MemoryHost:
    """Debian 13 with layout=uki."""
    tree: dict[str, Node] = {
        **kernel(),
        "/etc/kernel/cmdline": f"{LINE}\n".encode(),
        "/etc/kernel/install.conf": b"layout=uki\n",
        "/etc/initramfs/post-update.d/systemd-boot": b"#!/bin/sh\n",
        f"{ESP}/EFI/Linux/{ID}-{RELEASE}.efi": image(),
    }
    return _host({**tree, **more}, ESP)


ARCH = (
    b"title   Arch Linux\nlinux   /vmlinuz-linux\ninitrd  /initramfs-linux.img\n"
    b"options root=UUID=1-2\noptions rw quiet\n"
)
LTS = b'title "Arch Linux (LTS)"\nlinux /vmlinuz-linux-lts\r\noptions "root=UUID=1-2 rw"  \r\n'
FALLBACK = ARCH.replace(b"Arch Linux", b"Arch Linux (fallback initramfs)").replace(b"linux.img", b"linux-fallback.img")
OTHER = b"title Fedora\nmachine-id ffffffffffffffffffffffffffffffff\nlinux /f/linux\noptions root=UUID=1-2 ro\n"


def arch_unified(esp: str = "/efi", **more: Node) -> MemoryHost:
    """Arch with an image that mkinitcpio makes, named as its preset has it."""
    release, system, image = "6.12.1-arch1-1", b"NAME=Arch\nID=arch\n", f"{esp}/EFI/Linux/arch-linux.efi"
    parts = {".osrel": system, ".cmdline": f"{LINE}\0".encode(), ".uname": release.encode(), ".linux": b"kernel"}
    tree: dict[str, Node] = {
        image: build(parts),
        "/boot/vmlinuz-linux": b"kernel",
        f"/usr/lib/modules/{release}/pkgbase": b"linux\n",
        f"/usr/lib/modules/{release}/vmlinuz": b"kernel",
        "/etc/kernel/cmdline": f"{LINE}\n".encode(),
        "/etc/os-release": system,
        "/etc/mkinitcpio.d/linux.preset": f"PRESETS=('default')\ndefault_uki=\"{image}\"\n".encode(),
    }
    host = _host({**tree, **more}, esp)
    host.commands = {"bootctl", "kernel-install", "mkinitcpio"}
    return host


def arch(**more: Node) -> MemoryHost:
    """Arch as its installation guide has it: the partition is /boot, and the entries are written by hand."""
    tree: dict[str, Node] = {
        "/boot/vmlinuz-linux": b"kernel",
        "/boot/vmlinuz-linux-lts": b"kernel",
        "/boot/f/linux": b"kernel",
        "/lib/modules/6.12.1-arch1-1/pkgbase": b"linux\n",
        "/lib/modules/6.6.63-1-lts/pkgbase": b"linux-lts\n",
        "/boot/loader/entries/arch.conf": ARCH,
        "/boot/loader/entries/arch-lts.conf": LTS,
        "/boot/loader/entries/arch-fallback.conf": FALLBACK,
        "/boot/loader/entries/fedora.conf": OTHER,
        "/boot/loader/loader.conf": b"default arch.conf\n",
    }
    return _host({**tree, **more}, "/boot")
