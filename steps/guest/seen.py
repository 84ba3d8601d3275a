"""What was seen of a guest, whichever way it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PciFunction:
    """A PCI function inside the guest. `vendor` and `device` are its numbers, `id` is empty for the chipset's own."""

    id: str
    bus: int
    slot: int
    function: int
    vendor: int
    device: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What was said of the guest: its status (`running`, `paused`, …) and its PCI functions."""

    status: str
    functions: tuple[PciFunction, ...]

    @property
    def ids(self) -> frozenset[str]:
        """The ids of the devices that have one."""
        return frozenset(function.id for function in self.functions if function.id)


@dataclass(frozen=True, slots=True)
class Silence:
    """It was started and gave no usable answer: why, and whether that is because it has ended. With `unasked` who keeps
    it could not be asked, and it is not known whether one was started."""

    why: str
    ended: bool
    unasked: bool = False
