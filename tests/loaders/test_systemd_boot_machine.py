"""systemd-boot on the simulated machine: the ways of setting it up that the contract does not go, and its doubles."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.hosts.simulated import firmware, loaders
from engine.hosts.simulated.boot import Entry
from engine.hosts.simulated.host import SimulatedHost
from engine.hosts.simulated.loaders.systemd_boot import HOOKS
from engine.hosts.simulated.machine import Machine
from steps.boot.systemd_boot_trial import ID as TRIAL
from tests.badinput.support import copy, manifest, roll_back, run
from tests.field.support import LAB, NATIVE, STUBBED, Description, drivers, has_token, made, reboot, refused, words
from tests.loaders.systems import systemd_boot
from tests.loaders.systems.systemd_boot import LINE

RELEASE, LATER = "6.1.0-56-amd64", "6.1.0-99-amd64"
INITRD = f"initrd.img-{RELEASE}"
PLUGIN = Path("/usr/lib/kernel/install.d/90-loaderentry.install")
ARCH = f"title Mine\nlinux /vmlinuz-{RELEASE}\ninitrd /initrd.img-{RELEASE}\noptions {LINE}\n"
FALLBACK = ARCH.replace("Mine", "Mine (fallback)")
FOREIGN = f"title Other\nmachine-id {'f' * 32}\nlinux /vmlinuz-{RELEASE}\noptions root=/dev/sdb1\n"
ENTRIES = {"mine.conf": ARCH, "mine-fallback.conf": FALLBACK, "other.conf": FOREIGN}


def by_hand(description: Description) -> None:
    """The partition is /boot, and a person wrote the entries."""
    systemd_boot.without_grub(description)
    description["mounts"][-1]["target"] = "/boot"
    description["commands"].remove("/usr/bin/kernel-install")
    del description["files"]["/etc/kernel/cmdline"]
    description["files"]["/boot/loader/loader.conf"] = {"text": "default mine.conf\n"}
    for name, text in ENTRIES.items():
        description["files"][f"/boot/loader/entries/{name}"] = {"text": text}


def named_after_the_machine(description: Description) -> None:
    """Without a token of its own: kernel-install puts the machine's id behind every command line."""
    systemd_boot.without_grub(description)


def without_hook(description: Description) -> None:
    """No hook of Debian's: a rebuild of the initramfs does not reach the partition by itself."""
    systemd_boot.type1(description)
    description["distribution"] = "Another"


def by_dracut(description: Description) -> None:
    """Debian's dracut, which left to itself puts an image where no entry looks."""
    named_after_the_machine(description)
    description["initramfs"] = "dracut-debian"
    tools = ("update-initramfs", "lsinitramfs", "mkinitramfs")
    description["commands"] = [path for path in description["commands"] if path.rpartition("/")[2] not in tools]
    description["commands"] += ["/usr/bin/dracut", "/usr/bin/lsinitrd"]


def _there_and_back(tmp_path: Path, change: Callable[[Description], None]) -> tuple[Path, Path]:
    machine = made(tmp_path, "debian12-lab", *LAB, change=change)
    before = copy(machine, tmp_path / "before")
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    assert words(machine)[-1] == "panic=30" and drivers(machine) == STUBBED
    run(machine, "advance", "--until", "bound").is_(0)
    run(machine, "audit").is_(0)
    reboot(machine)
    assert has_token(words(machine)) and "panic=30" not in words(machine)
    assert drivers(machine) == STUBBED
    bound = copy(machine, tmp_path / "bound")
    roll_back(machine)
    assert manifest(machine) == manifest(before)
    reboot(machine)
    assert words(machine) == words(before) and drivers(machine) == NATIVE
    return before, bound


def test_with_dracut_the_image_that_the_entry_names_is_the_one_that_is_rebuilt(tmp_path: Path) -> None:
    before, bound = _there_and_back(tmp_path, by_dracut)
    token = (before / "etc/machine-id").read_text().strip()
    folder = f"boot/efi/{token}/{RELEASE}"
    assert not (bound / folder / "initrd").exists()
    (image,) = (bound / folder).glob("initrd*")
    assert image.read_bytes() == (bound / f"boot/initrd.img-{RELEASE}").read_bytes()
    assert image.read_bytes() != (before / folder / image.name).read_bytes()


