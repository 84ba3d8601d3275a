"""systemd-boot: who makes an entry decides how it is changed; what cannot be done is said before anything is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from steps.actions import EditFile, Inverse, Keep, Regenerate, RemoveFile, RunCommand
from steps.base import Severity
from steps.boot import kernel_install, systemd_boot_trial
from steps.boot.base import BootFacts, Curable
from steps.boot.efi import EFIVARS, SECURE_BOOT
from steps.boot.systemd_boot import LOADERS
from tests.loaders import systemd_boot_hosts as hosts
from tests.loaders.systemd_boot_hosts import ESP, ID, LINE, RELEASE
from tests.support.memory_host import Denied, MemoryHost, Node, completed

SETUP = "0123456789ab"
TOKENS = (f"vfiostate.setup={SETUP}", "vfio-pci.ids=10de:1200")
OURS = " ".join(TOKENS)
LOADER = LOADERS[0]
ENTRY = f"{ESP}/loader/entries/{ID}-{RELEASE}.conf"
IMAGE = f"{ESP}/EFI/Linux/{ID}-{RELEASE}.efi"
TRIAL = systemd_boot_trial.ID


def read(host: MemoryHost) -> BootFacts:
    return LOADER.read(host, SETUP)


def codes(host: MemoryHost) -> list[str]:
    found = read(host).findings
    assert all(each.severity is Severity.REFUSAL and each.hint and each.evidence for each in found)
    return [each.code for each in found]


def edits(host: MemoryHost, tokens: Sequence[str] = TOKENS) -> dict[str, EditFile]:
    actions = LOADER.edits(read(host), tokens)
    assert all(isinstance(each, EditFile) for each in actions)
    return {each.path: each for each in actions if isinstance(each, EditFile)}


def commands(host: MemoryHost) -> list[RunCommand]:
    actions = LOADER.commit(read(host))
    return [each for each in actions if isinstance(each, RunCommand)]


# --- what kernel-install makes


def test_what_kernel_install_makes_is_changed_where_it_is_made_of() -> None:
    host = hosts.debian()
    facts = read(host)
    assert facts.findings == ()
    assert facts.words == tuple(LINE.split())
    assert facts.fixed == (f"systemd.machine_id={ID}",)
    assert facts.release == RELEASE and facts.default is not None and facts.default.ours
    (edit,) = edits(host).values()
    assert (edit.path, edit.content) == ("/etc/kernel/cmdline", f"{LINE} {OURS}\n".encode())
    assert edit.inserted == f" {OURS}".encode()


def _made_of(release: str) -> dict[str, str]:
    """The files of a kernel's entry, and what none of them is made without."""
    folder = f"{ESP}/{ID}/{release}"
    files = (f"{ESP}/loader/entries/{ID}-{release}.conf", f"{folder}/linux", f"{folder}/initrd.img-{release}")
    return dict.fromkeys(files, f"/boot/vmlinuz-{release}")


def test_every_kernel_is_made_anew_with_the_initramfs_it_has_and_all_of_it_can_be_put_back() -> None:
    other = "6.1.0-9-amd64"
    host = hosts.debian(**hosts.kernel(other), **{f"{ESP}/loader/entries/{ID}-{other}.conf": hosts.entry(other)})
    found = commands(host)
    assert [each.argv for each in found] == [
        ("kernel-install", "add", one, f"/boot/vmlinuz-{one}", f"/boot/initrd.img-{one}") for one in (RELEASE, other)
    ]
    made_of = {one: _made_of(one) for one in (RELEASE, other)}
    wanted = {path for each in made_of.values() for path in each}
    assert all(set(each.produces) == wanted for each in found)
    assert set(read(host).copies) == wanted
    undo = Regenerate(("update-initramfs", "-u", "-k", "all"), kin=f"{ESP}/loader/entries/{ID}-*.conf")
    for each in found:
        assert each.undo == replace(undo, made_of=made_of[each.argv[2]])


def test_without_debians_hook_the_rebuild_of_an_initramfs_changes_no_entry_and_each_is_made_by_itself() -> None:
    host = hosts.debian()
    del host.tree[kernel_install.HOOK]
    (command,) = commands(host)
    assert read(host).copies == ()
    each = ("kernel-install", "add", "{}", "/boot/vmlinuz-{}", "/boot/initrd.img-{}")
    kin = f"{ESP}/loader/entries/{ID}-*.conf"
    assert command.undo == Regenerate(command.argv, kin=kin, each=each, made_of=_made_of(RELEASE))


