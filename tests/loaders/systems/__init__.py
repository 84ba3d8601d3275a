"""The systems that are held to the contract: each module here with `SYSTEMS` adds some; nothing is registered."""

from __future__ import annotations

import sys

from engine.hosts.simulated.modelled import modules
from tests.loaders.system import System


def systems() -> tuple[System, ...]:
    """All of them, by name."""
    found: list[System] = [system for module in modules(sys.modules[__name__]) for system in module.SYSTEMS]
    return tuple(sorted(found, key=lambda system: system.name))
