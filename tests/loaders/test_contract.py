"""What is promised of every boot loader, through the command line, on a simulated machine that boots by it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from engine.hosts.simulated import description, loaders
from engine.hosts.simulated.machine import Machine
from steps import boot
from steps.boot.untried import Unchanged
from tests.badinput.support import At, copy, manifest, roll_back, run, unchanged
from tests.field.support import NATIVE, STUBBED, advanced, drivers, has_token, made, reboot, refused, words
from tests.field.support import command as command_of
from tests.kill import crash
from tests.loaders.system import System
from tests.loaders.systems import systems

STRIDE = int(os.environ.get("VFIOSTATE_KILL_STRIDE", "9"))
PANIC = "panic=30"
NEWER = "6.99.0-1-amd64"


@pytest.fixture(scope="module", params=systems(), ids=lambda system: system.name)
def system(request: pytest.FixtureRequest) -> System:
    """Each of them."""
    found: System = request.param
    return found


@pytest.fixture(scope="module")
def places(system: System, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The machine on the way: `new`, `modules_loaded`, `stubbed`, `booted` (the reboot is made), `bound`."""
    base = tmp_path_factory.mktemp("loader")
    machine = made(base, "debian12-lab", *system.init, change=system.change)
    found = {"new": copy(machine, base / "new")}
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    found["modules_loaded"] = copy(machine, base / "modules_loaded")
    advanced(machine, *stage_words(system)) if system.trial else run(machine, "advance", "--no-trial").is_(0)
    found["stubbed"] = copy(machine, base / "stubbed")
    reboot(machine)
    found["booted"] = copy(machine, base / "booted")
    run(machine, "advance", "--until", "bound").is_(0)
    found["bound"] = copy(machine, base / "bound")
    return found


def stage_words(system: System) -> tuple[str, ...]:
    """What `advance` says where the new command line is tried first."""
    return ("trial boot: the next boot, and only that one, has the new command line",) if system.trial else ()


def menu(machine: Path) -> list[tuple[bool, list[str]]]:
    """Whether each entry is one to recover by, and its words."""
    model = Machine(machine)
    return [(item.recovery, list(item.words)) for item in loaders.of(model).menu(model) if item.kernel is not None]


def boots_by(system: System) -> str:
    """The boot loader of a system, by its description."""
    found = json.loads((files("engine.hosts.simulated") / "machines/debian12-lab.json").read_text())
    system.change(found)
    return description.parse(found).boot_loader


def theirs(found: list[str]) -> list[str]:
    """The words of a command line before our run of them, without the image's name, which may be of what is in it."""
    at = next((n for n, word in enumerate(found) if word.startswith("vfiostate.setup=")), len(found))
    return [word for word in found[:at] if not word.startswith("initrd=")]


def test_every_boot_loader_that_is_changed_is_held_to_it() -> None:
    changed = {loader.name for loader in boot.loaders() if not isinstance(loader, Unchanged)}
    assert {boots_by(each) for each in systems()} == changed


def test_the_boot_after_it_has_our_words_after_all_that_were_there_and_every_boot_has_them(
    at: At, places: dict[str, Path]
) -> None:
    before = theirs(words(places["new"]))
    machine = at("bound")
    for _ in range(2):
        reboot(machine)
        assert has_token(words(machine)) and PANIC not in words(machine)
        assert theirs(words(machine)) == before
        assert drivers(machine) == STUBBED


def test_the_way_back_is_byte_for_byte_from_every_place(at: At, places: dict[str, Path]) -> None:
    for place in ("modules_loaded", "stubbed", "booted", "bound"):
        machine = at(place)
        roll_back(machine)
        assert manifest(machine) == manifest(places["new"]), place
        reboot(machine)
        assert words(machine) == words(places["new"])
        assert drivers(machine) == NATIVE


def test_the_way_back_without_us_is_byte_for_byte_too(system: System, at: At, places: dict[str, Path]) -> None:
    for place in ("stubbed", "booted"):
        machine = at(place)
        script = machine / "var/lib/vfiostate/restore.sh"
        env = {"PATH": "/usr/bin:/bin"}
        said = subprocess.run(["/bin/sh", str(script)], check=True, capture_output=True, env=env, text=True).stdout
        if system.tidy:
            assert shlex.join(system.tidy) in said
            command_of(machine, *system.tidy)
        assert manifest(machine) == manifest(places["new"]), place


