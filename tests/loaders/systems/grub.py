"""GRUB as Debian has it."""

from __future__ import annotations

from tests.field.support import Description
from tests.loaders.system import System


def _nothing(description: Description) -> None:
    pass


def _edit(content: bytes) -> bytes:
    return content.replace(b"GRUB_TIMEOUT=5", b"GRUB_TIMEOUT=9") + b"# mine\n"


SYSTEMS = (System("GRUB on Debian and Ubuntu", _nothing, "etc/default/grub", _edit),)
