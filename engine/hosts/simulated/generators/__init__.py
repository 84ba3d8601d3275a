"""What makes the initramfs of the simulated machine: each generator is one module here with `GENERATOR`.

A module is called like its generator in a description's `initramfs`, with `_` for `-`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import Protocol

from engine.hosts.simulated.initramfs import Archive
from engine.hosts.simulated.kmod import Index
from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.modelled import Modelled, modules


class Generator(Modelled, Protocol):
    """One generator, as far as the images depend on it."""

    @property
    def mode(self) -> int:
        """The mode of an image that was not there before."""
        ...

    def image(self, release: str) -> str:
        """The path of a kernel's image."""
        ...

    def early(self, archive: Archive) -> tuple[str, ...]:
        """The modules that the init in an image loads by name before udev meets the devices."""
        ...

    def script(self, archive: Archive) -> str:
        """The text of our script in an image, with what runs it; empty where there is none."""
        ...

    def generate(self, machine: Machine, index: Index, *, installing: bool = False) -> Archive:
        """What it would pack for a kernel now; `installing`: no device has its driver yet."""
        ...


@cache
def known() -> Mapping[str, Generator]:
    """Every generator there is a model of, by name."""
    return {each.GENERATOR.name: each.GENERATOR for each in modules(sys.modules[__name__])}


def of(machine: Machine) -> Generator:
    """The generator of a machine."""
    return known()[machine.description.initramfs]
