"""The `rom` attribute of a simulated function: shows nothing until it is told to, and then what the card answers.

Source: pci_write_rom and pci_read_rom in drivers/pci/pci-sysfs.c. A file cannot refuse to be read: where the kernel
answers EINVAL, because the ROM is not enabled, this one is empty.
"""

from __future__ import annotations

from engine.hosts.simulated import drivers
from engine.hosts.simulated.drivers import DEVICES
from engine.hosts.simulated.machine import Machine


def write(machine: Machine, address: str, value: str) -> None:
    """Show the ROM, or hide it again. Only `0` with a newline, two bytes, hides it: anything else shows it."""
    place = machine.path(f"{DEVICES}/{address}/rom")
    place.chmod(0o600)
    place.write_bytes(b"" if value == "0\n" else _answer(machine, address))


def _answer(machine: Machine, address: str) -> bytes:
    found = machine.description.function(address)
    assert found is not None and found.rom is not None
    content = bytes.fromhex(found.rom)
    start, end, _ = found.resources[6] if len(found.resources) > 6 else (0, len(content) - 1, 0)
    content = content.ljust(end - start + 1, b"\xff")[: end - start + 1]
    # Memory decoding is on while a driver has the card, or somebody has enabled it; vfio-pci lets an idle one sleep.
    awake = drivers.driver_of(machine, address) not in (None, "vfio-pci", "pci-stub")
    enabled = machine.text(f"{DEVICES}/{address}/enable").strip() not in ("", "0")
    return content if awake or enabled else b"\xff" * len(content)
