"""What a system has to say of itself to be held to the contract of the initramfs generators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.field.support import Description

# What the lab's machine has of initramfs-tools, which must not be there beside another generator.
COMMANDS = ("/usr/sbin/update-initramfs", "/usr/sbin/mkinitramfs", "/usr/bin/lsinitramfs")
HOOK = "/etc/kernel/postinst.d/initramfs-tools"


@dataclass(frozen=True, slots=True)
class System:
    """The lab's machine with this generator. `model` is what a description calls it, `commands` the paths of its
    commands and `files` what it has besides (path -> text).

    `where` is the file that names the modules (below the machine's directory), `edit` what a user does to it besides,
    `spoilt` a content of it that must not be edited; `image` is what it calls a kernel's image, `rebuild` the name of
    the command that makes all of them, `conf` whether our file in modprobe.d is in the image; `advance` is how one goes
    on to `stubbed`; `spared` is an argument with which that command makes no images.
    """

    name: str
    model: str
    commands: tuple[str, ...]
    where: str
    edit: Callable[[bytes], bytes]
    image: str
    rebuild: str
    spoilt: bytes = b"\0\0\0"
    files: Mapping[str, str] = field(default_factory=dict)
    conf: bool = True
    advance: tuple[str, ...] = ("advance",)
    spared: str = "-V"

    def place(self, machine: Path, release: str) -> Path:
        """Where the image of a kernel lies."""
        return machine / self.image.format(release)

    def change(self, description: Description) -> None:
        """Give the lab's machine this generator in the place of its own."""
        description["initramfs"] = self.model
        kept = [path for path in description["commands"] if path not in COMMANDS]
        description["commands"] = [*kept, *self.commands]
        if self.model != "initramfs-tools":
            del description["files"][HOOK]
        description["files"] |= {path: {"text": text} for path, text in self.files.items()}


def more(content: bytes) -> bytes:
    """A line of a user's own at the end, in a file where `#` begins a comment."""
    return content + b"# mine\n"
