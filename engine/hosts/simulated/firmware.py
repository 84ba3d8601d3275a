"""The firmware of the simulated machine, as far as it remembers: EFI variables, kept over a boot in DIR/.nvram.

What efivarfs shows is a copy. Sources: Documentation/filesystems/efivarfs.rst, systemd.io/BOOT_LOADER_INTERFACE.
"""

from __future__ import annotations

from engine.hosts.simulated.machine import Machine
from steps.boot.efi import EFIVARS, LOADER

STORE = "/.nvram"
# EFI_VARIABLE_BOOTSERVICE_ACCESS | _RUNTIME_ACCESS, and _NON_VOLATILE: UEFI specification 2.10, 8.2.
_VOLATILE, _KEPT = 6, 7


def text(machine: Machine, name: str) -> str:
    """The text of a variable of the boot loader; empty where it is not set."""
    place = machine.path(f"{STORE}/{name}-{LOADER}")
    return place.read_bytes()[4:].decode("utf-16-le").partition("\0")[0] if place.is_file() else ""


def set_text(machine: Machine, name: str, value: str, *, volatile: bool = False) -> None:
    """Set a variable of the boot loader; an empty text deletes it."""
    put(machine, name, f"{value}\0".encode("utf-16-le") if value else b"", volatile=volatile)


def put(machine: Machine, name: str, value: bytes, *, volatile: bool = False) -> None:
    """Set a variable of the boot loader; no bytes delete it."""
    content = bytes((_VOLATILE if volatile else _KEPT, 0, 0, 0)) + value
    for folder in (STORE, EFIVARS):
        if not value:
            machine.unlink(f"{folder}/{name}-{LOADER}")
        elif folder == STORE or machine.exists(EFIVARS):
            _put(machine, f"{folder}/{name}-{LOADER}", content)


def power_on(machine: Machine) -> None:
    """What a power cycle leaves: variables that are not volatile."""
    for name in machine.names(STORE):
        if machine.path(f"{STORE}/{name}").read_bytes()[:1] == bytes((_VOLATILE,)):
            machine.unlink(f"{STORE}/{name}")


def populate(machine: Machine) -> None:
    """Show in efivarfs what the firmware remembers."""
    for name in machine.names(STORE):
        _put(machine, f"{EFIVARS}/{name}", machine.path(f"{STORE}/{name}").read_bytes())


def _put(machine: Machine, path: str, content: bytes) -> None:
    place = machine.path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
