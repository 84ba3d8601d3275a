"""Kinds of card, and of guest: equal ones, a virtual function, a kernel without pci-stub, libvirt."""

from __future__ import annotations

from .. import guests
from ..lab import DEVICES, Lab, Row
from ..machine import Shape
from ..recipe import Recipe
from ..scenario import way_there_and_back

EQUAL = {"0000:04:00.0": ("1234:1111", "bochs-drm")}
PHYSICAL, VIRTUAL = "0000:04:00.0", "0000:04:00.1"
NO_NATIVE = {address: (ids, "") for address, (ids, _) in DEVICES.items()}
# The controller has given its virtual functions no queues, so that the native driver could do nothing with one.
MADE_AT_BOOT = (
    f'ACTION=="add|bind", SUBSYSTEM=="pci", KERNEL=="{PHYSICAL}", DRIVER=="?*", '
    'ATTR{sriov_drivers_autoprobe}="0", ATTR{sriov_numvfs}="2"\n'
)


def virtual_made(lab: Lab) -> None:
    """The rule that vfiostate advises: virtual functions at every boot."""
    lab.agent.write("/etc/udev/rules.d/10-virtual.rules", MADE_AT_BOOT.encode())
    lab.machine.reboot()


def impatient(lab: Lab) -> None:
    """Nothing runs in this guest that could shut it down, and libvirt-guests would wait five minutes for it."""
    lab.agent.write("/etc/default/libvirt-guests", b"ON_SHUTDOWN=shutdown\nSHUTDOWN_TIMEOUT=5\n")


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
        "virtual-function",
        "an SR-IOV virtual function of an NVMe controller, which the host keeps; both have one id",
        way_there_and_back,
        shape=Shape(virtual=True),
        devices={VIRTUAL: ("1b36:0010", "")},
        keeps={PHYSICAL: "nvme", "0000:03:00.0": "e1000e"},
        given=virtual_made,
        late=True,
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
        given=impatient,
    ),
)
