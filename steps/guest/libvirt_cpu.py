"""QEMU's words for a CPU (`host,kvm=off,-svm`) in those of libvirt's domain XML.

Source: libvirt's formatdomain (CPU model and topology, hypervisor features, timers).
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element, SubElement

from steps.config import Accel, Guest

HYPERV = frozenset({"relaxed", "vapic", "vpindex", "runtime", "synic", "stimer", "reset", "frequencies"})


def flags(guest: Guest) -> Iterator[tuple[str, str]]:
    """The flags of the configured CPU, as (name, value): `+x` is on, `-x` is off, `hv_x` is `hv-x`."""
    for word in guest.cpu.split(",")[1:]:
        name, _, value = word.partition("=")
        if word[:1] in ("+", "-"):
            name, value = word[1:], "on" if word[0] == "+" else "off"
        yield (name.replace("_", "-") if name.startswith("hv") else name), value or "on"


def unspoken(guest: Guest) -> list[str]:
    """The flags that libvirt has no words for."""
    return [f"{name}={value}" for name, value in flags(guest) if _kind(name, value) is None]


def _kind(name: str, value: str) -> str | None:
    if name in ("hv-vendor-id", "hv-spinlocks", "hv-time") or (name.startswith("hv-") and name[3:] in HYPERV):
        return "hyperv"
    if name.startswith("hv-") or value not in ("on", "off"):
        return None
    return name if name in ("kvm", "migratable") else "feature"


def add_features(root: Element, guest: Guest) -> None:
    """ACPI, APIC, and what a guest sees of its hypervisor."""
    found = SubElement(root, "features")
    SubElement(found, "acpi")
    SubElement(found, "apic")
    told = [(name[3:], value) for name, value in flags(guest) if _kind(name, value) == "hyperv" and name != "hv-time"]
    hyperv = SubElement(found, "hyperv") if told else found
    for name, value in told:
        if name == "vendor-id":
            SubElement(hyperv, "vendor_id", {"state": "on", "value": value})
        elif name == "spinlocks":
            SubElement(hyperv, "spinlocks", {"state": "on", "retries": str(int(value, 0))})
        else:
            SubElement(hyperv, name, {"state": value})
    if ("kvm", "off") in flags(guest):
        SubElement(SubElement(found, "kvm"), "hidden", {"state": "on"})


def add_cpu(root: Element, guest: Guest) -> None:
    """The model, the topology and the flags. Without KVM `host` is the best that QEMU emulates."""
    model = guest.cpu.split(",")[0]
    found = SubElement(root, "cpu")
    if model == "host" and guest.accel is Accel.KVM:
        found.set("mode", "host-passthrough")
        found.set("check", "none")
    elif model in ("host", "max"):
        found.set("mode", "maximum")
        found.set("check", "none")
    else:
        found.attrib.update({"mode": "custom", "match": "exact", "check": "none"})
        SubElement(found, "model", {"fallback": "forbid"}).text = model
    topology = {"sockets": str(guest.sockets), "cores": str(guest.cores), "threads": str(guest.threads)}
    SubElement(found, "topology", topology)
    for name, value in flags(guest):
        kind = _kind(name, value)
        if kind == "migratable":
            found.set("migratable", value)
        elif kind == "feature":
            SubElement(found, "feature", {"policy": "require" if value == "on" else "disable", "name": name})


def add_clock(root: Element, guest: Guest) -> None:
    """What the guest's clock shows, and hv-time."""
    found = SubElement(root, "clock", {"offset": guest.rtc})
    if ("hv-time", "on") in flags(guest):
        SubElement(found, "timer", {"name": "hypervclock", "present": "yes"})
