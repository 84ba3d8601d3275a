"""The boot loaders of the simulated machine: each is one module here with `LOADER`; its menu is what its files say.

A module is called like its loader in a description's `boot_loader`, with `_` for `-`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.modelled import Modelled, modules


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of the boot menu: kernel and initramfs as paths on the machine (None: the entry boots no Linux), the
    words that its configuration gives the kernel, and those that the loader adds by itself. `archive` is the initramfs
    itself, where it is a part of the kernel's file."""

    title: str
    kernel: str | None
    release: str
    words: tuple[str, ...]
    initrd: str
    recovery: bool = False
    added: tuple[str, ...] = ()
    archive: bytes | None = None


class Loader(Modelled, Protocol):
    """One boot loader, as far as a boot depends on it."""

    def install(self, machine: Machine) -> None:
        """What its installation leaves once kernels and images are there. Raises ConfigurationError."""
        ...

    def menu(self, machine: Machine) -> tuple[Item, ...]:
        """Every entry."""
        ...

    def next(self, machine: Machine) -> Item | None:
        """The entry that is taken when nobody touches the menu; None: it stops at its prompt."""
        ...

    def taken(self, machine: Machine) -> None:
        """What a boot of whatever entry leaves: a choice that was made for one boot is used up."""
        ...


@cache
def known() -> Mapping[str, Loader]:
    """Every loader there is a model of, by name."""
    return {each.LOADER.name: each.LOADER for each in modules(sys.modules[__name__])}


def of(machine: Machine) -> Loader:
    """The loader of a machine."""
    return known()[machine.description.boot_loader]
