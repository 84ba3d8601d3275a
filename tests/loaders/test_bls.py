"""GRUB with an entry for each kernel: what is particular of it, beside what is promised of every boot loader."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.hosts.simulated.doubles.base import CALLS
from engine.hosts.simulated.doubles.grubby import updated
from engine.hosts.simulated.loaders import of
from engine.hosts.simulated.machine import Machine
from steps.boot import bls_entry
from steps.boot.base import DRACUT_REBOOTS, PANIC
from steps.boot.bls_trial import ID
from tests.badinput.support import At, copy, manifest, roll_back, run
from tests.field.support import IDS, LAB, Description, advanced, command, has_token, made, reboot, refused, words
from tests.initramfs.systems import dracut
from tests.loaders.systems.bls import SETTINGS, fedora

ENTRIES, BLOCK = "boot/loader/entries", "boot/grub2/grubenv"
TEMPLATE, VENDOR, NEWER = "etc/kernel/cmdline", "usr/lib/kernel", "6.1.0-99-amd64"
OWN = "vfio-pci.ids=10de:1200"
Make = Callable[[str, Callable[[Description], None]], Path]


def with_ids(description: Description) -> None:
    """Fedora with its dracut, whose user gives a card to vfio-pci already."""
    fedora(description)
    dracut.SYSTEMS[0].change(description)
    description["files"]["/etc/default/grub"] = {"text": SETTINGS.replace("rhgb quiet", f"rhgb quiet {OWN}")}


def rhel8(description: Description) -> None:
    """RHEL 8: the words of all entries are in the environment block."""
    fedora(description)
    text = "# GRUB Environment Block\nkernelopts=root=UUID=00000000-0000-4000-8000-000000000001 ro quiet\n"
    description["files"][f"/{BLOCK}"] = {"text": text + "#" * (1024 - len(text))}


def on_btrfs(description: Description) -> None:
    """Fedora with everything on btrfs."""
    fedora(description)
    description["mounts"][0]["type"] = "btrfs"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three kinds of machine at `new` and `modules_loaded`; that with the user's ids at `bound` too."""
    found = {}
    for change in (with_ids, rhel8, on_btrfs):
        base = tmp_path_factory.mktemp(change.__name__)
        machine = made(base, "debian12-lab", *LAB, change=change)
        found[f"{change.__name__}-new"] = copy(machine, base / "new")
        run(machine, "advance", "--until", "modules_loaded").is_(0)
        found[f"{change.__name__}-modules_loaded"] = copy(machine, base / "modules_loaded")
        if change is not on_btrfs:
            advanced(machine)
            reboot(machine)
            run(machine, "advance", "--until", "rebooted").is_(0)
            found[f"{change.__name__}-rebooted"] = machine
    return found


def options(machine: Path) -> dict[str, str]:
    """The line of each entry, by the end of its file's name; the machine's own id is another one each time."""
    found = {}
    for path in sorted((machine / ENTRIES).glob("*.conf")):
        line = next(one for one in path.read_text().splitlines() if one.startswith("options"))
        found["rescue" if "rescue" in path.name else path.name.partition("-")[2]] = line
    return found


def calls(machine: Path) -> list[str]:
    """What the doubles were called with."""
    return (machine / CALLS.lstrip("/")).read_text().splitlines()


def test_the_users_word_of_the_same_name_stays_and_his_ids_are_carried_along(at: At, places: dict[str, Path]) -> None:
    machine = at("with_ids-rebooted")
    before = options(places["with_ids-new"])["6.1.0-56-amd64.conf"]
    line = options(machine)["6.1.0-56-amd64.conf"]
    assert line.startswith(f"{before} vfiostate.setup=") and OWN in before.split()
    assert line.endswith(f" {IDS.replace('=', '=10de:1200,')}")
    reboot(machine)
    assert has_token(words(machine))
    roll_back(machine)
    assert manifest(machine) == manifest(places["with_ids-new"])


def test_grubby_itself_would_have_taken_it_out() -> None:
    assert updated(f"ro quiet {OWN}", (), (IDS,)) == f"ro quiet {IDS}"
    assert updated(f"ro {OWN} quiet {IDS}", (IDS,), ()) == f"ro {OWN} quiet"


def test_new_kernels_and_grub2_mkconfig_find_our_words_and_grubby_only_reads(at: At, places: dict[str, Path]) -> None:
    machine = at("with_ids-rebooted")
    ours = options(machine)["6.1.0-56-amd64.conf"].partition(" vfiostate.setup=")[2]
    assert (machine / "etc/kernel/cmdline").read_text().endswith(f" vfiostate.setup={ours}\n")
    assert f' {OWN} vfiostate.setup={ours}"\n' in (machine / "etc/default/grub").read_text()
    assert options(machine)["rescue"] == options(places["with_ids-new"])["rescue"]
    assert calls(machine) == ["grubby --info=ALL"] * 2


