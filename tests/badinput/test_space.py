"""File systems that are full or read-only, at whichever write that shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from journal.events import Kind
from tests.badinput.support import At, events, faults, last, manifest, run, state, state_of, unchanged

STEPS = {"checked": "modules_loaded", "modules_loaded": "stubbed", "booted": "rebooted", "rebooted": "bound"}


@pytest.mark.parametrize("stage", STEPS)
def test_a_full_disk_is_found_out_before_the_first_change(at: At, stage: str) -> None:
    machine = at(stage)
    faults(machine, space=100_000)
    with unchanged(machine):
        run(machine, "advance").is_(5, "too full", "nothing was changed").with_hint()
    found = last(machine, Kind.STEP_REFUSED, Kind.STEP_FAILED)
    assert "free" in str(found.data)
    assert not [event for event in events(machine) if event.kind is Kind.INTENT and event.seq > found.seq]
    faults(machine)
    run(machine, "advance").is_(0)


@pytest.mark.parametrize(
    ("stage", "place"),
    [
        ("checked", "/etc/modules"),
        ("modules_loaded", "/etc/grub.d"),
        ("booted", "/etc/default/grub"),
        ("booted", "/etc/grub.d"),
        ("modules_loaded", "/etc/modprobe.d"),
        ("modules_loaded", "/etc/initramfs-tools"),
        ("modules_loaded", "/etc"),
        ("rebooted", "/usr/local/sbin"),
        ("rebooted", "/etc/systemd"),
    ],
)
def test_a_read_only_place_takes_the_step_back(at: At, stage: str, place: str) -> None:
    machine = at(stage)
    faults(machine, read_only=[place])
    with unchanged(machine):
        answer = run(machine, "advance")
        assert answer.code in (1, 5), answer.text
        assert "Read-only file system" in answer.text and place in answer.text
        answer.with_hint()
    assert state(machine) == state_of(stage)
    assert "Read-only" in str(last(machine, Kind.STEP_REFUSED, Kind.STEP_FAILED).data)
    faults(machine)
    run(machine, "advance").is_(0)


@pytest.mark.parametrize("stage", STEPS)
def test_a_disk_that_is_full_at_any_write_takes_the_step_back(at: At, tmp_path: Path, stage: str) -> None:
    writes = 0
    while True:
        machine = at(stage)
        before = manifest(machine)
        answer = run(machine, "advance", prepare=lambda fails=writes: _full_at(fails))  # type: ignore[misc]
        if answer.code == 0:
            break
        assert manifest(machine) == before
        assert "No space left on device" in answer.text, answer.text
        answer.with_hint()
        assert state(machine) == state_of(stage)
        if writes:
            assert "No space left" in str(last(machine, Kind.STEP_REFUSED, Kind.STEP_FAILED).data)
        run(machine, "advance").is_(0)
        machine.rename(tmp_path / f"{stage}-{writes}")
        writes += 1
    assert writes >= 2


def _full_at(number: int) -> None:
    """From now on the write with this number, and it alone, finds the disk full."""
    import errno
    import os

    from engine.hosts.simulated import SimulatedHost

    done = 0
    write_file = SimulatedHost.write_file

    def failing(self: SimulatedHost, path: str, *args: object) -> None:
        nonlocal done
        done += 1
        if done - 1 == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        write_file(self, path, *args)  # type: ignore[arg-type]

    SimulatedHost.write_file = failing  # type: ignore[method-assign,assignment]


def test_a_read_only_system_says_so_and_the_way_back_goes_on_once_it_is_writable(at: At) -> None:
    machine = at("stubbed")
    before = manifest(machine)
    faults(machine, read_only=["/etc", "/boot", "/usr"])
    answer = run(machine, "rollback")
    assert answer.code == 1, answer.text
    assert "Read-only file system" in answer.text
    answer.with_hint()
    assert manifest(machine) == before
    faults(machine)
    assert run(machine, "rollback").code == 0