def test_an_entry_of_a_kernel_that_is_gone_is_not_taken_for_one_that_came_later() -> None:
    gone = f"{ESP}/loader/entries/{ID}-5.10.0-1-amd64.conf"
    host = hosts.debian(**hosts.kernel("5.10.0-1-amd64"), **{gone: hosts.entry("5.10.0-1-amd64")})
    del host.tree["/boot/vmlinuz-5.10.0-1-amd64"]
    (command,) = commands(host)
    assert isinstance(command.undo, Regenerate) and command.undo.there == (gone,)


def test_a_kernel_that_lies_beside_its_modules_is_taken_from_there() -> None:
    host = hosts.debian(**{f"/usr/lib/modules/{RELEASE}/vmlinuz": b"kernel"})
    del host.tree[f"/boot/initrd.img-{RELEASE}"]
    (command,) = commands(host)
    assert command.argv == ("kernel-install", "add", RELEASE, f"/usr/lib/modules/{RELEASE}/vmlinuz")


def test_where_the_vendors_line_is_in_force_ours_is_made_of_it_and_theirs_stays() -> None:
    host = hosts.debian(**{"/usr/lib/kernel/cmdline": LINE.encode()})
    del host.tree["/etc/kernel/cmdline"]
    (edit,) = edits(host).values()
    assert (edit.path, edit.before) == ("/etc/kernel/cmdline", None)
    assert edit.content == edit.inserted == f"{LINE} {OURS}".encode()


def test_a_unified_image_says_what_is_in_force_and_is_made_anew() -> None:
    host = hosts.unified()
    facts = read(host)
    assert facts.findings == ()
    assert facts.default is not None and facts.default.words == (*LINE.split(), f"systemd.machine_id={ID}")
    assert facts.release == RELEASE
    assert list(edits(host)) == ["/etc/kernel/cmdline"]
    (command,) = commands(host)
    assert command.produces == (IMAGE,)
    assert isinstance(command.undo, Regenerate) and command.undo.kin == f"{ESP}/EFI/Linux/{ID}-*.efi"


def test_images_that_mkinitcpio_makes_are_made_anew_by_it_all_at_once() -> None:
    preset = b"PRESETS=('default' 'fallback')\ndefault_uki=\"/boot/efi/EFI/Linux/arch-linux.efi\"\n#x_uki=/x.efi\n"
    made = {f"{ESP}/EFI/Linux/{name}.efi": hosts.image({".cmdline": LINE.encode()}) for name in ("arch-linux", "x")}
    host = hosts.unified(**made, **{"/etc/mkinitcpio.d/linux.preset": preset})
    del host.tree[IMAGE]
    host.commands.add("mkinitcpio")
    assert codes(host) == ["boot-image-maker-unknown"]
    del host.tree[f"{ESP}/EFI/Linux/x.efi"]
    facts = read(host)
    assert facts.findings == () and facts.fixed == ()
    (command,) = commands(host)
    undo = Regenerate(("mkinitcpio", "-P"), kin=f"{ESP}/EFI/Linux/*.efi")
    assert (command.argv, command.undo) == (("mkinitcpio", "-P"), undo)
    assert command.produces == facts.copies == (f"{ESP}/EFI/Linux/arch-linux.efi",)


@pytest.mark.parametrize("esp", ["/efi", "/boot"])
def test_an_image_of_mkinitcpio_s_is_none_of_kernel_install_s_though_it_is_named_as_those_are(esp: str) -> None:
    host = hosts.arch_unified(esp)
    assert read(host).findings == ()
    assert [each.argv for each in commands(host)] == [("mkinitcpio", "-P")]
    assert list(edits(host)) == ["/etc/kernel/cmdline"]


def test_a_kernel_named_after_its_package_is_no_release_that_kernel_install_could_add() -> None:
    host = hosts.arch_unified()
    host.commands.discard("mkinitcpio")
    assert codes(host) == ["boot-image-maker-unknown"] and commands(host) == []


