"""Initramfs generators known by their traces and refused by name; each becomes a module of its own when supported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps.actions import Action
from steps.base import Host
from steps.initramfs.base import Generator, InitramfsFacts


@dataclass(frozen=True, slots=True)
class Recognised:
    """A generator known by its command together with one of its paths."""

    name: str
    command: str
    paths: tuple[str, ...]
    manual: str
    supported: bool = False

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """Its command and its configuration."""
        command = host.which(self.command)
        path = next((path for path in self.paths if host.lstat(path) is not None), None)
        return (f"{command} is there", f"{path} is there") if command and path else None

    def read(self, host: Host, release: str, *, look: bool) -> InitramfsFacts:
        """Nothing but its name: it is refused before anything is planned."""
        return InitramfsFacts(self.name, self.paths[0])

    def edits(self, facts: InitramfsFacts, modules: Sequence[str], setup: str) -> tuple[Action, ...]:
        """No change: it is refused."""
        return ()

    def commit(self, facts: InitramfsFacts) -> tuple[Action, ...]:
        """No change: it is refused."""
        return ()


GENERATORS: tuple[Generator, ...] = (
    Recognised(
        "dracut",
        "dracut",
        ("/etc/dracut.conf", "/etc/dracut.conf.d", "/usr/lib/dracut/dracut.conf.d"),
        'Put `force_drivers+=" MODULES "` into /etc/dracut.conf.d/vfio.conf, then `dracut -f --regenerate-all`.',
    ),
    Recognised(
        "mkinitcpio",
        "mkinitcpio",
        ("/etc/mkinitcpio.conf",),
        "Put the modules first in MODULES=() of /etc/mkinitcpio.conf, then `mkinitcpio -P`.",
    ),
    Recognised(
        "booster",
        "booster",
        ("/etc/booster.yaml",),
        "Put the modules into modules_force_load of /etc/booster.yaml, then rebuild with booster's own script.",
    ),
)
