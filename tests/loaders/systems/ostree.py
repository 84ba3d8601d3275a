"""A system of deployments, as Fedora's atomic desktops are.

What rpm-ostree makes lies in /ostree and is not compared byte for byte: the way back is one more deployment. The words
are, and what boots.
"""

from __future__ import annotations

from tests.field.support import Description
from tests.loaders.system import System


def atomic(description: Description) -> None:
    """The lab's machine, deployed by ostree."""
    description["boot_loader"] = "ostree"
    description["distribution"] = "Fedora Linux"
    commands = [each for each in description["commands"] if "grub" not in each]
    description["commands"] = [*commands, "/usr/bin/rpm-ostree"]
    files = {path: one for path, one in description["files"].items() if "grub" not in path}
    release = 'NAME="Fedora Linux"\nID=fedora\nVARIANT_ID=silverblue\nPRETTY_NAME="Fedora Linux 41 (Silverblue)"\n'
    files["/etc/os-release"] = {"text": release}
    description["files"] = files


def _edit(content: bytes) -> bytes:
    return content.replace(b" rhgb", b" mitigations=off rhgb").rstrip(b"\n") + b" loglevel=3\n"


SYSTEMS = (
    System(
        "ostree: Fedora's atomic desktops, by rpm-ostree",
        atomic,
        "ostree/loader/0.conf",
        _edit,
        trial=False,
        recovery=True,
        spoilt=None,
        former=True,
    ),
)
