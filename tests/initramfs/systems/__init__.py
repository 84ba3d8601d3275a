"""The systems that are held to the contract: each module here with `SYSTEMS` adds some; nothing is registered."""

from __future__ import annotations

import importlib
import pkgutil

from tests.initramfs.system import System


def systems() -> tuple[System, ...]:
    """All of them, by name."""
    modules = (importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__))
    found: list[System] = [system for module in modules for system in module.SYSTEMS]
    return tuple(sorted(found, key=lambda system: system.name))