def test_a_line_in_parts_is_said_to_be_where_it_is_and_proposed_as_one() -> None:
    host = hosts.arch_unified("/efi", **{"/etc/cmdline.d/root.conf": LINE.encode()})
    assert codes(host) == []
    del host.tree[CMDLINE]
    (finding,) = read(host).findings
    assert finding.code == "kernel-cmdline-in-parts" and finding.severity is Severity.REFUSAL
    assert "/etc/cmdline.d/root.conf is there" in finding.evidence
    assert f"`{LINE}`" in finding.hint and CMDLINE in finding.hint and "`mkinitcpio -P`" in finding.hint
    assert edits(host) == {}
    del host.tree["/etc/cmdline.d/root.conf"]
    assert codes(host) == ["kernel-cmdline-missing"]


def test_parts_of_a_line_say_nothing_of_what_kernel_install_makes() -> None:
    host = hosts.debian(**{"/etc/cmdline.d/root.conf": LINE.encode()})
    del host.tree[CMDLINE]
    assert codes(host) == ["kernel-cmdline-missing"]


def test_once_our_words_are_in_the_line_nothing_more_is_added_and_the_entries_are_made_anew() -> None:
    host = hosts.debian(**{"/etc/kernel/cmdline": f"{LINE} {OURS}\n".encode()})
    facts = read(host)
    assert facts.findings == () and facts.words[-2:] == TOKENS
    assert edits(host) == {}
    assert commands(host)


# --- what a person wrote


def test_what_a_person_wrote_is_edited_at_the_end_of_its_options() -> None:
    host = hosts.arch()
    facts = read(host)
    assert facts.findings == ()
    assert facts.words == ("root=UUID=1-2", "rw", "quiet") and facts.fixed == ()
    assert facts.release == "6.12.1-arch1-1"
    found = edits(host)
    assert set(found) == {"/boot/loader/entries/arch.conf", "/boot/loader/entries/arch-lts.conf"}
    assert found["/boot/loader/entries/arch.conf"].content == hosts.ARCH.replace(b"quiet\n", f"quiet {OURS}\n".encode())
    lts = found["/boot/loader/entries/arch-lts.conf"]
    assert lts.content == hosts.LTS.replace(b'rw"', f'rw {OURS}"'.encode())
    assert lts.inserted == f" {OURS}".encode()
    assert commands(host) == []


@pytest.mark.parametrize(
    ("kernel", "version", "release"),
    [
        ("vmlinuz-6.6-x86_64", "", "6.6.63-1-MANJARO"),
        ("vmlinuz-linux", "version 6.12.1\n", "6.12.1-arch1-1"),
        ("vmlinuz-gone", "version 6.9.1-arch1-1\n", "6.9.1-arch1-1"),
        ("vmlinuz-gone", "", None),
        ("linux", "version 6.12.1-arch1-1\n", "6.12.1-arch1-1"),
    ],
)
def test_the_release_of_an_entry_is_that_of_the_modules_of_its_kernel(
    kernel: str, version: str, release: str | None
) -> None:
    entry = f"title X\n{version}linux /{kernel}\noptions root=UUID=1-2 rw\n".encode()
    modules = {"/lib/modules/6.6.63-1-MANJARO/kernelbase": b"6.6-x86_64\n"}
    host = hosts.arch(**{f"/boot/{kernel}": b"kernel", "/boot/loader/entries/arch.conf": entry, **modules})
    assert read(host).release == release


def test_entries_to_fall_back_on_and_those_of_other_systems_are_left_alone() -> None:
    facts = read(hosts.arch())
    flags = {each.title: (each.recovery, each.ours) for each in facts.entries or ()}
    assert flags == {
        "Arch Linux": (False, True),
        "Arch Linux (LTS)": (False, True),
        "Arch Linux (fallback initramfs)": (True, True),
        "Fedora": (False, False),
    }


@pytest.mark.parametrize("words", ["single", "systemd.unit=rescue.target", "emergency"])
def test_an_entry_is_one_to_recover_by_for_its_words_too(words: str) -> None:
    host = hosts.arch(**{"/boot/loader/entries/arch-lts.conf": hosts.LTS.replace(b"rw", words.encode())})
    assert set(edits(host)) == {"/boot/loader/entries/arch.conf"}


