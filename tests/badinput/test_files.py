"""Files that are missing, unreadable, binary, of Windows, or no files: refused before any change, or survived."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from journal.events import Kind
from tests.badinput.support import (
    CONFIG,
    GRUB,
    JOURNAL,
    At,
    last,
    manifest,
    roll_back,
    run,
    state,
    unchanged,
    without_rights,
)

MODULES = "etc/modules"
INITRAMFS = "etc/initramfs-tools/modules"
BINARY = b"\x7fELF\0\0\xff\xfe\n" * 20
# The file a step edits, and the state in which that step comes next.
EDITED = {GRUB: "modules_loaded", INITRAMFS: "modules_loaded", MODULES: "checked"}


@pytest.mark.parametrize(("file", "stage"), EDITED.items())
def test_a_binary_file_is_refused_and_left_alone(at: At, file: str, stage: str) -> None:
    machine = at(stage)
    (machine / file).write_bytes(BINARY)
    with unchanged(machine):
        run(machine, "advance").is_(5, f"/{file}").with_hint()
    assert f"/{file}" in str(last(machine, Kind.STEP_REFUSED).data)


@pytest.mark.parametrize(("file", "stage"), EDITED.items())
def test_a_file_that_cannot_be_read_is_refused_and_left_alone(at: At, file: str, stage: str) -> None:
    machine = at(stage)
    (machine / file).chmod(0)
    with_rights = run(machine, "status").is_(0)
    assert "drift" in with_rights.out
    answer = run(machine, "advance", prepare=without_rights).is_(5, f"/{file}", "Permission denied").with_hint()
    assert "sudo" not in answer.err, "it was root who ran it"
    (machine / file).chmod(0o644)
    assert f"/{file}" in str(last(machine, Kind.STEP_REFUSED).data)
    assert state(machine) == stage


@pytest.mark.parametrize(("file", "stage"), EDITED.items())
def test_a_directory_in_the_place_of_a_file_is_refused(at: At, file: str, stage: str) -> None:
    machine = at(stage)
    (machine / file).unlink()
    (machine / file).mkdir()
    with unchanged(machine):
        run(machine, "advance").is_(5, f"/{file}").with_hint()
    assert state(machine) == stage


def test_a_missing_grub_file_is_refused(loaded: Path) -> None:
    (loaded / GRUB).unlink()
    with unchanged(loaded):
        run(loaded, "advance").is_(5, "/etc/default/grub", "not there").with_hint()
    assert "/etc/default/grub" in str(last(loaded, Kind.STEP_REFUSED).data)


@pytest.mark.parametrize(("file", "stage"), [(INITRAMFS, "modules_loaded"), (MODULES, "checked")])
def test_a_missing_list_is_made_and_goes_again(at: At, file: str, stage: str) -> None:
    machine = at(stage)
    (machine / file).unlink()
    run(machine, "advance").is_(0)
    assert (machine / file).exists()
    run(machine, "rollback", "--to", stage).is_(0)
    assert not (machine / file).exists()


@pytest.mark.parametrize(("file", "stage"), [(INITRAMFS, "modules_loaded"), (MODULES, "checked")])
def test_windows_line_ends_survive_there_and_back(at: At, file: str, stage: str) -> None:
    machine = at(stage)
    content = (machine / file).read_bytes().replace(b"\n", b"\r\n")
    (machine / file).write_bytes(content)
    before = manifest(machine)
    run(machine, "advance").is_(0)
    assert (machine / file).read_bytes() != content
    run(machine, "rollback", "--to", stage).is_(0)
    assert manifest(machine) == before


def test_a_grub_file_with_windows_line_ends_is_refused_or_survives(loaded: Path) -> None:
    content = (loaded / GRUB).read_bytes().replace(b"\n", b"\r\n")
    (loaded / GRUB).write_bytes(content)
    before = manifest(loaded)
    answer = run(loaded, "advance")
    if answer.code == 0:
        run(loaded, "rollback", "--to", "modules_loaded").is_(0)
    else:
        answer.is_(5, "CRLF").with_hint()
    assert manifest(loaded) == before


def test_a_grub_file_that_is_no_shell_script_is_refused(loaded: Path) -> None:
    with (loaded / GRUB).open("ab") as stream:
        stream.write(b'GRUB_CMDLINE_LINUX_DEFAULT="quiet\n')
    with unchanged(loaded):
        run(loaded, "advance").is_(5, "/etc/default/grub").with_hint()


def test_a_grub_file_that_is_not_utf8_survives_there_and_back(loaded: Path) -> None:
    with (loaded / GRUB).open("ab") as stream:
        stream.write(b"# Gr\xfc\xdfe von fr\xfcher\n")
    before = manifest(loaded)
    run(loaded, "advance").is_(0)
    run(loaded, "rollback", "--to", "modules_loaded").is_(0)
    assert manifest(loaded) == before


@pytest.mark.parametrize("file", ["boot/grub/grub.cfg", "boot/initrd.img-6.1.0-56-amd64"])
def test_a_generated_file_that_is_missing_or_rubbish_does_not_stop_the_way_back(loaded: Path, file: str) -> None:
    (loaded / file).chmod(0o644)
    (loaded / file).write_bytes(BINARY)
    before = manifest(loaded)
    answer = run(loaded, "advance")
    if answer.code == 0:
        run(loaded, "rollback", "--to", "modules_loaded").is_(0)
    else:
        answer.is_(5).with_hint()
    assert manifest(loaded) == before


def test_a_start_script_of_windows_or_rubbish_is_not_made_worse(at: At) -> None:
    # A host without systemd: the binding is made permanent by a line of rc.local.
    machine = at("rebooted")
    (machine / "etc/rc.local").write_bytes(b"#!/bin/sh -e\r\nexit 0\r\n")
    before = manifest(machine)
    run(machine, "advance").is_(0)
    run(machine, "rollback", "--to", "rebooted").is_(0)
    assert manifest(machine) == before


# --- the configuration


def test_without_a_configuration_it_says_how_to_write_one(new: Path) -> None:
    (new / CONFIG).unlink()
    with unchanged(new):
        run(new, "advance").is_(64, "/etc/vfiostate.toml does not exist", "vfiostate init").with_hint()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BINARY, "line 1"),
        (b"", "devices"),
        (b"devices = 3\n", "line 1"),
        (b"[devices\n", "line 1"),
        (b"stubb = 'vfio-pci'\n", "stub"),
        (b"\0" * 100, "/etc/vfiostate.toml"),
        (b"a" * 2_000_000, "2000000 bytes"),
        (b"x = " + b"[" * 5000, "/etc/vfiostate.toml"),
    ],
)
def test_a_configuration_that_is_none_is_refused(new: Path, content: bytes, words: str) -> None:
    (new / CONFIG).write_bytes(content)
    with unchanged(new):
        run(new, "advance").is_(64, words)
        run(new, "plan").is_(64, words)
    assert not (new / "var/lib/vfiostate/restore.sh").exists()


def test_a_configuration_of_windows_is_understood(new: Path) -> None:
    content = (new / CONFIG).read_bytes()
    (new / CONFIG).write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    run(new, "advance").is_(0)


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_one(new: Path) -> None:
    content = (new / CONFIG).read_text()
    (new / CONFIG).write_text("iommu_ptt = true\n" + content)
    with unchanged(new):
        run(new, "advance").is_(64, "line 1", "iommu_ptt", "iommu_pt")


def test_a_configuration_that_cannot_be_read_is_refused_at_every_command(new: Path) -> None:
    (new / CONFIG).chmod(0)
    for argv in (("advance",), ("plan",)):
        run(new, *argv, prepare=without_rights).is_(64, "cannot be read", "Permission denied")


@pytest.mark.parametrize(("mode", "place"), [(0o666, CONFIG), (0o664, CONFIG), (0o777, "etc")])
def test_a_configuration_that_others_may_write_is_refused(new: Path, mode: int, place: str) -> None:
    (new / place).chmod(mode)
    with unchanged(new):
        run(new, "advance").is_(64, "could have been written by others", "chmod go-w").with_hint()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_configuration_that_belongs_to_another_user_is_refused(new: Path) -> None:
    os.chown(new / CONFIG, 12345, 12345)
    run(new, "advance").is_(64, "belongs to uid 12345").with_hint()


def test_a_configuration_changed_after_the_check_is_noticed_and_changed_back_is_well(loaded: Path) -> None:
    content = (loaded / CONFIG).read_text()
    (loaded / CONFIG).write_text(content.replace("1b36:000d", "1b36:000e"))
    with unchanged(loaded):
        run(loaded, "advance").is_(5, "The configuration changed after `checked`", "devices").with_hint()
    assert "The configuration changed" in str(last(loaded, Kind.STEP_REFUSED).data)
    (loaded / CONFIG).write_text("# a comment\n" + content)
    run(loaded, "advance").is_(0)


@pytest.mark.parametrize("content", [None, BINARY])
def test_a_configuration_that_was_deleted_or_spoilt_keeps_nobody_from_the_way_back(
    at: At, content: bytes | None
) -> None:
    machine = at("stubbed")
    if content is None:
        (machine / CONFIG).unlink()
    else:
        (machine / CONFIG).write_bytes(content)
    run(machine, "status").is_(0, "stubbed")
    run(machine, "journal", "show").is_(0)
    roll_back(machine)
    assert b"vfiostate" not in (machine / GRUB).read_bytes()


def test_nothing_is_left_of_a_first_run_that_was_refused(new: Path) -> None:
    (new / CONFIG).write_text("devices = []\n")
    run(new, "advance").is_(64)
    assert not (new / JOURNAL).exists() or run(new, "journal", "verify").is_(0)
