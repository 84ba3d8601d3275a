"""A package manager at work: what it may make too is made when it has ended."""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TextIO

import pytest

from engine import packages
from journal.events import Kind
from tests.badinput.support import At, elsewhere, events, last, manifest, run, state

DPKG = packages.LOCKED[0]


def _at_work(machine: Path, path: str, seconds: float = 0) -> AbstractContextManager[int]:
    """A process that holds a lock as a package manager does, for so long or to the end; its number."""

    def hold(lock: TextIO) -> None:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    return elsewhere(machine / path.lstrip("/"), hold)


def _soon() -> None:
    packages.PATIENCE = 0.2


@pytest.mark.parametrize("lock", packages.LOCKED)
def test_it_is_waited_for_and_what_it_made_is_seen(at: At, lock: str) -> None:
    machine = at("modules_loaded")
    with _at_work(machine, lock, 1.0) as who:
        run(machine, "advance").is_(0, f"(process {who}) is at work", f"waiting for it to end ({lock})")
    assert state(machine) == "stubbed"


@pytest.mark.parametrize(("there", "word"), [("modules_loaded", "advance"), ("stubbed", "rollback")])
def test_one_that_does_not_end_is_a_refusal_that_changes_nothing(at: At, there: str, word: str) -> None:
    machine = at(there)
    before = manifest(machine)
    with _at_work(machine, DPKG) as who:
        run(machine, word, prepare=_soon).is_(75, f"(process {who}) is at work", DPKG).with_hint()
        os.unlink(machine / DPKG.lstrip("/"))
    os.removedirs((machine / DPKG.lstrip("/")).parent)
    assert manifest(machine) == before and state(machine) == there
    assert "is at work" in str(last(machine, Kind.STEP_REFUSED).data)
    run(machine, word).is_(0)


def test_a_step_that_makes_nothing_of_the_kind_goes_on_beside_it(at: At) -> None:
    machine = at("rebooted")
    with _at_work(machine, DPKG):
        run(machine, "advance", prepare=_soon).is_(0)
        run(machine, "rollback", "--to", "rebooted", prepare=_soon).is_(0)


def test_a_step_that_was_cut_short_is_taken_back_when_it_has_ended(at: At) -> None:
    machine = at("modules_loaded")

    def dies() -> None:
        from engine.hosts.simulated import SimulatedHost

        SimulatedHost.request_reboot = SimulatedHost.run = lambda *_, **__: os._exit(9)  # type: ignore[method-assign,assignment]

    run(machine, "advance", prepare=dies).is_(9)
    before = manifest(machine)
    with _at_work(machine, DPKG):
        run(machine, "advance", prepare=_soon).is_(75, "is at work")
        os.unlink(machine / DPKG.lstrip("/"))
    os.removedirs((machine / DPKG.lstrip("/")).parent)
    assert manifest(machine) == before
    run(machine, "advance").is_(0)
    assert state(machine) == "stubbed"


def test_a_lock_of_pacman_may_be_left_over_and_is_for_the_user_to_judge(at: At) -> None:
    machine = at("modules_loaded")
    place = machine / packages.THERE.lstrip("/")
    place.parent.mkdir(parents=True)
    place.touch()
    answer = run(machine, "advance").is_(75, "pacman is at work", f"remove {packages.THERE}").with_hint()
    assert answer.took < 60 and events(machine)[-1].kind is Kind.STEP_REFUSED
    place.unlink()
    run(machine, "advance").is_(0)