def test_entries_that_a_person_wrote_are_edited_and_put_back_and_the_others_left_alone(tmp_path: Path) -> None:
    _, bound = _there_and_back(tmp_path, by_hand)
    folder = bound / "boot/loader/entries"
    assert sorted(path.name for path in folder.iterdir()) == sorted(ENTRIES)
    assert "vfiostate.setup=" in (folder / "mine.conf").read_text()
    for name in ("mine-fallback.conf", "other.conf"):
        assert (folder / name).read_text() == ENTRIES[name]


def test_an_entry_named_after_the_machine_keeps_the_machines_id_behind_our_words(tmp_path: Path) -> None:
    before, bound = _there_and_back(tmp_path, named_after_the_machine)
    ident = (before / "etc/machine-id").read_text().strip()
    assert words(before)[-1] == words(bound)[-1] == f"systemd.machine_id={ident}"
    assert (bound / "etc/kernel/cmdline").read_text().startswith(f"{LINE} vfiostate.setup=")


def test_without_a_hook_the_new_initramfs_still_comes_to_where_the_loader_finds_it(tmp_path: Path) -> None:
    _, bound = _there_and_back(tmp_path, without_hook)
    copied = bound / f"boot/efi/debian/{RELEASE}/initrd.img-{RELEASE}"
    assert copied.read_bytes() == (bound / f"boot/initrd.img-{RELEASE}").read_bytes()
    assert not (bound / HOOKS[0].lstrip("/")).exists()


@pytest.mark.parametrize(("unified", "edited"), [(False, False), (True, True)], ids=["entry", "image, line edited"])
def test_without_a_hook_a_kernel_that_comes_in_between_has_our_words_no_more_after_the_way_back(
    tmp_path: Path, unified: bool, edited: bool
) -> None:
    def change(description: Description) -> None:
        without_hook(description)
        if unified:
            description["files"]["/etc/kernel/install.conf"] = {"text": "layout=uki\n"}

    machine = made(tmp_path, "debian12-lab", *LAB, change=change)
    before = manifest(machine)
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    run(machine, "advance", "--until", "bound").is_(0)
    run(machine, "machine", "install-kernel", LATER).is_(0)
    line = machine / "etc/kernel/cmdline"
    line.write_text(line.read_text().replace(" quiet", " nosmt quiet" if edited else " quiet"))
    reboot(machine)
    assert has_token(words(machine)) and words(machine)[-1] != "panic=30"
    roll_back(machine)
    reboot(machine)
    assert not has_token(words(machine))
    assert (machine / "proc/sys/kernel/osrelease").read_text().strip() == LATER
    assert all("vfiostate" not in bytes.fromhex(content).decode(errors="replace") for _, content in whole(machine))
    if not edited:
        after = manifest(machine)
        assert {path for path in before if after.get(path) != before[path]} == set()
        assert all(LATER in path for path in set(after) - set(before))


def whole(machine: Path) -> list[tuple[int, str]]:
    """Every file of the partition that the loader reads, by mode and content in hexadecimal digits."""
    return [found for path, found in manifest(machine).items() if path.startswith("boot/efi/")]


def test_without_a_line_of_its_own_kernel_install_would_keep_ours_so_it_is_asked_for(tmp_path: Path) -> None:
    def change(description: Description) -> None:
        systemd_boot.type1(description)
        del description["files"]["/etc/kernel/cmdline"]

    machine = made(tmp_path, "debian12-lab", *LAB, change=change)
    assert words(machine)[-3:] == LINE.split()
    refused(machine, "kernel-cmdline-missing", "/etc/kernel/cmdline")
    (machine / "etc/kernel/cmdline").write_text(f"{LINE}\n")
    run(machine, "advance", "--until", "stubbed").is_(0)