def test_an_entry_that_lacks_our_words_still_gets_them() -> None:
    done = hosts.ARCH.replace(b"quiet\n", f"quiet {OURS}\n".encode())
    host = hosts.arch(**{"/boot/loader/entries/arch.conf": done})
    assert read(host).words == ("root=UUID=1-2", "rw")
    assert set(edits(host)) == {"/boot/loader/entries/arch-lts.conf"}


def test_an_entry_without_a_kernel_is_none() -> None:
    host = hosts.arch()
    del host.tree["/boot/vmlinuz-linux-lts"]
    assert set(edits(host)) == {"/boot/loader/entries/arch.conf"}


def test_another_system_as_the_default_is_none_of_ours() -> None:
    facts = read(hosts.arch(**{"/boot/loader/loader.conf": b"default fedora.conf\n"}))
    assert facts.default is not None and not facts.default.ours
    windows = hosts.arch(**{"/boot/EFI/Microsoft/Boot/bootmgfw.efi": b"MZ"})
    windows.tree["/boot/loader/loader.conf"] = b"default auto-windows\n"
    default = read(windows).default
    assert default is not None and (default.title, default.ours) == ("auto-windows", False)


def test_tokens_that_need_quoting_are_not_inserted() -> None:
    for host in (hosts.debian(), hosts.arch()):
        with pytest.raises(ValueError, match="quoting"):
            LOADER.edits(read(host), ('a="b c"',))
        with pytest.raises(ValueError, match="trial"):
            LOADER.stage(read(host), ('a="b c"',), SETUP)


# --- what stands against it


def _without(path: str, make: Callable[[], MemoryHost] = hosts.debian) -> Callable[[], MemoryHost]:
    def made() -> MemoryHost:
        host = make()
        del host.tree[path]
        return host

    return made


def _renamed(name: str) -> MemoryHost:
    host = hosts.debian(**{f"{ESP}/loader/entries/{name}": hosts.entry()})
    del host.tree[ENTRY]
    return host


def _not_mounted() -> MemoryHost:
    host = hosts.debian()
    for path in [path for path in host.tree if path.startswith(f"{ESP}/")]:
        del host.tree[path]
    host.answers = {"bootctl": completed(("bootctl",), status=1)}
    return host


def _two_places() -> MemoryHost:
    host = hosts.debian(**{"/efi/loader/loader.conf": b""})
    host.answers = {"bootctl": completed(("bootctl",), status=1)}
    return host


CMDLINE = "/etc/kernel/cmdline"
MINE = hosts.entry(options=f"{LINE} nosmt systemd.machine_id={ID}")
STOPS: dict[str, tuple[Callable[[], MemoryHost], str]] = {
    "no line": (_without(CMDLINE), "kernel-cmdline-missing"),
    "a line that may not be read": (lambda: hosts.debian(**{CMDLINE: Denied()}), "kernel-cmdline-unreadable"),
    "a directory for a line": (lambda: _directory(), "kernel-cmdline-unreadable"),
    "a line of NUL bytes": (lambda: hosts.debian(**{CMDLINE: b"root=\0"}), "kernel-cmdline-binary"),
    "an entry of NUL bytes": (lambda: hosts.debian(**{ENTRY: b"\0" * 512}), "boot-entry-binary"),
    "an entry that may not be read": (lambda: hosts.debian(**{ENTRY: Denied()}), "boot-entry-unreadable"),
    "an entry with words of its own": (lambda: hosts.debian(**{ENTRY: MINE}), "entry-not-from-cmdline"),
    "a damaged image": (lambda: hosts.unified(**{IMAGE: hosts.image()[:700]}), "boot-image-damaged"),
    "an image with profiles": (
        lambda: hosts.unified(**{IMAGE: hosts.image({".profile": b"ID=main\n"})}),
        "boot-image-profiles",
    ),
    "an image nobody makes": (
        lambda: hosts.unified(**{f"{ESP}/EFI/Linux/debian-mine.efi": hosts.image()}),
        "boot-image-maker-unknown",
    ),
    "an entry that is still counted": (lambda: _renamed(f"{ID}-{RELEASE}+2-1.conf"), "boot-counting"),
    "entries that will be counted": (lambda: hosts.debian(**{"/etc/kernel/tries": b"3\n"}), "boot-counting"),
    "no partition": (_not_mounted, "boot-partition-not-found"),
    "two partitions": (_two_places, "boot-partition-ambiguous"),
    "no entry of this system": (
        lambda: hosts.arch(**{"/proc/cmdline": b"root=UUID=9 ro\n"}),
        "no-boot-entry-of-this-system",
    ),
    "an entry without options": (
        lambda: hosts.arch(
            **{"/boot/loader/entries/arch-lts.conf": f"machine-id {ID}\nlinux /vmlinuz-linux\n".encode()}
        ),
        "boot-entry-without-options",
    ),
}


