"""What generators have in common that are known by name and left alone."""

from __future__ import annotations

from collections.abc import Sequence

from steps.actions import Action
from steps.base import Host
from steps.initramfs.base import InitramfsFacts


class Untried:
    """No facts and no changes: it is refused before anything is planned."""

    __slots__ = ()
    name: str

    def read(self, host: Host, release: str, *, look: bool) -> InitramfsFacts:
        """Nothing but its name."""
        return InitramfsFacts(self.name, self.name)

    def edits(
        self, facts: InitramfsFacts, modules: Sequence[str], setup: str, script: bytes = b""
    ) -> tuple[Action, ...]:
        """No change."""
        return ()

    def commit(self, facts: InitramfsFacts) -> tuple[Action, ...]:
        """No change."""
        return ()
