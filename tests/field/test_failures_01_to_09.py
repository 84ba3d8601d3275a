"""What goes wrong for people, most reported first: the first nine, driven through the command line.

1  does not boot, black screen    prevented  a trial boot comes first: one that hangs is followed by the old line
                                             (tests/trial). The recovery entries keep it, restore.sh works without us,
                                             the card that the host boots on is refused
2  GRUB file destroyed            prevented  the before-image is kept before the edit: back byte for byte
3  single quotes not edited       prevented  every form of sh is edited (all of them: tests/boot/test_grub_forms.py)
4  substring "already there"      prevented  words are compared as the kernel and kmod read them
5  regeneration fails             prevented  the step is taken back, byte for byte
                                             (missing, hanging, lying commands: tests/badinput/test_commands.py)
6  wrong boot loader edited       named      the loader is found by evidence; one we do not drive is refused
7  wrong grub.cfg written         prevented  only update-grub's own is made; named where another one is booted
8  BLS ignores /etc/default/grub  named      refused, with the command that does it there
9  kernel upgrade before reboot   prevented  the new kernel's entries and image have it all; else it is not made to
                                             boot so. That it was not tried is named
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.base import State
from tests.badinput.support import GRUB, At, copy, manifest, roll_back, run, state, unchanged
from tests.field.support import (
    CFG,
    CONF,
    GRUBENV,
    IDS,
    KERNEL,
    NATIVE,
    STUBBED,
    advanced,
    command,
    drivers,
    has_token,
    image,
    reboot,
    refused,
    replaced,
    untried,
    words,
)

# Each id in it begins with one of ours.
LONGER = "vfio-pci.ids=1234:11110,8086:26680,1b36:000d0"
NEWER = "6.1.0-99-amd64"
On = Callable[..., Path]


def test_01_a_boot_that_fails_leaves_a_way_out_in_the_menu_and_without_us(at: At, stages: dict[State, Path]) -> None:
    run(at("modules_loaded"), "plan").is_(0, "trial boot: the next boot, and only that one, has the new command line")
    machine = at("rebooted")
    assert has_token((machine / CFG).read_text().split())
    reboot(machine, "recovery")
    assert not has_token(words(machine))
    assert drivers(machine) == NATIVE
    script = machine / "var/lib/vfiostate/restore.sh"
    subprocess.run(["/bin/sh", str(script)], check=True, capture_output=True, env={"PATH": "/usr/bin:/bin"})
    assert manifest(machine) == manifest(stages[State.NEW])


def test_01_a_boot_that_hangs_is_followed_by_the_old_command_line_without_help(at: At) -> None:
    machine = at("stubbed")
    run(machine, "machine", "reboot", "--fails").is_(0)
    assert not has_token(words(machine))
    assert drivers(machine) == NATIVE
    refused(machine, "trial-failed", "The trial boot failed", "vfiostate advance --again", "rollback")
    reboot(machine)
    assert not has_token(words(machine))


def test_01_the_card_that_the_host_shows_its_screen_on_is_refused(on: On) -> None:
    machine = on("article", "--device=01:00.0", "--device=01:00.1", "--stub=pci-stub", "--no-guest")
    refused(machine, "boot-vga", "0000:01:00.0", "its console goes dark", "boot_vga: 1", "[allow] boot_vga")


def test_02_a_grub_file_that_was_destroyed_is_named_and_comes_back_from_its_before_image(
    at: At, stages: dict[State, Path]
) -> None:
    machine = at("rebooted")
    for name in (GRUB, CFG):
        (machine / name).write_bytes(b"\0\0\0")
    run(machine, "status").is_(4, "/etc/default/grub: changed since we wrote it")
    # Somebody's own file is kept by `rollback`; who wants the old one back has the script.
    run(copy(machine, machine.parent / "other"), "rollback").is_(3, "differs:   /etc/default/grub: content")
    script = machine / "var/lib/vfiostate/restore.sh"
    subprocess.run(["/bin/sh", str(script)], check=True, capture_output=True, env={"PATH": "/usr/bin:/bin"})
    assert manifest(machine) == manifest(stages[State.NEW])


def test_03_a_value_in_single_quotes_is_edited_and_comes_back(at: At) -> None:
    machine = at("modules_loaded")
    before = replaced(machine / GRUB, '"quiet"', "'quiet splash'  # mine")
    command(machine, "update-grub")
    advanced(machine)
    reboot(machine)
    advanced(machine)
    setup = next(word for word in (machine / CFG).read_text().split() if word.startswith("vfiostate.setup="))
    assert (machine / GRUB).read_bytes() == before.replace(b"splash'", f"splash {setup} {IDS}'".encode())
    assert f"quiet splash {setup} {IDS}" in (machine / CFG).read_text()
    roll_back(machine)
    assert (machine / GRUB).read_bytes() == before


def test_04_what_only_looks_like_it_does_not_count_as_configured(at: At) -> None:
    machine = at("checked")
    (machine / "etc/modules").write_text("# vfio vfio_pci\nvfio_pci_core\n#vfio_iommu_type1\n")
    (machine / "etc/initramfs-tools/modules").write_text("# vfio_pci\nxvfio_pci\n")
    replaced(machine / GRUB, '"quiet"', f'"quiet x{IDS} {LONGER} novfiostate.setup=1"')
    with (machine / GRUB).open("a") as stream:
        stream.write(f'#GRUB_CMDLINE_LINUX_DEFAULT="{IDS}"\n')
    command(machine, "update-grub")
    run(machine, "advance", "--until", "stubbed").is_(0)
    listed = (machine / "etc/modules").read_text().splitlines()
    assert listed[:3] == ["# vfio vfio_pci", "vfio_pci_core", "#vfio_iommu_type1"]
    assert {"vfio", "vfio_pci", "vfio_iommu_type1"} <= set(listed[3:])
    assert {"vfio", "vfio_pci"} <= image(machine).modules
    assert "vfio_pci" in (machine / "etc/initramfs-tools/modules").read_text().split()
    reboot(machine)
    merged = f"{LONGER},{IDS.partition('=')[2]}"
    assert {f"x{IDS}", "novfiostate.setup=1", LONGER, merged} <= set(words(machine)) and has_token(words(machine))
    assert drivers(machine) == STUBBED


def test_05_when_regeneration_fails_no_edit_stays(at: At) -> None:
    machine = at("modules_loaded")
    broken = machine / "etc/grub.d/41_mine"
    broken.write_text("#!/bin/sh\necho 41_mine: no such theme >&2\nexit 1\n")
    broken.chmod(0o755)
    with unchanged(machine):
        run(machine, "advance").is_(1, "update-grub", "41_mine: no such theme").with_hint()
    assert state(machine) == "modules_loaded"
    broken.unlink()
    advanced(machine)


@pytest.mark.parametrize(
    ("trace", "loader", "way"),
    [
        ("etc/default/limine", "limine-entry-tool", "limine-update"),
    ],
)
def test_06_where_another_boot_loader_rules_grub_is_not_edited(at: At, trace: str, loader: str, way: str) -> None:
    machine = at("new")
    (machine / trace).parent.mkdir(parents=True, exist_ok=True)
    (machine / trace).write_text('KERNEL_CMDLINE[default]="x"\n')
    refused(machine, "boot-loader-unsupported", f"boots through {loader}", f"/{trace} holds", way)


@pytest.mark.parametrize(
    ("trace", "code"),
    [
        ("etc/kernelstub/configuration", "kernelstub-configuration-unreadable"),
        ("boot/efi/EFI/x/installed_by_sdbootutil", "sdbootutil-missing"),
        ("etc/NIXOS", "generation-unreadable"),
        ("run/ostree-booted", "deployments-unreadable"),
    ],
)
def test_06_where_another_one_rules_and_does_not_answer_grub_is_not_edited_instead(
    at: At, trace: str, code: str
) -> None:
    machine = at("modules_loaded")
    (machine / trace).parent.mkdir(parents=True, exist_ok=True)
    (machine / trace).write_text("x\n")
    refused(machine, code)


def test_07_only_the_grub_cfg_that_update_grub_writes_is_made_anew(at: At) -> None:
    machine = at("modules_loaded")
    others = {
        "boot/efi/EFI/debian/grub.cfg": "search.fs_uuid 0 root\nconfigfile ($root)/boot/grub/grub.cfg\n",
        "boot/grub2/grub.cfg": "menuentry 'stale' {\n\tlinux /boot/vmlinuz-1 ro\n}\n",
    }
    for name, text in others.items():
        (machine / name).parent.mkdir(parents=True)
        (machine / name).write_text(text)
    advanced(machine)
    assert {name: (machine / name).read_text() for name in others} == others
    assert has_token((machine / CFG).read_text().split())


def test_07_a_boot_through_another_grub_cfg_is_named(at: At) -> None:
    machine = at("stubbed")
    block = (machine / GRUBENV).read_bytes()
    assert b"next_entry=vfiostate-trial" in block
    (machine / GRUBENV).unlink()
    reboot(machine)
    (machine / GRUBENV).write_bytes(block)
    refused(machine, "trial-not-taken", "has not looked at what grub was told", "Another boot loader, or another copy")


def test_07_without_a_trial_a_boot_through_another_grub_cfg_is_named(at: At, stages: dict[State, Path]) -> None:
    machine = untried(at)
    written = (machine / CFG).read_bytes()
    (machine / CFG).write_bytes((stages[State.NEW] / CFG).read_bytes())
    reboot(machine)
    (machine / CFG).write_bytes(written)
    where = "/boot/grub/grub.cfg"
    refused(machine, "token-missing", f"the default entry of {where} have them", f"another {where} is used")


def test_08_boot_loader_entries_that_ignore_the_grub_file_are_named(at: At) -> None:
    machine = at("modules_loaded")
    with (machine / GRUB).open("a") as stream:
        stream.write("GRUB_ENABLE_BLSCFG=true\n")
    refused(machine, "bls-entries-missing", "/boot/loader/entries has no entry", "kernel-install add")


def test_09_a_kernel_upgraded_before_the_trial_boot_has_it_all_and_is_named_as_not_tried(at: At) -> None:
    machine = at("stubbed")
    run(machine, "machine", "install-kernel", NEWER).is_(0)
    assert CONF in image(machine, NEWER).files
    reboot(machine)
    advanced(machine, f"The default entry boots {NEWER}; the trial was made with {KERNEL}.", "Reboot once more now")
    reboot(machine)
    assert words(machine)[0].endswith(NEWER) and has_token(words(machine))
    assert drivers(machine) == STUBBED


def test_09_a_new_kernel_whose_image_was_built_without_us_does_not_get_our_words(at: At) -> None:
    machine = at("stubbed")
    ours = (machine / CONF).read_bytes()
    (machine / CONF).unlink()
    run(machine, "machine", "install-kernel", NEWER).is_(0)
    (machine / CONF).write_bytes(ours)
    reboot(machine)
    refused(machine, "initramfs-incomplete", f"initrd.img-{NEWER} lacks", "update-initramfs -u -k all")
    command(machine, "update-initramfs", "-u", "-k", NEWER)
    advanced(machine, f"The default entry boots {NEWER}")


def test_09_without_a_trial_a_kernel_upgraded_before_the_reboot_has_it_all(at: At) -> None:
    machine = untried(at)
    run(machine, "machine", "install-kernel", NEWER).is_(0)
    assert CONF in image(machine, NEWER).files
    reboot(machine)
    advanced(machine, "Another kernel was booted", NEWER, "Nothing is to be done: it is the default one now.")
    assert has_token(words(machine))
    assert drivers(machine) == STUBBED


def test_09_without_a_trial_an_upgrade_that_left_our_words_behind_is_named(at: At, stages: dict[State, Path]) -> None:
    machine = untried(at)
    ours = (machine / GRUB).read_bytes()
    (machine / GRUB).write_bytes((stages[State.NEW] / GRUB).read_bytes())
    run(machine, "machine", "install-kernel", NEWER).is_(0)
    (machine / GRUB).write_bytes(ours)
    reboot(machine)
    refused(machine, "other-kernel-booted", f"planned for {KERNEL}", f"running {NEWER}", "It lacks our words")