def test_what_grubby_has_added_since_stays_on_every_entry(at: At, places: dict[str, Path]) -> None:
    machine, other = at("with_ids-rebooted"), at("with_ids-new")
    for each in (machine, other):
        command(each, "grubby", "--update-kernel=ALL", "--args=loglevel=3")
    roll_back(machine)
    assert manifest(machine) == manifest(other)


def test_entries_that_came_since_are_cleaned_by_grubby_and_only_then(at: At) -> None:
    machine = at("with_ids-rebooted")
    run(machine, "machine", "install-kernel", "6.1.0-99-amd64").is_(0)
    assert has_token(options(machine)["6.1.0-99-amd64.conf"].split())
    run(machine, "rollback").is_(3)
    *looked, cleaned = calls(machine)
    assert looked == ["grubby --info=ALL"] * 2
    assert cleaned.startswith("grubby --update-kernel=ALL '--remove-args=vfiostate.setup=")
    assert cleaned.endswith("' --no-etc-grub-update")
    assert not any(has_token(line.split()) for line in options(machine).values())


@pytest.mark.parametrize("vendor", [False, True])
def test_without_a_command_line_for_kernels_to_come_it_is_refused_with_the_command_that_makes_it(
    at: At, vendor: bool
) -> None:
    machine = at("with_ids-modules_loaded")
    where = machine / TEMPLATE
    line = where.read_text()
    where.unlink()
    if vendor:
        line = "root=/dev/vda1 ro\n"
        (machine / VENDOR).mkdir(parents=True)
        (machine / VENDOR / "cmdline").write_text(line)
    said = refused(machine, "kernel-cmdline-missing", "a kernel that comes gets another command line").text
    made_by = next(part for part in said.split("`") if part.endswith(f" /{TEMPLATE}"))
    here = made_by.replace(f"/{VENDOR}", shlex.quote(f"{machine}/{VENDOR}"))
    here = here.replace(f" /{TEMPLATE}", f" {shlex.quote(str(where))}")
    subprocess.run(["/bin/sh", "-c", here], check=True)
    assert where.read_text() == line
    advanced(machine)


def test_the_command_makes_the_directory_too_where_it_is_not_there(at: At) -> None:
    machine = at("with_ids-modules_loaded")
    shutil.rmtree((machine / TEMPLATE).parent)
    refused(machine, "kernel-cmdline-missing", "`mkdir -p /etc/kernel && echo 'root=")


@pytest.mark.parametrize("committed", [False, True])
def test_a_kernel_that_comes_in_the_trial_boot_has_nothing_of_ours_after_the_way_back(
    at: At, places: dict[str, Path], committed: bool
) -> None:
    machine, other = at("with_ids-modules_loaded"), at("with_ids-new")
    advanced(machine)
    for each in (machine, other):
        (each / TEMPLATE).unlink()
    reboot(machine)
    if committed:
        (machine / TEMPLATE).write_bytes((places["with_ids-new"] / TEMPLATE).read_bytes())
        advanced(machine)
        (machine / TEMPLATE).unlink()
    for each in (machine, other):
        run(each, "machine", "install-kernel", NEWER).is_(0)
    assert options(machine)[f"{NEWER}.conf"].endswith(" panic=30")
    roll_back(machine)
    assert options(machine) == options(other)


@pytest.mark.parametrize("word", [PANIC, *DRACUT_REBOOTS])
def test_the_users_own_word_stays_where_a_trial_has_it_too(at: At, word: str) -> None:
    machine = at("with_ids-modules_loaded")
    advanced(machine)
    for each in (machine / ENTRIES).glob("[!~]*.conf"):
        each.write_text(each.read_text().replace(" rhgb", f" {word} rhgb"))
    run(machine, "machine", "install-kernel", NEWER).is_(0)
    roll_back(machine)
    kept = [line for name, line in options(machine).items() if name != f"{NEWER}.conf"]
    assert kept and all(line.split().count(word) == 1 for line in kept)


@pytest.mark.parametrize("broken", [False, True])
def test_a_word_that_others_have_too_is_taken_out_only_where_it_stands_behind_our_token(at: At, broken: bool) -> None:
    machine = at("with_ids-new")
    config = machine / "etc/vfiostate.toml"
    config.write_text(f"iommu_pt = true\n{config.read_text()}")
    rescue = next((machine / ENTRIES).glob("*rescue*.conf"))
    rescue.write_text(rescue.read_text().replace(" rhgb", " iommu=pt rhgb"))
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    advanced(machine)
    reboot(machine)
    run(machine, "advance", "--until", "rebooted").is_(0)
    run(machine, "machine", "install-kernel", NEWER).is_(0)
    entry = next((machine / ENTRIES).glob(f"*{NEWER}.conf"))
    line = entry.read_text()
    assert " iommu=pt vfio-pci.ids=" in line
    entry.write_text(line.replace(" iommu=pt vfio", " iommu=pt loglevel=3 vfio") if broken else line)
    run(machine, "rollback").is_(3)
    lines = options(machine)
    assert lines["rescue"].split().count("iommu=pt") == 1
    assert not set(lines[f"{NEWER}.conf"].split()) & {"iommu=pt", IDS.replace("=", "=10de:1200,")}
    assert ("loglevel=3" in lines[f"{NEWER}.conf"]) is broken
    assert not any(has_token(line.split()) for line in lines.values())


