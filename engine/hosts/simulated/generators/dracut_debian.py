"""dracut as Debian and Ubuntu have it: images by the name that initramfs-tools gave them, and for every host."""

from __future__ import annotations

from engine.hosts.simulated.generators import Generator
from engine.hosts.simulated.generators.dracut import Dracut

GENERATOR: Generator = Dracut("dracut-debian", "/boot/initrd.img-{}", hostonly=False)
