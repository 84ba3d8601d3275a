"""Kinds of host, each from `new` to `running` and back byte for byte.

Debian 12 and 13; GRUB on BIOS and UEFI, systemd-boot with entries and with unified images; initramfs-tools and dracut;
Intel's and AMD's IOMMU; both stub drivers. Not the full product: every value at least once, and every pair that can
interact. The release goes with everything (its kernel, its loader's and its generator's version), so each loader and
each generator is on both releases; how an entry is made depends on loader and generator together, so every loader meets
both of them somewhere. The IOMMU touches neither: AMD's is on one row of each release, and once with each firmware.
"""

from __future__ import annotations

from ..lab import Row
from ..machine import Shape
from ..recipe import BASE, Recipe
from ..scenario import way_there_and_back

AMD = Shape(iommu="amd")

ROWS = (
    Row("debian12-grub", "GRUB on BIOS, initramfs-tools, Intel, vfio-pci as stub", way_there_and_back, BASE),
    Row("debian12-pci-stub", "the same with pci-stub as stub", way_there_and_back, BASE, stub="pci-stub"),
    Row(
        "debian12-uefi-dracut",
        "GRUB on UEFI, dracut, AMD",
        way_there_and_back,
        Recipe("bookworm", "grub-uefi", "dracut"),
        AMD,
    ),
    Row(
        "debian12-systemd-boot",
        "systemd-boot with entries of type 1, initramfs-tools, Intel",
        way_there_and_back,
        Recipe("bookworm", "systemd-boot", "initramfs-tools"),
    ),
    Row(
        "debian13-dracut",
        "GRUB on BIOS, dracut, AMD",
        way_there_and_back,
        Recipe("trixie", "grub-bios", "dracut"),
        AMD,
    ),
    Row(
        "debian13-uefi",
        "GRUB on UEFI, initramfs-tools, Intel",
        way_there_and_back,
        Recipe("trixie", "grub-uefi", "initramfs-tools"),
    ),
    Row(
        "debian13-systemd-boot-dracut",
        "systemd-boot with entries of type 1, dracut, Intel",
        way_there_and_back,
        Recipe("trixie", "systemd-boot", "dracut"),
    ),
    Row(
        "debian13-uki",
        "systemd-boot with unified kernel images by ukify, initramfs-tools, Intel",
        way_there_and_back,
        Recipe("trixie", "uki", "initramfs-tools"),
    ),
)
