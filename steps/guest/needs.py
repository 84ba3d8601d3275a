"""What an order needs of QEMU, held against what the installed one has: found out before the start."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from steps.base import Finding, Severity
from steps.config import Accel, DiskInterface, Display, Guest
from steps.guest.base import Order
from steps.guest.capabilities import Capabilities

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_VNC = re.compile(r"(?P<host>\[[0-9a-fA-F:]+\]|[\w.-]+):(?P<display>\d{1,5})")
_LAST_DISPLAY = 65535 - 5900


def missing(order: Order, found: Capabilities) -> tuple[Finding, ...]:
    """What is missing or must not be, as refusals; what is only less safe, as warnings."""
    if found.binary is None:
        return (
            _refusal(
                "qemu-missing",
                f"{order.guest.binary} is not installed.",
                "Install QEMU (Debian and Ubuntu: `apt install qemu-system-x86`), or name it by `binary` in [guest].",
            ),
        )
    if found.garbled:
        return found.garbled
    return (*form(order), *_lacking(order, found), *_warnings(order, found))


def _refusal(code: str, message: str, hint: str, *evidence: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)


def form(order: Order) -> Iterator[Finding]:
    """What no way to run a guest can make of an order."""
    guest = order.guest
    if not _NAME.fullmatch(guest.name):
        hint = "Set `name` to letters, digits, `.`, `-` and `_`, the first a letter or a digit."
        yield _refusal("guest-name", f"{guest.name!r} cannot be the name of a guest.", hint)
    if (order.install or guest.display is Display.VNC) and not is_loopback(guest.vnc):
        yield _refusal(
            "vnc-open",
            f"`vnc = {guest.vnc!r}` is not a display on loopback: the guest's screen would be open to the network.",
            "Use 127.0.0.1:0 and reach it from elsewhere by `ssh -L 5900:127.0.0.1:5900 HOST`.",
        )
    for disk in guest.disks:
        if disk.readonly and disk.interface is DiskInterface.SATA:
            message = f"{disk.path}: QEMU has no read-only SATA disks."
            yield _refusal("disk-interface", message, 'Use `interface = "virtio"`, or give it as a CD image.')
    if guest.ovmf_vars and not guest.ovmf_code:
        yield _refusal("firmware", "`ovmf_vars` is given without `ovmf_code`.", "Give both, of the same firmware.")
    if guest.ovmf_code and guest.firmware:
        yield _refusal(
            "firmware",
            "`firmware` and `ovmf_code` are both given.",
            "Take one of them out: `firmware` is for BIOS, `ovmf_code` for UEFI.",
        )


def is_loopback(vnc: str) -> bool:
    """Whether a VNC display (`HOST:N`) is on loopback; a name other than localhost might be anywhere."""
    match = _VNC.fullmatch(vnc)
    if match is None or int(match["display"]) > _LAST_DISPLAY:
        return False
    host = match["host"].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _lacking(order: Order, found: Capabilities) -> Iterator[Finding]:
    guest = order.guest
    version = ".".join(str(part) for part in found.version or ())
    source = f"{found.binary}, version {version}"
    for device, why in sorted(_devices(order).items()):
        if device not in found.devices:
            yield _refusal(
                "qemu-device", f"This QEMU has no device {device}, needed for {why}.", _other(device), source
            )
    if order.devices and not {"pcie-root-port", "ioh3420"} & found.devices:
        yield _refusal("qemu-device", "This QEMU has neither pcie-root-port nor ioh3420.", _other("them"), source)
    if guest.machine not in found.machines:
        near = ", ".join(sorted(found.machines & {"q35", "pc"})) or "`-machine help` lists them"
        yield _refusal(
            "qemu-machine",
            f"This QEMU has no machine {guest.machine}.",
            f"Set `machine` to one that it has: {near}.",
            source,
        )
    if found.accels is not None and guest.accel.value not in found.accels:
        has = ", ".join(sorted(found.accels))
        yield _refusal(
            "qemu-accel",
            f"This QEMU is built without {guest.accel.value}.",
            f"Set `accel` to one that it has: {has}.",
            source,
        )
    yield from _cpu(order, found, source)
    if found.vfio_options and "x-vga" not in found.vfio_options and any(device.x_vga for device in order.devices):
        hint = "Take `x_vga` out of [[devices]] and boot the guest by UEFI (`ovmf_code`)."
        yield _refusal("qemu-option", "This QEMU's vfio-pci has no option x-vga.", hint, source)


def _devices(order: Order) -> dict[str, str]:
    """The devices of the command line, and what for."""
    guest = order.guest
    wanted = {network.model: f"the network on {network.tap}" for network in guest.networks}
    for disk in guest.disks:
        wanted["ide-hd" if disk.interface is DiskInterface.SATA else "virtio-blk-pci"] = f"the disk {disk.path}"
    for cdrom in guest.cdroms:
        wanted["ide-cd"] = f"the CD {cdrom.path}"
    if {"ide-hd", "ide-cd"} & wanted.keys():
        wanted["ahci"] = "SATA disks and CDs"
    if guest.balloon:
        wanted["virtio-balloon-pci"] = "`balloon`"
    if order.devices:
        wanted["vfio-pci"] = "passing devices through"
    return wanted


def _other(what: str) -> str:
    return f"Install a QEMU that has {what} (`-device help` lists what it has), or change [guest]."


def _cpu(order: Order, found: Capabilities, source: str) -> Iterator[Finding]:
    if cpu_of(order.guest, found).split(",")[0] not in found.cpus:
        message = f"This QEMU has no CPU {order.guest.cpu.split(',')[0]}."
        yield _refusal("qemu-cpu", message, "Set `cpu` to one that it has: `-cpu help` lists them.", source)


def cpu_of(guest: Guest, found: Capabilities) -> str:
    """The CPU model with its flags; `host` needs KVM, and is the best that this QEMU emulates without."""
    model, comma, flags = guest.cpu.partition(",")
    if model == "host" and guest.accel is Accel.TCG:
        model = "max" if "max" in found.cpus else "qemu64"
    return model + comma + flags


def _warnings(order: Order, found: Capabilities) -> Iterator[Finding]:
    guest = order.guest
    if guest.sandbox and not found.sandbox:
        yield Finding(
            "no-sandbox",
            Severity.WARNING,
            "This QEMU cannot be confined by seccomp: it runs without `-sandbox`.",
            (str(found.binary),),
            "Install a QEMU of 2.11 or later, built with seccomp, or set `sandbox = false` in [guest].",
        )
    if guest.user == "root":
        message = "The guest's QEMU runs as root."
        yield Finding("guest-root", Severity.WARNING, message, (), "Name an account by `user` in [guest].")
    if guest.display is Display.VNC and any(device.x_vga for device in order.devices):
        message = "The guest has a VNC display and a passed-through VGA card: which is its first is up to its firmware."
        yield Finding("two-displays", Severity.WARNING, message, (), 'Set `display = "none"` in [guest].')