def test_a_trial_is_one_boot_and_no_more(system: System, at: At, places: dict[str, Path]) -> None:
    if not system.trial:
        pytest.skip("this loader cannot boot a command line once")
    machine = at("stubbed")
    assert not any(has_token(found) and PANIC not in found for _, found in menu(machine))
    reboot(machine)
    assert has_token(words(machine)) and words(machine)[-1] == PANIC
    reboot(machine)
    assert words(machine) == words(places["new"])
    assert drivers(machine) == NATIVE


def test_a_trial_that_hangs_is_followed_by_the_old_command_line_and_can_be_made_again(
    system: System, at: At, places: dict[str, Path]
) -> None:
    if not system.trial:
        pytest.skip("this loader cannot boot a command line once")
    machine = at("stubbed")
    run(machine, "machine", "reboot", "--fails").is_(0)
    assert words(machine) == words(places["new"])
    refused(machine, "trial-failed", "advance --again")
    run(machine, "advance", "--again").is_(3)
    reboot(machine)
    advanced(machine)
    reboot(machine)
    assert has_token(words(machine)) and PANIC not in words(machine)
    roll_back(machine)
    assert manifest(machine) == manifest(places["new"])


def test_where_no_trial_can_be_made_it_is_said_and_left_to_the_user(system: System, at: At) -> None:
    if system.trial:
        pytest.skip("this loader can")
    refused(at("modules_loaded"), "trial-impossible", "--no-trial")


def test_entries_to_recover_by_keep_the_old_command_line(system: System, at: At) -> None:
    for place in ("stubbed", "bound"):
        kept = [found for recovery, found in menu(at(place)) if recovery]
        assert bool(kept) == system.recovery
        assert not any(has_token(found) for found in kept), place


def test_a_users_edit_in_between_stays_and_only_ours_is_taken_out(
    system: System, at: At, places: dict[str, Path]
) -> None:
    machine = at("bound")
    place = machine / system.where
    place.write_bytes(system.edit(place.read_bytes()))
    run(machine, "rollback").is_(3)
    reboot(machine)
    run(machine, "rollback").is_(0)
    assert place.read_bytes() == system.edit((places["new"] / system.where).read_bytes())
    reboot(machine)
    assert not has_token(words(machine))


def test_a_kernel_that_comes_in_between_has_our_words_and_has_them_no_more_after_the_way_back(
    system: System, at: At
) -> None:
    machine = at("bound")
    run(machine, "machine", "install-kernel", NEWER).is_(0)
    reboot(machine)
    assert has_token(words(machine))
    assert (machine / "proc/sys/kernel/osrelease").read_text().strip() == NEWER
    roll_back(machine)
    assert not any(has_token(found) for recovery, found in menu(machine) if not (system.former and recovery))
    reboot(machine)
    assert not has_token(words(machine))


def test_what_cannot_be_read_is_refused_before_anything_is_changed(system: System, at: At) -> None:
    if system.spoilt is None:
        pytest.skip("its own tool reads that file")
    machine = at("modules_loaded")
    (machine / system.where).write_bytes(system.spoilt)
    with unchanged(machine):
        run(machine, "advance", *(() if system.trial else ("--no-trial",))).is_(5).with_hint()


def test_audit_finds_nothing_to_say(at: At) -> None:
    for place in ("stubbed", "bound"):
        run(at(place), "audit").is_(0)


def test_killed_anywhere_it_goes_on_and_back_byte_for_byte(
    system: System, places: dict[str, Path], tmp_path: Path
) -> None:
    trial = () if system.trial else ("--no-trial",)
    for place, command in (("modules_loaded", ("advance", *trial)), ("booted", ("advance",)), ("bound", ("rollback",))):
        whole = crash.run(copy(places[place], tmp_path / place), *command)
        for point in range(0, len(whole.points), STRIDE):
            machine = copy(places[place], tmp_path / f"{place}-{point}")
            crash.run(machine, *command, kill_at=point)
            run(machine, "journal", "verify").is_(0)
            if command[0] == "advance":
                # Killed after its last word it is there already, and the next step wants the reboot first.
                assert run(machine, "advance", *trial).code in (0, 3)
            roll_back(machine)
            assert manifest(machine) == manifest(places["new"]), (place, point, whole.points[point])


def test_a_captured_machine_boots_by_the_same_loader_with_its_commands_and_settings_and_has_the_same_generator(
    system: System, at: At
) -> None:
    machine = at("new")
    said = run(machine, "capture").is_(0)
    there, again = description.parse(json.loads(said.out)), Machine(machine).description
    assert (there.boot_loader, there.initramfs) == (again.boot_loader, again.initramfs)
    answered = loaders.of(Machine(machine)).doubles
    assert {path for path in again.commands if path.rpartition("/")[2] in answered} <= set(there.commands)
    assert f"/{system.where}" in there.files or not system.where.startswith("etc/")
