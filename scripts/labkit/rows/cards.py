"""Kinds of card, and of guest: equal ones, a virtual function, a kernel without pci-stub, libvirt."""

from __future__ import annotations

from .. import guests
from ..lab import DEVICES, Row
from ..machine import Shape
from ..recipe import Recipe
from ..scenario import way_there_and_back

EQUAL = {"0000:04:00.0": ("1234:1111", "bochs-drm")}
NO_NATIVE = {address: (ids, "") for address, (ids, _) in DEVICES.items()}


ROWS = (
    Row(
        "identical-cards",
        "one of two equal cards, by address; the host's keeps its driver",
        way_there_and_back,
        shape=Shape(twin=True),
        devices=EQUAL,
        keeps={"0000:01:00.0": "bochs-drm", "0000:01:00.1": "snd_hda_intel"},
    ),
    Row(
        "cloud-kernel",
        "Debian's cloud kernel: no pci-stub, no native drivers",
        way_there_and_back,
        Recipe(kernel="linux-image-cloud-amd64"),
        devices=NO_NATIVE,
        keeps={},
    ),
    Row(
        "libvirt",
        "the guest is a domain of libvirt",
        way_there_and_back,
        Recipe(more=("libvirt-daemon-system", "libvirt-clients")),
        settings=('backend = "libvirt"', "stop_timeout = 5"),
        guest=guests.of_libvirt,
    ),
)
