"""Pop!_OS."""

from __future__ import annotations

from tests.field.support import Description
from tests.loaders.system import System


def pop(description: Description) -> None:
    """The lab's machine, with Pop!_OS on it."""
    description["boot_loader"] = "kernelstub"
    description["distribution"] = "Pop!_OS"
    commands = [each for each in description["commands"] if "grub" not in each]
    description["commands"] = [*commands, "/usr/bin/kernelstub"]
    files = {path: one for path, one in description["files"].items() if "grub" not in path}
    files["/etc/os-release"] = {"text": 'NAME="Pop!_OS"\nID=pop\nID_LIKE="ubuntu debian"\nVERSION_ID="22.04"\n'}
    description["files"] = files


def _edit(content: bytes) -> bytes:
    return content.replace(b'"splash"', b'"splash",\n      "mitigations=off"', 2)


SYSTEMS = (System("systemd-boot on Pop!_OS, by kernelstub", pop, "etc/kernelstub/configuration", _edit, trial=False),)
