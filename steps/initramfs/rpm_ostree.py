"""rpm-ostree (Fedora's atomic desktops, CoreOS): the initramfs belongs to the deployment, as its kernel does.

It comes with the system, made elsewhere. Only with `rpm-ostree initramfs --enable` it is made here, by dracut with its
configuration in /etc, for each new deployment (rpm-ostree(1), "initramfs"); `dracut --regenerate-all` would make images
that nothing boots.
"""

from __future__ import annotations

from dataclasses import dataclass

from steps.base import Host
from steps.boot import ostree
from steps.boot.recognised import evidence
from steps.initramfs.base import Generator
from steps.initramfs.dracut import FOLDERS
from steps.initramfs.untried import Untried
from steps.softdeps import CONF

_COMMANDS = ("rpm-ostree", "dracut")


@dataclass(frozen=True, slots=True)
class RpmOstree(Untried):
    """dracut, called by rpm-ostree for a deployment: known, and left alone."""

    name: str = "rpm-ostree"
    supported: bool = False
    manual: str = (
        'Set `stub = "pci-stub"` in the configuration: it needs no initramfs where the kernel has it built in. By '
        f'hand: put `force_drivers+=" MODULES "` and `install_items+=" {CONF} "` into {FOLDERS[0]}/vfio.conf, then '
        "`rpm-ostree initramfs --enable` makes the images of it."
    )

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """Deployments, and the commands that make their images; a mkinitramfs beside them says that others do."""
        marks = evidence(host, ostree.TRACES)
        if marks is None or host.which("mkinitramfs") is not None or not all(map(host.which, _COMMANDS)):
            return None
        return (*(f"{host.which(name)} is there" for name in _COMMANDS), *marks)


GENERATORS: tuple[Generator, ...] = (RpmOstree(),)
