"""dracut on openSUSE, called by sdbootutil."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.field.support import Description
from tests.initramfs.system import System, more
from tests.initramfs.systems.dracut import DROP_IN
from tests.loaders.systems.sdbootutil import systemd_boot


@dataclass(frozen=True, slots=True)
class OpenSuse(System):
    """The images are a part of this boot loader's entries."""

    def change(self, description: Description) -> None:
        """Give the lab's machine the boot loader too."""
        systemd_boot(description)

    def place(self, machine: Path, release: str) -> Path:
        """What the entry of the running snapshot names: the image is called after what is in it."""
        lines = (line.split() for line in (machine / self.image.format(release)).read_text().splitlines())
        return machine / f"boot/efi{next(line[1] for line in lines if line[0] == 'initrd')}"


SYSTEMS = (
    OpenSuse(
        "sdbootutil on openSUSE",
        "sdbootutil",
        (),
        DROP_IN,
        more,
        "boot/efi/loader/entries/opensuse-tumbleweed-{}-1.conf",
        "sdbootutil",
        advance=("advance", "--no-trial"),
        spared="update-all-entries",
    ),
)
