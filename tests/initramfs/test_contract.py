"""What is promised of every initramfs generator, through the command line, on a simulated machine that has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.hosts.simulated.host import SimulatedHost
from engine.hosts.simulated.initramfs import Archive, parse
from steps import initramfs
from steps.actions import EditFile
from steps.boot.base import DRACUT_REBOOTS
from tests.badinput.support import At, broken_command, copy, faults, manifest, roll_back, run, state, unchanged
from tests.field.support import CONF, KERNEL, LAB, NATIVE, STUBBED, drivers, has_token, made, reboot, words
from tests.initramfs.system import System
from tests.initramfs.systems import systems
from tests.kill import crash

STRIDE = int(os.environ.get("VFIOSTATE_KILL_STRIDE", "29"))
OTHER, LATER = "6.1.0-98-amd64", "6.1.0-99-amd64"
MODULES = frozenset({"vfio", "vfio_iommu_type1", "vfio_pci"})


@pytest.fixture(scope="module", params=systems(), ids=lambda system: system.name)
def system(request: pytest.FixtureRequest) -> System:
    """Each of them."""
    found: System = request.param
    return found


@pytest.fixture(scope="module")
def places(system: System, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The machine, with two kernels, on the way: `new`, `modules_loaded`, `stubbed`, `bound`."""
    base = tmp_path_factory.mktemp("generator")
    machine = made(base, "debian12-lab", change=system.change)
    run(machine, "machine", "install-kernel", OTHER).is_(0)
    reboot(machine)
    run(machine, "init", *LAB).is_(0)
    found = {"new": copy(machine, base / "new")}
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    found["modules_loaded"] = copy(machine, base / "modules_loaded")
    run(machine, *system.advance).is_(0)
    found["stubbed"] = copy(machine, base / "stubbed")
    reboot(machine)
    run(machine, "advance", "--until", "bound").is_(0)
    found["bound"] = copy(machine, base / "bound")
    return found


def image(system: System, machine: Path, release: str) -> Archive:
    """What lies in the image of a kernel."""
    return parse(system.place(machine, release).read_bytes())


def test_the_images_of_all_kernels_have_the_modules_and_our_file(system: System, places: dict[str, Path]) -> None:
    for release in (KERNEL, OTHER):
        before, after = (image(system, places[place], release) for place in ("new", "stubbed"))
        assert before.modules.isdisjoint(MODULES) and CONF not in before.files
        assert after.modules >= MODULES
        assert (CONF in after.files) == system.conf


def test_the_boot_gives_the_devices_to_the_stub(places: dict[str, Path]) -> None:
    assert drivers(places["new"]) == NATIVE
    assert drivers(places["bound"]) == STUBBED


def test_only_a_trial_boot_is_told_to_reboot_where_dracut_would_wait_at_a_prompt(system: System, at: At) -> None:
    machine = at("stubbed")
    reboot(machine)
    tried = words(machine)
    assert set(DRACUT_REBOOTS).issubset(tried) is (system.name.startswith("dracut") and "panic=30" in tried)
    machine = at("bound")
    reboot(machine)
    assert has_token(words(machine)) and set(DRACUT_REBOOTS).isdisjoint(words(machine))


def test_the_way_back_is_byte_for_byte(at: At, places: dict[str, Path]) -> None:
    for place in ("stubbed", "bound"):
        machine = at(place)
        roll_back(machine)
        assert manifest(machine) == manifest(places["new"]), place


def test_a_users_edit_in_between_stays_and_the_images_are_made_anew_without_ours(
    system: System, at: At, places: dict[str, Path]
) -> None:
    machine = at("bound")
    place = machine / system.where
    place.write_bytes(system.edit(place.read_bytes()))
    roll_back(machine)
    before = places["new"] / system.where
    assert place.read_bytes() == system.edit(before.read_bytes() if before.exists() else b"")
    for release in (KERNEL, OTHER):
        assert image(system, machine, release).modules.isdisjoint(MODULES)
        assert CONF not in image(system, machine, release).files


def test_a_second_run_adds_nothing(system: System, at: At) -> None:
    host = SimulatedHost(at("stubbed"))
    generator = initramfs.detect(host).generator
    assert generator is not None
    assert generator.edits(generator.read(host, OTHER, look=False), sorted(MODULES), "0" * 12) == ()


def test_modules_that_the_user_has_listed_are_adopted_and_stay(system: System, at: At, places: dict[str, Path]) -> None:
    machine = at("modules_loaded")
    host = SimulatedHost(machine)
    generator = initramfs.detect(host).generator
    assert generator is not None
    (edit,) = generator.edits(generator.read(host, OTHER, look=False), sorted(MODULES), "0" * 12)
    assert isinstance(edit, EditFile)
    (machine / edit.path.lstrip("/")).parent.mkdir(exist_ok=True)
    (machine / edit.path.lstrip("/")).write_bytes(edit.content)
    before = manifest(machine)
    run(machine, *system.advance).is_(0)
    assert (machine / system.where).read_bytes() == edit.content
    run(machine, "rollback", "--to", "modules_loaded").is_(0)
    assert manifest(machine) == before


def test_a_rebuild_that_fails_takes_the_edit_back(system: System, at: At) -> None:
    machine = at("modules_loaded")
    broken_command(machine, system.rebuild, status=1, stderr="no space left\n", lacking=system.spared)
    with unchanged(machine):
        run(machine, *system.advance).is_(1, "no space left")
    faults(machine)
    run(machine, *system.advance).is_(0)
    assert state(machine) == "stubbed"


def test_a_rebuild_that_leaves_the_images_as_they_were_and_says_nothing_is_found_out(system: System, at: At) -> None:
    machine = at("modules_loaded")
    broken_command(machine, system.rebuild, status=0, lacking=system.spared)
    with unchanged(machine):
        run(machine, *system.advance).is_(1, "lacks")
    assert state(machine) == "modules_loaded"


def test_a_kernel_that_comes_in_between_has_the_modules_and_not_after_the_way_back(system: System, at: At) -> None:
    machine = at("bound")
    run(machine, "machine", "install-kernel", LATER).is_(0)
    assert image(system, machine, LATER).modules >= MODULES
    reboot(machine)
    assert drivers(machine) == STUBBED
    roll_back(machine)
    assert image(system, machine, LATER).modules.isdisjoint(MODULES)
    assert CONF not in image(system, machine, LATER).files


def test_what_cannot_be_read_is_refused_before_anything_is_changed(system: System, at: At) -> None:
    machine = at("modules_loaded")
    (machine / system.where).write_bytes(system.spoilt)
    with unchanged(machine):
        run(machine, *system.advance).is_(5, system.where.rpartition("/")[2]).with_hint()


def test_killed_anywhere_it_goes_on_and_back_byte_for_byte(
    system: System, places: dict[str, Path], tmp_path: Path
) -> None:
    for place, command in (("modules_loaded", system.advance), ("bound", ("rollback",))):
        whole = crash.run(copy(places[place], tmp_path / place), *command)
        for point in range(0, len(whole.points), STRIDE):
            machine = copy(places[place], tmp_path / f"{place}-{point}")
            crash.run(machine, *command, kill_at=point)
            if command == system.advance:
                run(machine, *system.advance).is_(0)
            roll_back(machine)
            assert manifest(machine) == manifest(places["new"]), (place, point, whole.points[point])
