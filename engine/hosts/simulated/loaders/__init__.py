"""The boot loaders of the simulated machine: each is one module here with `LOADER`; its menu is what its files say.

A module is called like its loader in a description's `boot_loader`, with `_` for `-`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from engine.hosts.simulated.doubles.base import Double
from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.parts import TextFile


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


class Loader(Protocol):
    """One boot loader, as far as a boot depends on it."""

    @property
    def name(self) -> str:
        """What a description calls it."""
        ...

    @property
    def doubles(self) -> Mapping[str, Double]:
        """The doubles of its commands."""
        ...

    @property
    def files(self) -> Mapping[str, TextFile]:
        """What its packages leave, unless a description's own files say otherwise."""
        ...

    def install(self, machine: Machine) -> None:
        """What its installation leaves once kernels and images are there. Raises ConfigurationError."""
        ...

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """The command that a kernel package runs for it."""
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
    modules = (importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__))
    return {module.LOADER.name: module.LOADER for module in modules}


def of(machine: Machine) -> Loader:
    """The loader of a machine."""
    return known()[machine.description.boot_loader]
