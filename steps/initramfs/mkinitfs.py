"""mkinitfs, which makes Alpine's images: recognised, never driven.

Its `features` name lists of modules in features.d; its init loads what `modules=` on the command line says. Sources:
mkinitfs(1), initramfs-init.in.
"""

from __future__ import annotations

from dataclasses import dataclass

from steps.base import Host
from steps.initramfs.base import Generator
from steps.initramfs.untried import Untried

_FOLDER = "/etc/mkinitfs"
_MAIN = f"{_FOLDER}/mkinitfs.conf"


@dataclass(frozen=True, slots=True)
class Mkinitfs(Untried):
    """The generator of Alpine and postmarketOS: known, and left alone."""

    name: str = "mkinitfs"
    supported: bool = False
    manual: str = (
        f"By hand: put `kernel/drivers/vfio` into {_FOLDER}/features.d/vfio.modules, add vfio to `features` in {_MAIN}"
        " and MODULES to `modules=` on the command line, then `mkinitfs`."
    )

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """Its command and its configuration."""
        command = host.which("mkinitfs")
        if command is None or host.lstat(_MAIN) is None:
            return None
        return (f"{command} is there", f"{_MAIN} is there")


GENERATORS: tuple[Generator, ...] = (Mkinitfs(),)
