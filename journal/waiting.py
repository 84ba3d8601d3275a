"""Refusals that are none: a step that only waits for the reboot has not failed, and nobody has to mend anything."""

from __future__ import annotations

from journal.errors import RebootNeededError
from journal.events import Event, Kind

# By the codes of their findings: the journal keeps no exit code. A test holds them equal to those of the steps.
WAITING = frozenset({"not-rebooted", "trial-again", "trial-interrupted", RebootNeededError.code})


def waits(event: Event) -> bool:
    """Whether a step was refused only because the reboot is still to come."""
    found = event.data.get("findings") if event.kind is Kind.STEP_REFUSED else None
    listed = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    codes = [str(one.get("code")) for one in listed if one.get("severity") == "refusal"]
    return bool(codes) and WAITING.issuperset(codes)
