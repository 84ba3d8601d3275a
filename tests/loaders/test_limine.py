"""Limine: what is particular of it, beside what is promised of every boot loader."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.hosts.simulated.loaders.limine import EXECUTABLE
from steps.actions import EditFile
from steps.boot.base import BootFacts
from steps.boot.limine import LOADERS, macros
from steps.boot.limine_conf import Conf, ConfError, parse
from steps.boot.limine_menu import UnclearError, default
from steps.boot.limine_places import MARKER
from steps.insertion import take_out
from tests.badinput.support import At, manifest, roll_back, run, unchanged
from tests.field.support import has_token, reboot, refused, words
from tests.loaders.conftest import up_to_stubbed
from tests.loaders.systems.limine import arch
from tests.support.memory_host import MemoryHost, Node

LIMINE = b"MZ.../boot/limine/limine.conf..." + MARKER
EMPTY = b"0" * 256
SETUP = "a1b2c3d4e5f6"
TOKENS = (f"vfiostate.setup={SETUP}", "iommu=pt")
OURS = f" {' '.join(TOKENS)}".encode()
ENTRY = b"    protocol: linux\n    path: boot():/vmlinuz-linux\n    cmdline: root=/dev/vda1 rw\n"
FILE = b"timeout: 5\n\n/Arch\n" + ENTRY + b"\n/Arch (fallback)\n" + ENTRY


def host(content: bytes = FILE, more: Mapping[str, Node] | None = None) -> MemoryHost:
    """Arch with UEFI, its EFI system partition at /boot; `more` are files besides, by their paths."""
    tree: dict[str, Node] = {
        "/boot/limine.conf": content,
        "/boot/EFI/limine/BOOTX64.EFI": LIMINE + EMPTY,
        "/sys/firmware/efi/efivars": None,
        "/proc/mounts": b"/dev/vda2 / ext4 rw 0 0\n/dev/vda1 /boot vfat rw 0 0\n",
        "/proc/cmdline": b"root=/dev/vda1 rw\n",
        "/lib/modules/6.9.1-arch1-1/pkgbase": b"linux\n",
    }
    return MemoryHost({**tree, **(more or {})})


def read(content: bytes = FILE, more: Mapping[str, Node] | None = None) -> BootFacts:
    return LOADERS[0].read(host(content, more), SETUP)


def codes(content: bytes = FILE, more: Mapping[str, Node] | None = None) -> list[str]:
    return [each.code for each in read(content, more).findings]


def edited(content: bytes) -> bytes:
    """The file with our words in it, which are taken out of it again."""
    (edit,) = LOADERS[0].edits(read(content), TOKENS)
    assert isinstance(edit, EditFile) and edit.inserted == OURS
    assert take_out(edit.content, edit.inserted, anywhere=edit.anywhere) == content
    return edit.content


def parsed(content: bytes) -> Conf:
    return parse(content, macros(uefi=True))


# --- the file


def test_the_words_stand_behind_the_command_line_of_normal_entries_of_this_system_alone() -> None:
    other = ENTRY.replace(b"root=/dev/vda1", b"root=UUID=other")
    content = (
        b"/Arch\n" + ENTRY + b"/LTS\n" + ENTRY + b"/Arch fallback\n" + ENTRY + b"/Single\n"
        + ENTRY.replace(b" rw", b" rw single") + b"/Another\n" + other
        + b"/Windows\n    protocol: efi\n    path: boot():/EFI/Microsoft/Boot/bootmgfw.efi\n"
    )  # fmt: skip
    facts = read(content)
    assert facts.findings == () and facts.release == "6.9.1-arch1-1"
    assert facts.words == ("root=/dev/vda1", "rw")
    after = edited(content)
    assert after.count(OURS) == 2
    assert after.startswith(b"/Arch\n" + ENTRY[:-1] + OURS + b"\n/LTS\n" + ENTRY[:-1] + OURS + b"\n/Arch fallback")


@pytest.mark.parametrize(
    ("line", "after"),
    [
        (b"cmdline: root=/dev/vda1\n", b"cmdline: root=/dev/vda1@\n"),
        (b"CmdLine:\troot=/dev/vda1 \t\r\n", b"CmdLine:\troot=/dev/vda1@ \t\r\n"),
        (b"cmdline:root=/dev/vda1", b"cmdline:root=/dev/vda1@"),
        (b"cmdline: root=/dev/vda1\ncmdline: x\n", b"cmdline: root=/dev/vda1@\ncmdline: x\n"),
        (b"cmdline: x\nkernel_cmdline: root=/dev/vda1\n", b"cmdline: x\nkernel_cmdline: root=/dev/vda1@\n"),
        (b"#cmdline: x\ncmdline: root=/dev/vda1 # y\n", b"#cmdline: x\ncmdline: root=/dev/vda1 # y@\n"),
        (b"cmdline: ${LINE}\n${LINE}=root=/dev/vda1\n", b"cmdline: ${LINE}@\n${LINE}=root=/dev/vda1\n"),
    ],
)
def test_the_line_that_counts_is_the_one_that_is_changed(line: bytes, after: bytes) -> None:
    before = b"/Arch\nprotocol: linux\nkernel_path: boot():/vmlinuz-linux\n"
    assert edited(before + line) == before + after.replace(b"@", OURS)


def test_an_entry_that_came_without_our_words_gets_them_and_no_other_gets_them_twice() -> None:
    (edit,) = LOADERS[0].edits(read(edited(FILE) + b"/New\n" + ENTRY), TOKENS)
    assert isinstance(edit, EditFile)
    assert edit.content.count(OURS) == 2 and OURS * 2 not in edit.content


def test_a_word_that_could_be_the_users_is_not_taken_out_everywhere() -> None:
    (edit,) = LOADERS[0].edits(read(), ("iommu=pt",))
    assert isinstance(edit, EditFile) and not edit.anywhere
    with pytest.raises(ValueError, match="quoting"):
        LOADERS[0].edits(read(), ('a="b c"',))


@pytest.mark.parametrize(
    "content",
    [b"\0/A\n", b"/A\ncmdline: a \\\n b\n", b"${A}\n", b"/A\ncmdline: ${A\n", b"/A\n///B\n", b"//A\n", b"a: b\rc\n"],
)
def test_what_is_not_understood_is_refused(content: bytes) -> None:
    with pytest.raises(ConfError):
        parsed(content)
    assert codes(content) == ["limine-conf-unreadable"]


# --- the default

TREE = b"/Zero\n/+Open\n//One\n//Two\n/Shut\n//Three\n/+Open\n//One\n/Last/#\n"


@pytest.mark.parametrize(
    ("named", "title"),
    [
        (b"", "Zero"),
        (b"0", "Zero"),
        (b"2", "Open"),
        (b"3", "Open/One"),
        (b"5", "Shut"),
        (b"6", "Open"),
        (b"99", "Zero"),
        (b"Open/Two", "Open/Two"),
        (b"Shut/Three", "Shut/Three"),
        (b"Open#1/One", "Open/One"),
        (b"Open#1/Two", "Zero"),
        (b"Shut", "Zero"),
        (b"Last\\/\\#", "Last/#"),
    ],
)
def test_the_default_is_a_number_of_the_menu_as_it_is_shown_or_the_titles(named: bytes, title: str) -> None:
    head = b"default_entry: " + named + b"\n" if named else b"\n"
    found = default(parsed(head + TREE), uefi=True)
    assert found is not None and found.title == title


def test_a_default_that_versions_differ_in_is_not_guessed() -> None:
    bios = b"/B\nprotocol: bios_chainload\n"
    conf = parsed(b"default_entry: 2\n" + bios + b"/C\n/D\n")
    with pytest.raises(UnclearError, match="'D' or 'C'"):
        default(conf, uefi=True)
    assert default(conf, uefi=False) is conf.entries[1]
    assert codes(b"default_entry: 2\n" + bios + FILE.partition(b"\n")[2]) == ["limine-default-unclear"]


def test_a_default_that_is_remembered_or_said_elsewhere_is_refused_and_a_directory_is_no_entry_of_ours() -> None:
    variable = "/sys/firmware/efi/efivars/LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
    said = {variable: b"\7\0\0\0" + "Arch".encode("utf-16-le")}
    assert codes(b"remember_last_entry: yes\n" + FILE) == ["limine-default-unclear"]
    assert codes(FILE, said) == ["limine-default-unclear"]
    assert codes(b"default_entry: 1\n" + FILE, said) == []
    facts = read(b"\n/+All\n" + FILE.replace(b"/Arch", b"//Arch").partition(b"\n")[2])
    assert facts.default is not None and not facts.default.ours


# --- what stands against it


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"/boot/limine/limine.conf": b""}, "limine-conf-ambiguous"),
        ({"/boot/EFI/limine/BOOTX64.EFI": LIMINE + b"a" * 128 + b"0" * 128}, "limine-config-enrolled"),
        ({"/boot/EFI/BOOT/BOOTX64.EFI": LIMINE + b"0" * 127 + b"1" + b"0" * 128}, "limine-config-enrolled"),
        ({"/boot/EFI/limine/BOOTX64.EFI": LIMINE}, "limine-config-enrolled"),
        ({"/boot/EFI/limine/BOOTX64.EFI": b"MZ"}, "limine-missing"),
        ({"/boot/EFI/BOOT/BOOTX64.EFI": MARKER + EMPTY}, "limine-too-old"),
    ],
)
def test_what_lies_beside_the_file_is_looked_at(more: dict[str, Node], code: str) -> None:
    assert codes(more=more) == [code]


def test_the_same_file_by_two_names_of_fat_is_one() -> None:
    both: dict[str, Node] = {f"/boot/{each}/limine/limine.conf": FILE for each in ("EFI", "efi")}
    tree = {path: node for path, node in host(more=both).tree.items() if path != "/boot/limine.conf"}
    facts = LOADERS[0].read(MemoryHost(tree), SETUP)
    assert facts.findings == () and facts.where == "/boot/EFI/limine/limine.conf"


def test_without_uefi_it_is_the_other_executable_that_counts() -> None:
    tree = {path: node for path, node in host().tree.items() if not path.startswith("/sys")}
    assert [each.code for each in LOADERS[0].read(MemoryHost(tree), SETUP).findings] == ["limine-missing"]
    tree["/boot/limine-bios.sys"] = LIMINE + EMPTY
    assert LOADERS[0].read(MemoryHost(tree), SETUP).findings == ()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\n", "limine-entry-missing"),
        (FILE.replace(b"linux\n    path", b"limine\n    path"), "limine-entry-missing"),
        (FILE.replace(b" rw\n", b" rw\n    module_path: boot():/a.img#0a1b\n", 1), "limine-module-pinned"),
    ],
)
def test_entries_that_our_words_would_not_help_are_refused(content: bytes, code: str) -> None:
    assert codes(content) == [code]


def test_an_entry_without_a_command_line_is_refused_where_it_may_be_ours() -> None:
    content = b"/Arch\n" + ENTRY.replace(b"    cmdline: root=/dev/vda1 rw\n", b"")
    assert codes(content, {"/proc/cmdline": b"quiet\n"}) == ["limine-entry-without-cmdline"]
    assert codes(FILE + b"/Memtest\nprotocol: linux\npath: boot():/memtest.bin\n") == []


def test_an_initramfs_that_is_a_copy_is_refused() -> None:
    content = FILE.replace(b" rw\n", b" rw\n    module_path: boot():/initramfs-linux.img\n", 1)
    tree = {path.replace("/boot/", "/efi/"): node for path, node in host(content).tree.items()}
    tree |= {"/proc/mounts": b"/dev/vda1 /efi vfat rw 0 0\n", "/boot/initramfs-linux.img": b""}
    assert [each.code for each in LOADERS[0].read(MemoryHost(tree), SETUP).findings] == ["limine-initramfs-copied"]


def test_what_is_made_by_a_tool_or_is_of_an_old_version_or_cannot_be_read_is_refused() -> None:
    made_anew = host()
    made_anew.commands.add("limine-update")
    old = {path.replace(".conf", ".cfg"): node for path, node in host().tree.items()}
    none = {path: node for path, node in host().tree.items() if path != "/boot/limine.conf"}
    for one, code in (
        (made_anew, "limine-conf-generated"),
        (MemoryHost(old), "limine-cfg"),
        (MemoryHost(none), "limine-conf-missing"),
    ):
        (finding,) = LOADERS[0].read(one, SETUP).findings
        assert finding.code == code and finding.hint and finding.evidence


# --- the machine


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`new`, `modules_loaded` and `stubbed`."""
    return up_to_stubbed(tmp_path_factory.mktemp("limine"), arch)


