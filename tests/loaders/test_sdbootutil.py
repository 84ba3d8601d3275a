"""sdbootutil: what is particular of it, beside what is promised of every boot loader and generator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.hosts.simulated.host import SimulatedHost
from steps import boot, initramfs
from steps.base import Completed
from tests.badinput.support import At, roll_back, run
from tests.field.support import KERNEL, LAB, command, has_token, made, reboot, refused, words
from tests.loaders.conftest import up_to_stubbed
from tests.loaders.systems.sdbootutil import grub, systemd_boot
from tests.support.memory_host import completed

CMDLINE = "etc/kernel/cmdline"
ESP = "boot/efi"
ENTRIES = f"{ESP}/loader/entries"
OWN, SNAPPER = (f"{ENTRIES}/opensuse-tumbleweed-{KERNEL}-{number}.conf" for number in (1, 2))
IMAGES = f"{ESP}/opensuse-tumbleweed/{KERNEL}"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`new`, `modules_loaded` and `stubbed`."""
    return up_to_stubbed(tmp_path_factory.mktemp("opensuse"), systemd_boot)


def initrd(machine: Path, entry: str) -> str:
    """The image that an entry names."""
    lines = (line.split() for line in (machine / entry).read_text().splitlines())
    return next(line[1] for line in lines if line[0] == "initrd")


def test_the_snapshots_entry_keeps_its_command_line_and_its_image(at: At, places: dict[str, Path]) -> None:
    machine = at("stubbed")
    assert has_token((machine / OWN).read_text().split())
    assert (machine / SNAPPER).read_bytes() == (places["new"] / SNAPPER).read_bytes()
    assert initrd(machine, OWN) != initrd(machine, SNAPPER) == initrd(places["new"], OWN)
    assert all((machine / ESP / initrd(machine, entry).lstrip("/")).is_file() for entry in (OWN, SNAPPER))


def test_no_image_of_ours_is_left_on_the_partition(at: At, places: dict[str, Path]) -> None:
    machine = at("stubbed")
    assert len(list((machine / IMAGES).glob("initrd-*"))) == 2
    roll_back(machine)
    now, before = ({path.name for path in (each / IMAGES).iterdir()} for each in (machine, places["new"]))
    assert now == before


def test_an_entry_that_the_user_had_made_anew_in_between_is_made_anew_without_ours(at: At) -> None:
    machine = at("stubbed")
    text = (machine / CMDLINE).read_text()
    (machine / CMDLINE).write_text(text.replace("quiet ", "quiet splash "))
    command(machine, "sdbootutil", "mkinitrd")
    reboot(machine)
    assert has_token(words(machine)) and "splash" in words(machine)
    roll_back(machine)
    assert "splash" in (machine / OWN).read_text().split() and not has_token((machine / OWN).read_text().split())


def test_a_root_that_is_a_read_only_snapshot_is_refused(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    host = SimulatedHost(at("modules_loaded"))
    ask = host.query

    def read_only(argv: Sequence[str], **more: Any) -> Completed:
        return completed(argv, "ro=true\n") if "property" in argv else ask(argv, **more)

    monkeypatch.setattr(host, "query", read_only)
    loader = boot.detect(host, "auto").loader
    assert loader is not None
    assert [each.code for each in loader.read(host, "0" * 12).findings] == ["sdbootutil-read-only"]


@pytest.mark.parametrize(
    ("path", "content", "code"),
    [
        ("etc/fstab", "overlay /etc overlay defaults 0 0\n", "sdbootutil-transactional"),
        ("etc/crypttab", "cr_root UUID=1 none tpm2-device=auto\n", "sdbootutil-predictions"),
        ("etc/kernel/tries", "3\n", "boot-counting"),
        (f"usr/lib/modules/{KERNEL}/initrd", "x", "initramfs-ready-made"),
        (CMDLINE, "quiet root=UUID=1\nsplash\n", "kernel-cmdline-lines"),
        (CMDLINE, "quiet root=UUID=1 x=a|b\n", "kernel-cmdline-special"),
        (CMDLINE, "quiet initrd=x root=UUID=1\n", "kernel-cmdline-cut"),
        (CMDLINE, "quiet splash root=UUID=1\n", "entry-not-from-cmdline"),
    ],
)
def test_what_sdbootutil_would_not_do_as_meant_is_refused_by_name(at: At, path: str, content: str, code: str) -> None:
    machine = at("modules_loaded")
    (machine / path).write_text(content)
    refused(machine, code)


def test_a_root_that_is_no_snapshot_is_refused_since_sdbootutil_would_find_nothing_and_say_nothing(at: At) -> None:
    machine = at("modules_loaded")
    (machine / ".snapshots").rmdir()
    refused(machine, "sdbootutil-without-snapshots", "btrfs subvolume show /")


def test_an_entry_of_another_name_is_refused_since_another_would_be_made_beside_it(at: At) -> None:
    machine = at("modules_loaded")
    (machine / OWN).rename(machine / ENTRIES / "mine.conf")
    refused(machine, "entry-not-of-sdbootutil", "mine.conf")


def test_a_partition_without_this_snapshots_entries_is_refused(at: At) -> None:
    machine = at("modules_loaded")
    (machine / OWN).unlink()
    refused(machine, "no-boot-entry-of-this-snapshot", "sdbootutil add-all-kernels")


def test_a_full_partition_is_refused_before_sdbootutil_makes_room_by_removing_entries(at: At) -> None:
    host = SimulatedHost(at("modules_loaded"))
    found = initramfs.detect(host).generator
    assert found is not None and found.name == "sdbootutil"
    host.free = lambda path: 1  # type: ignore[method-assign]
    assert [each.code for each in found.read(host, KERNEL, look=False).findings] == ["boot-partition-full"]


def test_grub_takes_the_default_that_sdbootutil_put_into_its_environment_block(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", *LAB, change=grub)
    run(machine, "machine", "install-kernel", "6.99.0-1-amd64").is_(0)
    host = SimulatedHost(machine)
    loader = boot.detect(host, "auto").loader
    assert loader is not None
    first = loader.read(host, "0" * 12).default
    assert first is not None and first.release == "6.99.0-1-amd64"
    older = f"system-opensuse-tumbleweed-{KERNEL}-1.conf"
    (machine / "boot/efi/EFI/opensuse/grubenv").write_text(f"# GRUB Environment Block\ndefault={older}\n###")
    chosen = loader.read(host, "0" * 12).default
    assert chosen is not None and chosen.release == KERNEL
    reboot(machine)
    assert (machine / "proc/sys/kernel/osrelease").read_text().strip() == KERNEL
