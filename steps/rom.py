"""Expansion ROMs as the kernel shows them, and whether what was read is one.

Sources: PCI Firmware Specification 3.0, 5.1 (header, PCI data structure); Documentation/PCI/sysfs-pci.rst (`rom`);
pci_fixup_video in arch/x86/pci/fixup.c (the shadowed copy of the card that the firmware started).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from journal.errors import ActionFailedError, RefusedError
from steps.base import Host
from steps.pci import DEVICES, Function, read_function
from steps.reading import text_of

# include/linux/ioport.h: IORESOURCE_ROM_SHADOW; the copy lies where a PC's video BIOS is.
_SHADOW, _SHADOW_AT = 1 << 1, 0xC0000
_ROM = 6
_TYPES = {0: "x86 BIOS", 1: "Open Firmware", 2: "HP PA-RISC", 3: "UEFI"}


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a ROM: where it begins and how long it is (bytes), what it is for (`x86 BIOS`, `UEFI`), the id in
    it, and whether its bytes add up to zero as those of an x86 BIOS must."""

    start: int
    length: int
    kind: str
    id: str
    sums_up: bool


def attribute(address: str) -> str:
    """What shows a function's ROM."""
    return f"{DEVICES}/{address}/rom"


def readable(host: Host, address: str) -> Function:
    """The function, where its ROM can be asked for. Raises RefusedError where there is none, or only a copy of it."""
    function = read_function(host, address)
    if function is None:
        raise RefusedError(f"There is no device at {address}.", hint="`vfiostate devices` lists them all.")
    if host.lstat(attribute(address)) is None:
        raise RefusedError(
            f"{address} has no expansion ROM.",
            evidence=(f"{attribute(address)} does not exist",),
            hint="Ask the physical function, if this is a virtual one; a graphics processor on the board has its ROM in"
            " the firmware.",
        )
    start, flags = _resource(host, address)
    if start == _SHADOW_AT or flags & _SHADOW:
        raise RefusedError(
            f"{address} is the card that the firmware started: the kernel shows the shadowed copy of its ROM, which the"
            " firmware has changed, and no guest could start the card with it.",
            evidence=(f"{DEVICES}/{address}/resource: the ROM is at {start:#x}, flags {flags:#x}",),
            hint="Make another card primary in the firmware's setup, boot, and read it then.",
        )
    return function


def _resource(host: Host, address: str) -> tuple[int, int]:
    lines = text_of(host, f"{DEVICES}/{address}/resource").splitlines()
    words = lines[_ROM].split() if len(lines) > _ROM else []
    try:
        return (int(words[0], 16), int(words[2], 16)) if len(words) == 3 else (0, 0)
    except ValueError:
        return 0, 0


def images(content: bytes) -> tuple[Image, ...]:
    """The images of a ROM, in order. Raises ActionFailedError, naming the place, where it is none or is cut off."""
    return tuple(_images(content))


def _images(content: bytes) -> Iterator[Image]:
    start, last = 0, False
    while not last:
        header = content[start : start + 0x1A]
        if len(header) < 0x1A or header[:2] != b"\x55\xaa":
            raise _wrong(f"no ROM header (55 aa) at {start:#x}, found {header[:2].hex(' ') or 'the end'}")
        place = start + int.from_bytes(header[0x18:0x1A], "little")
        data = content[place : place + 0x18]
        if len(data) < 0x18 or data[:4] != b"PCIR":
            raise _wrong(f"no PCI data structure (PCIR) at {place:#x}, found {data[:4].hex(' ') or 'the end'}")
        length = int.from_bytes(data[0x10:0x12], "little") * 512
        if length == 0 or start + length > len(content):
            raise _wrong(f"the image at {start:#x} says it has {length} bytes, {len(content) - start} were read")
        vendor, device = (int.from_bytes(data[n : n + 2], "little") for n in (4, 6))
        # The checksum is that of an x86 BIOS, over the size in its own header.
        summed = content[start : start + header[2] * 512] if data[0x14] == 0 else b""
        kind = _TYPES.get(data[0x14], f"code type {data[0x14]}")
        yield Image(start, length, kind, f"{vendor:04x}:{device:04x}", sum(summed) % 256 == 0)
        start, last = start + length, bool(data[0x15] & 0x80)


def _wrong(what: str) -> ActionFailedError:
    return ActionFailedError(
        "What was read is no whole ROM.",
        evidence=(what,),
        hint="Read it before any driver has had the card (in a boot with the stub driver), for a driver may have"
        " switched it off; or take the vendor's file.",
    )


def silent(host: Host, function: Function) -> ActionFailedError:
    """The card does not answer: why that may be."""
    enabled = text_of(host, f"{DEVICES}/{function.address}/enable").strip() or "not known"
    power = text_of(host, f"{DEVICES}/{function.address}/power_state").strip() or "not known"
    return ActionFailedError(
        f"{function.address} does not answer when its ROM is read: its memory is switched off, or it sleeps.",
        evidence=(
            f"{DEVICES}/{function.address}/driver: {function.driver or 'none'}",
            f"{DEVICES}/{function.address}/enable: {enabled}",
            f"{DEVICES}/{function.address}/power_state: {power}",
        ),
        hint="Read it while its native driver has it, before it is given to vfio-pci.",
    )
