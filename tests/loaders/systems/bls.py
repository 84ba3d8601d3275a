"""GRUB with an entry for each kernel, as Fedora has it."""

from __future__ import annotations

from tests.field.support import Description
from tests.loaders.system import System

SETTINGS = (
    "GRUB_TIMEOUT=5\n"
    'GRUB_DISTRIBUTOR="Fedora Linux"\n'
    "GRUB_DEFAULT=saved\n"
    "GRUB_DISABLE_SUBMENU=true\n"
    'GRUB_TERMINAL_OUTPUT="console"\n'
    'GRUB_CMDLINE_LINUX="rhgb quiet"\n'
    'GRUB_DISABLE_RECOVERY="true"\n'
    "GRUB_ENABLE_BLSCFG=true\n"
)
COMMANDS = ["/usr/bin/grubby", "/usr/bin/grub2-editenv", "/usr/bin/grub2-probe", "/usr/bin/kernel-install"]


def fedora(description: Description) -> None:
    """The lab's machine, with Fedora's boot set-up."""
    description["boot_loader"] = "bls"
    description["distribution"] = "Fedora Linux"
    description["commands"] = [each for each in description["commands"] if "grub" not in each] + COMMANDS
    files = {path: one for path, one in description["files"].items() if "grub" not in path}
    release = 'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=41\nPRETTY_NAME="Fedora Linux 41 (Server Edition)"\n'
    files["/etc/os-release"] = {"text": release}
    files["/etc/system-release"] = {"text": "Fedora release 41 (Forty One)\n"}
    files["/etc/default/grub"] = {"text": SETTINGS}
    description["files"] = files


def _edit(content: bytes) -> bytes:
    return content.replace(b" rhgb", b" mitigations=off rhgb").rstrip(b"\n") + b" loglevel=3\n"


SYSTEMS = (System("GRUB on Fedora and RHEL 9, with boot entries (BLS)", fedora, "etc/kernel/cmdline", _edit),)
