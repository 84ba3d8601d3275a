"""GRUB under its other name (openSUSE, Mageia, Red Hat before BLS), and as Arch has it: upstream's grub-mkconfig."""

from __future__ import annotations

from tests.field.support import Description
from tests.loaders.system import System

# What upstream's and SUSE's generator sources, and all of it (util/grub-mkconfig.in); Debian's reads grub.d besides.
GENERATOR = {
    "text": "#!/bin/sh\n# answered by the simulated machine\nif test -f ${sysconfdir}/default/grub ; then\n"
    "  . ${sysconfdir}/default/grub\nfi\n",
    "mode": "755",
}
# A drop-in that this generator does not read: nothing may be put there.
IGNORED = {"text": 'GRUB_CMDLINE_LINUX_DEFAULT="of no effect"\n'}
DEFAULT = """# If you change this file, run 'grub2-mkconfig -o /boot/grub2/grub.cfg' afterwards to update
# /boot/grub2/grub.cfg.

GRUB_DISTRIBUTOR=
GRUB_DEFAULT=saved
GRUB_TIMEOUT=8
GRUB_CMDLINE_LINUX_DEFAULT="splash=silent resume=/dev/vda2 quiet security=apparmor"
GRUB_CMDLINE_LINUX=""
GRUB_CMDLINE_LINUX_RECOVERY="single"
"""
ARCH = """# GRUB boot loader configuration

GRUB_DEFAULT=0
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR="Arch"
GRUB_CMDLINE_LINUX_DEFAULT="loglevel=3 quiet"
GRUB_CMDLINE_LINUX=""
GRUB_DISABLE_RECOVERY=true
"""


def _opensuse(description: Description) -> None:
    description["boot_loader"] = "grub2"
    kept = [path for path in description["commands"] if "grub" not in path]
    ours = ["mkconfig", "probe", "reboot", "set-default", "script-check"]
    description["commands"] = [*kept, *(f"/usr/sbin/grub2-{name}" for name in ours), "/usr/bin/grub2-editenv"]
    description["files"]["/etc/default/grub"] = {"text": DEFAULT}
    description["files"]["/etc/default/grub.d/of-no-effect.cfg"] = IGNORED
    description["files"]["/usr/sbin/grub2-mkconfig"] = GENERATOR


def _arch(description: Description) -> None:
    description["commands"].remove("/usr/sbin/update-grub")
    description["files"]["/etc/default/grub"] = {"text": ARCH}
    description["files"]["/etc/default/grub.d/of-no-effect.cfg"] = IGNORED
    description["files"]["/usr/sbin/grub-mkconfig"] = GENERATOR


def _edit(content: bytes) -> bytes:
    return content.replace(b"GRUB_TIMEOUT=", b"# mine\nGRUB_TIMEOUT=") + b"# mine too\n"


SYSTEMS = (
    System("GRUB on openSUSE, without boot entries of its own (grub2)", _opensuse, "etc/default/grub", _edit),
    System("GRUB on Arch and Gentoo", _arch, "etc/default/grub", _edit, recovery=False),
)