def _directory() -> MemoryHost:
    host = hosts.debian()
    del host.tree[CMDLINE]
    host.tree[f"{CMDLINE}/x"] = b""
    return host


@pytest.mark.parametrize("name", list(STOPS))
def test_what_stands_against_it_is_said_with_what_was_found_and_what_to_do(name: str) -> None:
    make, code = STOPS[name]
    assert code in codes(make())


def test_the_line_that_is_missing_is_proposed_as_it_is_in_force() -> None:
    host = _without(CMDLINE)()
    (finding,) = read(host).findings
    assert f"`{LINE}`" in finding.hint and CMDLINE in finding.hint


def test_an_entry_that_was_given_up_is_none_that_is_edited() -> None:
    host = hosts.arch(**{"/boot/loader/entries/arch-old+0-3.conf": hosts.LTS})
    assert set(edits(host)) == {"/boot/loader/entries/arch.conf", "/boot/loader/entries/arch-lts.conf"}
    assert codes(host) == []


# --- the trial


@pytest.mark.parametrize("make", [hosts.debian, hosts.unified, hosts.arch])
def test_a_trial_is_one_more_file_that_is_chosen_for_the_next_boot_only(make: Callable[[], MemoryHost]) -> None:
    host = make()
    facts = read(host)
    assert facts.trial.obstacles == () and not facts.trial.in_the_way and not facts.trial.pending
    (edit,) = LOADER.stage(facts, TOKENS, SETUP)
    assert isinstance(edit, EditFile) and edit.before is None and edit.path.endswith(f"/loader/entries/{TRIAL}")
    before, default = facts.entries, facts.default
    host.tree[edit.path] = edit.content
    host.tree[hosts.variable("LoaderEntryOneShot")] = hosts.utf16(TRIAL)
    facts = read(host)
    assert default is not None
    assert facts.trial.words == (*default.words, *TOKENS, "panic=30")
    assert facts.trial.pending and facts.findings == ()
    assert (facts.entries, facts.default) == (before, default)
    (removal,) = LOADER.unstage(facts)
    assert isinstance(removal, RemoveFile) and removal.path == edit.path


def test_the_choice_is_taken_back_by_the_tool_that_made_it() -> None:
    (command,) = LOADER.choose(read(hosts.debian()))
    assert isinstance(command, RunCommand) and not isinstance(command.undo, Keep)
    assert command.argv == ("bootctl", "set-oneshot", TRIAL)
    assert command.undo == Inverse(("bootctl", "set-oneshot", ""))
    assert command.produces == ()


def test_a_trial_of_a_unified_image_hands_its_own_line_to_it() -> None:
    facts = read(hosts.unified())
    (edit,) = LOADER.stage(facts, TOKENS, SETUP)
    assert isinstance(edit, EditFile)
    lines = edit.content.decode().splitlines()
    assert f"efi /EFI/Linux/{ID}-{RELEASE}.efi" in lines
    assert lines[-1] == f"options {LINE} systemd.machine_id={ID} {OURS} panic=30"
    assert not any(line.startswith("sort-key") for line in lines)


def test_a_trials_file_has_the_mode_that_its_file_system_gives_all_files() -> None:
    host = hosts.debian()
    host.modes[ENTRY] = 0o755
    (edit,) = LOADER.stage(read(host), TOKENS, SETUP)
    assert isinstance(edit, EditFile) and edit.mode == 0o755


def _mounts(*lines: str) -> dict[str, Node]:
    return {"/proc/self/mounts": "".join(f"{line} 0 0\n" for line in lines).encode()}