def test_secure_boot_leaves_a_unified_image_its_own_line_so_the_choice_is_the_users(tmp_path: Path) -> None:
    def change(description: Description) -> None:
        systemd_boot.uki(description)
        description["secure_boot"] = True

    machine = made(tmp_path, "debian12-lab", *LAB, change=change)
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    refused(machine, "trial-impossible", "Secure Boot", "--no-trial")
    run(machine, "advance", "--no-trial").is_(0)
    reboot(machine)
    assert has_token(words(machine)) and drivers(machine) == STUBBED


# --- the doubles


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    machine = made(tmp_path, "debian12-lab", change=systemd_boot.type1)
    return SimulatedHost(machine)


def _titles(host: SimulatedHost) -> list[str]:
    rows = json.loads(host.query(("bootctl", "list", "--json=short")).text)
    return [f"{row['id']}{'*' if row['isDefault'] else ''}" for row in rows]


def test_the_menu_has_what_kernel_install_made_and_the_loader_says_who_it_is(host: SimulatedHost) -> None:
    assert _titles(host) == [f"debian-{RELEASE}.conf*"]
    assert host.query(("bootctl", "-p")).text == host.query(("bootctl", "-x")).text == "/boot/efi\n"
    assert firmware.text(host.machine, "LoaderInfo").startswith("systemd-boot ")
    assert words(host.root)[0] == rf"initrd=\debian\{RELEASE}\initrd.img-{RELEASE}"


def test_a_choice_for_one_boot_is_used_up_by_the_next_whatever_is_booted_then(host: SimulatedHost) -> None:
    host.install_kernel("6.1.0-60-amd64")
    assert _titles(host) == ["debian-6.1.0-60-amd64.conf*", f"debian-{RELEASE}.conf"]
    assert host.run(("bootctl", "set-oneshot", f"debian-{RELEASE}.conf"), timeout=9).ok
    assert _titles(host)[1].endswith("*")
    host.reboot()
    assert host.release == RELEASE
    host.reboot()
    assert host.release == "6.1.0-60-amd64"
    assert host.run(("bootctl", "set-oneshot", f"debian-{RELEASE}.conf"), timeout=9).ok
    host.reboot(Entry.PREVIOUS)
    assert firmware.text(host.machine, "LoaderEntryOneShot") == ""


def test_a_default_outlives_a_boot_and_an_empty_name_takes_it_away(host: SimulatedHost) -> None:
    host.install_kernel("6.1.0-60-amd64")
    assert host.run(("bootctl", "set-default", f"debian-{RELEASE}.conf"), timeout=9).ok
    for _ in range(2):
        host.reboot()
        assert host.release == RELEASE
    assert host.run(("bootctl", "set-default", ""), timeout=9).ok
    host.reboot()
    assert host.release == "6.1.0-60-amd64"


def test_bootctl_fails_as_the_real_one_does(host: SimulatedHost, tmp_path: Path) -> None:
    assert "Unsupported special entry" in host.query(("bootctl", "set-oneshot", "@mine")).stderr.decode()
    assert host.query(("bootctl", "set-default", "@oneshot")).status == 1
    firmware.set_text(host.machine, "LoaderInfo", "")
    assert "supported boot loader" in host.query(("bootctl", "set-oneshot", TRIAL)).stderr.decode()


def test_kernel_install_fails_as_the_real_one_does_and_takes_a_kernel_away(host: SimulatedHost) -> None:
    assert "not enough arguments" in host.query(("kernel-install", "add")).stderr.decode()
    assert "requires a kernel image" in host.query(("kernel-install", "add", "6.1")).stderr.decode()
    assert "not a file" in host.query(("kernel-install", "add", "6.1", "/boot/vmlinuz-6.1")).stderr.decode()
    assert host.run(("kernel-install", "remove", RELEASE), timeout=9).ok
    assert _titles(host) == []
    assert loaders.of(Machine(host.root)).next(Machine(host.root)) is None


