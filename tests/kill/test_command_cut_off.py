"""A command that makes files anew on the way back, cut off anywhere: the next run still knows what it is to put back.

kernelstub is the witness: what it writes on the way back, running under our command line, is never what was there.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.badinput.support import At, copy, manifest, roll_back, run
from tests.field.support import LAB, made, reboot
from tests.kill import crash
from tests.loaders.systems.kernelstub import pop
from tests.support.places import at

__all__ = ["at"]

# Every point of the command itself is a file it writes, before and after; an odd number meets both.
STRIDE = int(os.environ.get("VFIOSTATE_KILL_STRIDE", "7"))
TOLD = "boot/efi/EFI/Pop_OS-00000000-0000-4000-8000-000000000001/cmdline"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`new`, and `booted` with our command line."""
    base = tmp_path_factory.mktemp("cut-off")
    machine = made(base, "debian12-lab", *LAB, change=pop)
    found = {"new": copy(machine, base / "new")}
    run(machine, "advance", "--until", "stubbed", "--no-trial").is_(0)
    reboot(machine)
    return {**found, "booted": machine}


def within(points: tuple[str, ...]) -> range:
    """The points from before the intent of the command up to the end."""
    return range(points.index("before run") - 2, len(points), STRIDE)


def test_killed_anywhere_in_it_every_file_is_as_before_in_the_end(
    places: dict[str, Path], at: At, tmp_path: Path
) -> None:
    whole = crash.run(at("booted"), "rollback", inside=True)
    assert whole.points.count("before run") == 1
    for point in within(whole.points):
        machine = copy(places["booted"], tmp_path / str(point))
        crash.run(machine, "rollback", kill_at=point, inside=True)
        run(machine, "journal", "verify").is_(0)
        roll_back(machine)
        assert manifest(machine) == manifest(places["new"]), (point, whole.points[point])


def test_killed_in_it_again_and_again_it_is_not_forgotten(places: dict[str, Path], at: At) -> None:
    machine = at("booted")
    killed: list[bytes] = []
    # The last that kernelstub writes is its configuration, the last but one the file that tells.
    for nth in (-1, -2, -1):
        whole = crash.run(copy(machine, machine.parent / f"to-{len(killed)}"), "rollback", inside=True)
        point = [n for n, name in enumerate(whole.points) if name == "after put"][nth]
        crash.run(machine, "rollback", kill_at=point, inside=True)
        killed.append((machine / TOLD).read_bytes())
    assert all(each != (places["new"] / TOLD).read_bytes() for each in killed)
    roll_back(machine)
    assert manifest(machine) == manifest(places["new"])


def _fails_in_the_end() -> None:
    from engine.hosts.simulated.doubles.base import answer
    from engine.hosts.simulated.loaders import kernelstub as module

    works = module.kernelstub

    def fails(machine, argv, stdin):  # type: ignore[no-untyped-def]  # stands in for a double
        works(machine, argv, stdin)
        return answer(argv, stderr="no space left\n", status=1)

    module.kernelstub = fails


def test_when_it_fails_after_it_has_written_the_next_run_puts_back_what_it_wrote(
    places: dict[str, Path], at: At
) -> None:
    machine = at("booted")
    run(machine, "rollback", prepare=_fails_in_the_end).is_(1, "no space left").with_hint()
    assert (machine / TOLD).read_bytes() != (places["new"] / TOLD).read_bytes()
    roll_back(machine)
    assert manifest(machine) == manifest(places["new"])


def test_what_others_write_after_it_had_failed_is_not_taken_for_what_it_wrote(places: dict[str, Path], at: At) -> None:
    machine = at("booted")
    run(machine, "rollback", prepare=_fails_in_the_end).is_(1)
    (machine / TOLD).write_text("theirs\n")
    roll_back(machine)
    after, before = manifest(machine), manifest(places["new"])
    assert {path for path in before if after[path] != before[path]} == {TOLD}