@pytest.mark.parametrize("edited", [False, True])
def test_which_file_decides_over_kernels_to_come_stays_so_there_and_back(at: At, edited: bool) -> None:
    machine = at("with_ids-modules_loaded")
    settings, template = machine / "etc/default/grub", machine / TEMPLATE
    template.write_text(template.read_text().rstrip("\n") + " pcie_aspm=off\n")
    settings.write_text(settings.read_text().replace("quiet", "quiet loglevel=3"))
    os.utime(settings, (1e9 + edited, 1e9 + edited))
    os.utime(template, (1e9, 1e9))

    def older() -> bool:
        return template.stat().st_mtime_ns < settings.stat().st_mtime_ns

    run(machine, "advance", "--no-trial").is_(0)
    assert older() == edited and has_token(template.read_text().split()) and has_token(settings.read_text().split())
    rescued = copy(machine, machine.parent / "rescued")
    run(machine, "rollback").is_(0)
    assert older() == edited
    run(machine, "machine", "install-kernel", NEWER).is_(0)
    found = options(machine)[f"{NEWER}.conf"].split()
    assert ("loglevel=3" in found, "pcie_aspm=off" in found) == (edited, not edited)
    subprocess.run(["/bin/sh", str(rescued / "var/lib/vfiostate/restore.sh")], check=True, capture_output=True)
    settings, template = rescued / "etc/default/grub", rescued / TEMPLATE
    assert older() == edited


def test_on_rhel_8_our_words_stand_behind_those_of_the_block_and_it_is_left_alone(
    at: At, places: dict[str, Path]
) -> None:
    machine = at("rhel8-rebooted")
    assert options(machine)["6.1.0-56-amd64.conf"].startswith("options $kernelopts $tuned_params vfiostate.setup=")
    line = next(one for one in (machine / BLOCK).read_text().splitlines() if one.startswith("kernelopts="))
    assert not has_token(line.split())
    assert not has_token(options(machine)["rescue"].split())
    reboot(machine)
    assert has_token(words(machine)) and "quiet" in words(machine)
    roll_back(machine)
    assert manifest(machine) == manifest(places["rhel8-new"])


def test_where_grub_cannot_write_its_block_no_trial_is_made(at: At) -> None:
    refused(at("on_btrfs-modules_loaded"), "trial-impossible", "/boot/grub2 is on btrfs", "--no-trial")


def test_the_trial_s_entry_is_the_last_of_the_menu_whatever_the_others_are_called() -> None:
    names = [ID, "0a1b-0-rescue", "0a1b-6.5.6-300.fc39", "0a1b-6.11.0-1.fc41", "ffff-6.1-1", "custom", "1-2"]
    found = sorted((bls_entry.EntryFile(f"/x/{name}.conf", b"") for name in names), key=bls_entry.menu_key)
    assert found[0].id == ID
    order = [each.id for each in reversed(found)]
    assert order.index("0a1b-6.11.0-1.fc41") < order.index("0a1b-6.5.6-300.fc39") < order.index("0a1b-0-rescue")


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1", "2"),
        ("1.9", "1.10"),
        ("1.0", "1.0.1"),
        ("1.a", "1.1"),
        ("1.0~rc1", "1.0"),
        ("~x", ""),
        ("300.fc39", "300.fc40"),
        ("abc", "abd"),
    ],
)
def test_versions_are_in_the_order_of_rpm(older: str, newer: str) -> None:
    assert bls_entry.Version(older) < bls_entry.Version(newer)
    assert not bls_entry.Version(newer) < bls_entry.Version(older)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"title A\noptions ro quiet\ninitrd /i\n", b"title A\noptions ro quiet X\ninitrd /i\n"),
        (b"options\tro \n", b"options\tro X\n"),
        (b"options ro\r\nlinux /l\r\n", b"options ro X\r\nlinux /l\r\n"),
        (b"options a\noptions b", b"options a\noptions b X"),
        (b"linux /l\n", b"linux /l\noptions X\n"),
        (b"# options no\noptionsx\noptions ro\n", b"# options no\noptionsx\noptions ro X\n"),
    ],
)
def test_words_go_to_the_end_of_the_last_options(content: bytes, expected: bytes) -> None:
    entry = bls_entry.parse("/e.conf", content)
    assert bls_entry.site(entry).insertion(("X",)).apply(content) == expected
    assert bls_entry.parse("/e.conf", expected).options == (*entry.options, "X")


def test_the_machine_boots_by_saved_entry_and_by_the_newest_without_one(at: At) -> None:
    machine = at("with_ids-new")
    model = Machine(machine)
    newest = of(model).next(model)
    assert newest is not None and newest.release == "6.1.0-56-amd64"
    command(machine, "grub2-editenv", f"/{BLOCK}", "set", "saved_entry=1")
    chosen = of(model).next(model)
    assert chosen is not None and chosen.recovery