def _no_bootctl() -> MemoryHost:
    host = hosts.debian()
    host.commands.discard("bootctl")
    return host


def _no_efi() -> MemoryHost:
    host = hosts.debian()
    for path in [path for path in host.tree if path.startswith(EFIVARS)]:
        del host.tree[path]
    return host


FIRST = hosts.ARCH.replace(b"title   Arch Linux", b"title X")
OBSTACLES: dict[str, tuple[Callable[[], MemoryHost], str]] = {
    "no UEFI": (_no_efi, "no EFI variables"),
    "no bootctl": (_no_bootctl, "bootctl not found"),
    "another loader": (
        lambda: hosts.debian(**{hosts.variable("LoaderInfo"): hosts.utf16("GRUB 2.12")}),
        "LoaderInfo says 'GRUB 2.12'",
    ),
    "no loader that says so": (_without(hosts.variable("LoaderInfo")), "not booted through systemd-boot"),
    "an old loader": (
        lambda: hosts.debian(**{hosts.variable("LoaderFeatures"): b"\x06\0\0\0\x07\0\0\0\0\0\0\0"}),
        "cannot boot an entry once",
    ),
    "variables that cannot be written": (
        lambda: hosts.debian(**_mounts(f"efivarfs {EFIVARS} efivarfs ro,nosuid")),
        "mounted read-only",
    ),
    "a partition that cannot be written": (
        lambda: hosts.debian(**_mounts(f"/dev/vda15 {ESP} vfat rw", f"/dev/vda15 {ESP} vfat ro")),
        f"{ESP} is mounted read-only",
    ),
    "somebody else's choice": (
        lambda: hosts.debian(**{hosts.variable("LoaderEntryOneShot"): hosts.utf16("windows.conf")}),
        "'windows.conf'",
    ),
    "Secure Boot and a unified image": (
        lambda: hosts.unified(**{SECURE_BOOT: b"\x06\0\0\0\x01"}),
        "Secure Boot is on",
    ),
    "a menu that would sort it first": (
        lambda: hosts.arch(**{"/boot/loader/loader.conf": b"default a-*\n"}),
        "would be the default by itself",
    ),
}


@pytest.mark.parametrize("name", list(OBSTACLES))
def test_where_no_trial_can_be_made_it_is_said_why(name: str) -> None:
    make, said = OBSTACLES[name]
    assert any(said in each for each in read(make()).trial.obstacles)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("a partition that cannot be written", f"`mount -o remount,rw {ESP}`"),
        ("variables that cannot be written", f"`mount -o remount,rw {EFIVARS}`"),
        ("somebody else's choice", "boot it first"),
        ("no bootctl", "install the package of systemd that brings it"),
    ],
)
def test_an_obstacle_that_the_user_can_take_away_says_how(name: str, cure: str) -> None:
    (obstacle,) = read(OBSTACLES[name][0]()).trial.obstacles
    assert isinstance(obstacle, Curable) and obstacle.cure == cure


def test_secure_boot_is_no_obstacle_for_an_entry_that_is_a_file() -> None:
    assert read(hosts.debian(**{SECURE_BOOT: b"\x06\0\0\0\x01"})).trial.obstacles == ()


def test_a_file_in_the_trials_place_is_seen() -> None:
    facts = read(hosts.debian(**{f"{ESP}/loader/entries/{TRIAL}": b"left over\n"}))
    assert facts.trial.in_the_way and facts.trial.words is None


def test_where_bootctl_knows_nothing_the_partition_is_found_by_what_lies_on_it() -> None:
    host = hosts.debian()
    host.answers = {"bootctl": completed(("bootctl",), status=1)}
    assert read(host).findings == () and read(host).default is not None


def test_an_extended_boot_loader_partition_is_read_beside_the_other_and_the_trial_lies_where_the_default_does() -> None:
    host = hosts.arch(**{"/efi/loader/loader.conf": b"default arch-lts.conf\n", "/efi/loader/entries": None})
    host.answers = {
        ("bootctl", "--print-esp-path"): "/efi\n",
        ("bootctl", "--print-boot-path"): "/boot\n",
    }
    facts = read(host)
    assert facts.default is not None and facts.default.title == "Arch Linux (LTS)"
    assert facts.trial.place == f"/boot/loader/entries/{TRIAL}"
