"""What a boot loader does of `BootLoader` (steps/boot/base.py) that makes no entry for one boot, or changes nothing.

Why there is no trial is in the `Trial.obstacles` that its `read` gives.
"""

from __future__ import annotations

from collections.abc import Sequence

from steps.actions import Action
from steps.boot.base import BootFacts


class Untried:
    """Makes no trial."""

    __slots__ = ()

    def stage(self, facts: BootFacts, tokens: Sequence[str], setup: str) -> tuple[Action, ...]:
        """No change: there is no trial."""
        return ()

    def choose(self, facts: BootFacts) -> tuple[Action, ...]:
        """No change: there is no trial."""
        return ()

    def unstage(self, facts: BootFacts) -> tuple[Action, ...]:
        """No change: there is no trial."""
        return ()


class Unchanged(Untried):
    """Leaves all that decides to the user, or is refused."""

    __slots__ = ()

    def edits(self, facts: BootFacts, tokens: Sequence[str]) -> tuple[Action, ...]:
        """No change."""
        return ()

    def commit(self, facts: BootFacts) -> tuple[Action, ...]:
        """No change."""
        return ()
