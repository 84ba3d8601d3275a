"""The simulated machine: a directory that is a machine's file system, and a model of the kernel that lives in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.hosts.simulated.host import SimulatedHost

__all__ = ["SimulatedHost"]


def __getattr__(name: str) -> object:
    # The QEMU double starts as `python -m engine.hosts.simulated.qemu` and must not pay for the whole model.
    if name == "SimulatedHost":
        from engine.hosts.simulated.host import SimulatedHost

        return SimulatedHost
    raise AttributeError(name)
