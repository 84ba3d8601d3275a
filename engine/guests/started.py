"""A guest that was started keeps its name and its backend until it is stopped: by them it is found again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.hosts.base import ChangeableHost
from engine.promises.holders import started_by_us
from journal.errors import RefusedError
from steps.base import State
from steps.config import Guest
from steps.guest import way_of
from steps.guest.base import called

if TYPE_CHECKING:
    from engine.setup import Setup


def refuse_another(host: ChangeableHost, setup: Setup, was: Guest | None, now: Guest | None) -> None:
    """Raise RefusedError where the configuration has another guest `now`, or none, and the one that it was runs.

    In `running` also where it has ended by itself: until it is stopped, that state is its own.
    """
    if was is None or (now is not None and (was.name, was.backend) == (now.name, now.backend)):
        return
    if not started_by_us(setup, was.name, host.boot_id) or not (setup.state is State.RUNNING or _runs(host, was)):
        return
    if now is None:
        what = "[guest] is gone from the configuration"
    else:
        key = "name" if was.name != now.name else "backend"
        what = f'`{key}` in [guest] is "{getattr(now, key)}" now'
    raise RefusedError(
        f"The {called(was.name)} was started and not stopped, and {what}.",
        hint="Run `vfiostate guest stop` first, or change it back.",
    )


def _runs(host: ChangeableHost, guest: Guest) -> bool:
    """Whether it runs; one of which nobody can tell counts as running."""
    try:
        return way_of(guest).process(host, guest.name) is not None
    except OSError:
        return True
