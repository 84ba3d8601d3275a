"""A kernel that is removed while a setup stands, as every upgrade does some day: both ways stay open."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.hosts.simulated.host import SimulatedHost
from tests.badinput.support import roll_back, run
from tests.field.support import LAB, Description, has_token, made, reboot, words
from tests.initramfs.systems import booster, mkinitcpio
from tests.loaders.systems import bls, systemd_boot
from tests.loaders.test_systemd_boot_machine import by_dracut, without_hook

OLD, RELEASE, LATER = "6.0.0-1-amd64", "6.1.0-56-amd64", "6.1.0-99-amd64"


def unified(description: Description) -> None:
    """One file a kernel, which holds its command line."""
    without_hook(description)
    description["files"]["/etc/kernel/install.conf"] = {"text": "layout=uki\n"}


def plain(description: Description) -> None:
    """GRUB and initramfs-tools, whose one command makes the images of all kernels."""


def by_mkinitcpio(description: Description) -> None:
    """GRUB and mkinitcpio, which has a preset for each kernel, and a second image for each."""
    mkinitcpio.SYSTEMS[0].change(description)


def by_booster(description: Description) -> None:
    """GRUB and booster."""
    booster.SYSTEMS[0].change(description)


def remove(machine: Path, release: str = OLD) -> None:
    """What the removal of its package does: the entry, the kernel with its image and its preset, and its modules but
    what others built for it."""
    host = SimulatedHost(machine)
    if host.which("kernel-install") is not None:
        assert host.run(("kernel-install", "remove", release), timeout=10.0).status == 0
    for place in ("boot", "etc/mkinitcpio.d"):
        for path in (machine / place).glob(f"*{release}*"):
            path.unlink()
    modules = machine / f"lib/modules/{release}"
    shutil.rmtree(modules)
    (modules / "updates/dkms").mkdir(parents=True)
    if host.which("update-grub") is not None:
        assert host.run(("update-grub",), timeout=10.0).status == 0


WAYS: list[Callable[[Description], None]] = [
    plain,
    systemd_boot.type1,
    without_hook,
    unified,
    by_dracut,
    by_mkinitcpio,
    by_booster,
]


def _ours(machine: Path) -> list[str]:
    entries = machine / "boot/efi/loader/entries"
    images = machine / "boot/efi/EFI/Linux"
    found = [path for folder in (entries, images) if folder.is_dir() for path in folder.iterdir()]
    return [path.name for path in found if b"vfiostate.setup" in path.read_bytes()]


def _bound(machine: Path) -> None:
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    run(machine, "advance", "--until", "bound").is_(0)


def _replaced(machine: Path) -> None:
    """The kernel of before is gone, and a later one runs."""
    run(machine, "machine", "install-kernel", LATER).is_(0)
    reboot(machine)
    remove(machine, RELEASE)


def _restored(machine: Path) -> subprocess.CompletedProcess[str]:
    script = machine / "var/lib/vfiostate/restore.sh"
    return subprocess.run(["sh", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("way", WAYS)
def test_one_that_came_after_the_edit_and_went_again_does_not_bar_the_way_back(
    tmp_path: Path, way: Callable[[Description], None]
) -> None:
    machine = made(tmp_path, "debian12-lab", *LAB, change=way)
    run(machine, "advance", "--until", "stubbed").is_(0)
    run(machine, "machine", "install-kernel", OLD).is_(0)
    reboot(machine)
    run(machine, "advance", "--until", "bound").is_(0)
    remove(machine)
    run(machine, "audit").is_(0)
    roll_back(machine)
    assert not _ours(machine)
    reboot(machine)
    assert not has_token(words(machine))


@pytest.mark.parametrize("way", WAYS)
def test_one_of_before_the_edit_bars_neither_way(tmp_path: Path, way: Callable[[Description], None]) -> None:
    machine = made(tmp_path, "debian12-lab", *LAB, change=way)
    run(machine, "machine", "install-kernel", OLD).is_(0)
    run(machine, "advance", "--until", "stubbed").is_(0)
    remove(machine)
    asked = run(machine, "advance").is_(3)
    assert "is gone" not in asked.err
    reboot(machine)
    run(machine, "advance", "--until", "bound").is_(0)
    roll_back(machine)
    assert not _ours(machine)
    reboot(machine)
    assert not has_token(words(machine))


def test_audit_says_with_what_an_image_went(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", *LAB, change=plain)
    run(machine, "machine", "install-kernel", OLD).is_(0)
    run(machine, "advance", "--until", "stubbed").is_(0)
    remove(machine)
    told = run(machine, "audit").is_(0).out
    assert f"/boot/initrd.img-{OLD}: it is gone, with the kernel it was made for" in told


def test_an_image_that_its_preset_makes_no_more_is_not_missed(tmp_path: Path) -> None:
    """As on Arch, where the fallback image is given up to save space on /boot."""
    machine = made(tmp_path, "debian12-lab", *LAB, change=by_mkinitcpio)
    run(machine, "advance", "--until", "stubbed").is_(0)
    (preset,) = (machine / "etc/mkinitcpio.d").glob("*.preset")
    preset.write_text(preset.read_text().replace("'fallback'", ""))
    (fallback,) = (machine / "boot").glob("*fallback*")
    fallback.unlink()
    told = run(machine, "audit").is_(0).out
    assert f"/boot/{fallback.name}: it is gone, and /etc/mkinitcpio.d/{preset.name} makes it no more" in told
    run(machine, "advance").is_(3)
    reboot(machine)
    run(machine, "advance", "--until", "bound").is_(0)
    roll_back(machine)


@pytest.mark.parametrize("way", WAYS)
def test_the_only_kernel_of_before_replaced_by_another_leaves_nothing_of_ours(
    tmp_path: Path, way: Callable[[Description], None]
) -> None:
    machine = made(tmp_path, "debian12-lab", *LAB, change=way)
    _bound(machine)
    _replaced(machine)
    roll_back(machine)
    assert not _ours(machine)
    reboot(machine)
    assert not has_token(words(machine))


@pytest.mark.parametrize("way", WAYS)
def test_restore_sh_puts_back_no_menu_of_a_kernel_that_is_gone(
    tmp_path: Path, way: Callable[[Description], None]
) -> None:
    """What would boot nothing is left as it is, and the commands are named that make it of the files as they were."""
    machine = made(tmp_path, "debian12-lab", *LAB, change=way)
    _bound(machine)
    _replaced(machine)
    done = _restored(machine)
    reboot(machine)
    assert LATER in (machine / "proc/sys/kernel/osrelease").read_text()
    if way is plain:
        assert done.returncode == 1 and "All other files are as they were" in done.stdout
        assert "what was there before may boot nothing: /boot/grub/grub.cfg\n" in done.stderr
        host = SimulatedHost(machine)
        named = [line.split() for line in done.stdout.splitlines() if line.startswith("  ")]
        assert named == [["update-initramfs", "-u", "-k", "all"], ["update-grub"]]
        assert all(host.run(argv, timeout=10.0).ok for argv in named)
        reboot(machine)
        assert not has_token(words(machine))


@pytest.mark.parametrize("since", ["nothing", "made anew", "upgraded"])
def test_restore_sh_leaves_an_image_that_was_made_for_another_kernel_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, since: str
) -> None:
    """As on Arch, where an upgrade makes /boot/initramfs-linux.img anew, and takes away what the old one would load.

    What was made anew for the same kernel, as Debian's packages do time and again, is put back as it was.
    """
    upgraded = since == "upgraded"
    monkeypatch.setattr("engine.images.BLOB_LIMIT", 1024)  # an image is larger, an environment block is not
    machine = made(tmp_path, "debian12-lab", *LAB, change=by_mkinitcpio)
    image = machine / f"boot/initramfs-{RELEASE}.img"
    before = image.read_bytes()
    _bound(machine)
    assert image.read_bytes() != before
    if since != "nothing":
        image.write_bytes(b"made anew")
    if upgraded:
        shutil.rmtree(machine / "lib/modules" / RELEASE)
    done = _restored(machine)
    assert done.returncode == upgraded
    assert image.read_bytes() == (b"made anew" if upgraded else before)
    assert ("\n  mkinitcpio -P\n" in done.stdout) is upgraded
    assert (f"may boot nothing: /boot/{image.name}\n" in done.stderr) is upgraded


@pytest.mark.parametrize("way", [*WAYS, bls.fedora])
def test_restore_sh_leaves_our_words_to_no_kernel_that_came_since_or_says_where(
    tmp_path: Path, way: Callable[[Description], None]
) -> None:
    """Its entry was made with the command line that was ours then, and there is no before-image of it."""
    machine = made(tmp_path, "debian12-lab", *LAB, change=way)
    _bound(machine)
    run(machine, "machine", "install-kernel", LATER).is_(0)
    done = _restored(machine)
    reboot(machine)
    told = "still on the command line of: /boot/efi/EFI/Linux/" in done.stderr
    assert told == has_token(words(machine)) == bool(done.returncode) == (way is unified)
    assert not list((machine / "boot").rglob("*.vfiostate-tmp"))
