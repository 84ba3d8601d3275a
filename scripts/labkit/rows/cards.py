"""Kinds of card, and of guest: equal ones, a virtual function, a kernel without pci-stub, libvirt."""

from __future__ import annotations

from ..machine import Shape
from ..recipe import Recipe
from ..scenario import DEVICES, Lab, Row, way_there_and_back

EQUAL = {"0000:04:00.0": ("1234:1111", "bochs-drm")}
IN_USE = "0000:01:00.0"
NO_NATIVE = {address: (ids, "") for address, (ids, _) in DEVICES.items()}


def one_of_two(lab: Lab) -> None:
    """One of two equal cards goes to the guest; the other keeps its driver, all the time."""
    way_there_and_back(lab)


ROWS = (
    Row(
        "identical-cards",
        "one of two equal cards, by address; the host's keeps its driver",
        one_of_two,
        shape=Shape(twin=True),
        devices=EQUAL,
    ),
    Row(
        "cloud-kernel",
        "Debian's cloud kernel: no pci-stub, no native drivers",
        way_there_and_back,
        Recipe(kernel="linux-image-cloud-amd64"),
        devices=NO_NATIVE,
    ),
    Row(
        "libvirt",
        "the guest is a libvirt domain",
        way_there_and_back,
        Recipe(more=("libvirt-daemon-system", "libvirt-clients")),
    ),
)
