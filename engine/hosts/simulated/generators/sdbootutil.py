"""sdbootutil's images on the simulated machine: dracut's, which it puts on the EFI system partition by itself."""

from __future__ import annotations

from dataclasses import dataclass

from engine.hosts.simulated.generators import Generator
from engine.hosts.simulated.generators.dracut import Dracut


@dataclass(frozen=True, slots=True)
class Sdbootutil(Dracut):
    """See generators.Generator. `image` is where an image lies until the boot loader is installed."""

    name: str = "sdbootutil"
    pattern: str = "/boot/initrd-{}"
    mode: int = 0o644

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """As the kernel's package does it: the image is made with the entry."""
        return ("sdbootutil", "add-kernel", release)


GENERATOR: Generator = Sdbootutil()