def test_an_enrolled_checksum_is_refused_before_anything_is_changed(at: At) -> None:
    machine = at("modules_loaded")
    content = (machine / "boot/limine.conf").read_bytes()
    place = machine / EXECUTABLE.lstrip("/")
    place.write_bytes(LIMINE + hashlib.blake2b(content).hexdigest().encode() + b"0" * 128)
    reboot(machine)
    with unchanged(machine):
        run(machine, "advance", "--no-trial").is_(5, "holds a checksum", "limine enroll-config --reset").with_hint()
    (machine / "boot/limine.conf").write_bytes(content + b"# edited\n")
    assert run(machine, "machine", "reboot").code != 0


def test_there_is_no_trial_and_it_is_said_why(at: At) -> None:
    refused(at("modules_loaded"), "trial-impossible", "newer versions", "--no-trial")


def test_an_entry_that_was_copied_loses_our_words_too_and_a_users_own_stay(at: At, places: dict[str, Path]) -> None:
    machine = at("stubbed")
    place = machine / "boot/limine.conf"
    content = place.read_bytes()
    block = content[content.index(b"    //") :]
    place.write_bytes(content + block.replace(b"    //", b"    //mine-") + b"# mine\n")
    run(machine, "audit").is_(4, "what is ours is still in it")
    reboot(machine)
    assert has_token(words(machine))
    run(machine, "rollback").is_(3)
    reboot(machine)
    run(machine, "rollback").is_(0)
    before = (places["new"] / "boot/limine.conf").read_bytes()
    block = before[before.index(b"    //") :]
    assert place.read_bytes() == before + block.replace(b"    //", b"    //mine-") + b"# mine\n"
    reboot(machine)
    assert not has_token(words(machine))


def test_without_an_edit_in_between_every_byte_is_as_it_was(at: At, places: dict[str, Path]) -> None:
    machine = at("stubbed")
    roll_back(machine)
    assert manifest(machine) == manifest(places["new"])