@pytest.mark.skipif(shutil.which("kernel-install") is None or not PLUGIN.exists(), reason="no kernel-install here")
def test_the_double_writes_the_entry_that_kernel_install_itself_writes(tmp_path: Path) -> None:
    ident = "0123456789abcdef0123456789abcdef"
    esp, conf = tmp_path / "esp", tmp_path / "conf"
    (esp / "loader/entries").mkdir(parents=True)
    conf.mkdir()
    line = "root=UUID=00000000-0000-4000-8000-000000000001   ro\nquiet\n"
    (conf / "cmdline").write_text(line)
    (conf / "install.conf").write_text("layout=bls\n")
    (tmp_path / "vmlinuz").write_text("kernel")
    initrd = tmp_path / f"initrd.img-{RELEASE}"
    initrd.write_text("initrd")
    told = {"BOOT_ROOT": str(esp), "MACHINE_ID": ident, "KERNEL_INSTALL_CONF_ROOT": str(conf)}
    told |= {"KERNEL_INSTALL_PLUGINS": str(PLUGIN), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
    argv = ["kernel-install", "add", RELEASE, str(tmp_path / "vmlinuz"), str(initrd)]
    subprocess.run(argv, check=True, env=told, capture_output=True)

    def change(description: Description) -> None:
        systemd_boot.without_grub(description)
        description["files"]["/etc/machine-id"] = {"text": f"{ident}\n"}
        description["files"]["/etc/os-release"] = {"text": Path("/etc/os-release").read_text()}
        description["files"]["/etc/kernel/cmdline"] = {"text": line}

    machine = made(tmp_path, "debian12-lab", change=change)
    name = f"loader/entries/{ident}-{RELEASE}.conf"
    real = (esp / name).read_text().replace(str(esp), "").splitlines()
    assert [each for each in real if not each.startswith("#")] == (machine / "boot/efi" / name).read_text().splitlines()


def test_a_hook_that_fails_makes_the_rebuild_fail(host: SimulatedHost) -> None:
    host.machine.unlink(f"/boot/vmlinuz-{RELEASE}")
    host.machine.put(f"/boot/vmlinuz-{RELEASE}.old", "kept\n")
    done = host.run(("update-initramfs", "-u", "-k", RELEASE), timeout=9)
    assert not done.ok


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A person wrote the entry, and copied the kernel and the initramfs to the partition."""
    (tmp_path / "first").mkdir()
    image = (made(tmp_path / "first", "debian12-lab") / "boot" / INITRD).read_text()

    def change(description: Description) -> None:
        systemd_boot.without_grub(description)
        description["commands"].remove("/usr/bin/kernel-install")
        files = description["files"]
        del files["/etc/kernel/cmdline"]
        files["/boot/efi/loader/loader.conf"] = {"text": "default mine.conf\n"}
        entry = ARCH.replace(" /vmlinuz", " /EFI/arch/vmlinuz").replace(" /initrd", " /EFI/arch/initrd")
        files["/boot/efi/loader/entries/mine.conf"] = {"text": entry}
        files[f"/boot/efi/EFI/arch/vmlinuz-{RELEASE}"] = {"text": "kernel\n"}
        files[f"/boot/efi/EFI/arch/{INITRD}"] = {"text": image}

    machine = made(tmp_path, "debian12-lab", *LAB, change=change)
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    return machine


def test_an_initramfs_that_no_rebuild_reaches_is_refused_before_anything_is_changed(elsewhere: Path) -> None:
    said = refused(elsewhere, "initramfs-elsewhere", f"/boot/efi/EFI/arch/{INITRD}, which a rebuild")
    assert "`mount --bind /boot/efi/EFI/arch /boot`" in said.text


@pytest.mark.parametrize("how", ["mounted twice", "a symlink"])
def test_an_initramfs_that_a_rebuild_reaches_another_way_does_not_lie_elsewhere(elsewhere: Path, how: str) -> None:
    image, loaded = elsewhere / "boot" / INITRD, elsewhere / "boot/efi/EFI/arch" / INITRD
    loaded.unlink()
    if how == "mounted twice":
        loaded.hardlink_to(image)
    else:
        loaded.symlink_to(f"/boot/{INITRD}")
    entry = elsewhere / "boot/efi/loader/entries/mine.conf"
    entry.write_text(entry.read_text().replace("initrd /", "initrd /microcode.img\ninitrd /"))
    run(elsewhere, "plan").is_(0)
