"""What the simulated machine has a model of by name: a boot loader, an initramfs generator; each is one module."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Protocol

from engine.hosts.simulated.doubles.base import Double
from engine.hosts.simulated.parts import TextFile

# A file and an empty text, or a directory and what the names of its files end in.
Place = tuple[str, str]


class Modelled(Protocol):
    """What every model says of its packages."""

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
        """What its packages leave, unless a description's own files say otherwise; with / at the end a directory."""
        ...

    @property
    def captured(self) -> tuple[Place, ...]:
        """What of a real host is its settings, and goes into a description that is captured there."""
        ...

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """The command that a kernel package runs for it."""
        ...


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """The modules of a package, imported: each has one model."""
    for each in pkgutil.iter_modules(package.__path__):
        yield importlib.import_module(f"{package.__name__}.{each.name}")
