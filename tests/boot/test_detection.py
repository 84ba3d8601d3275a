"""Boot loaders and initramfs generators are named by what lies on the host, and the wrong one is never edited."""

from __future__ import annotations

import pytest

from steps import boot, initramfs
from steps.boot.recognised import LOADER_INFO
from tests.support.memory_host import MemoryHost, Node

GRUB: dict[str, Node] = {"/etc/default/grub": b"GRUB_DEFAULT=0\n", "/boot/grub/grub.cfg": b"menuentry 'x' {\n}\n"}
SYSTEMD_BOOT = "systemd-boot 252".encode("utf-16-le")


def named(tree: dict[str, Node], choice: str = "auto") -> tuple[str | None, list[str]]:
    found = boot.detect(MemoryHost(tree), choice)
    return found.loader.name if found.loader else None, [finding.code for finding in found.findings]


@pytest.mark.parametrize(
    ("tree", "name"),
    [
        ({"/etc/default/limine": b'KERNEL_CMDLINE[default]="root=x"\n'}, "limine-entry-tool"),
        ({"/etc/limine-entry-tool.d/a.conf": b'KERNEL_CMDLINE[default]+=" x"\n'}, "limine-entry-tool"),
    ],
)
def test_a_command_line_that_lives_elsewhere_is_named_and_refused(tree: dict[str, Node], name: str) -> None:
    assert named(tree) == (name, ["boot-loader-unsupported"])
    (finding,) = boot.detect(MemoryHost(tree)).findings
    assert name in finding.message
    assert finding.evidence
    assert finding.hint


@pytest.mark.parametrize(
    ("tree", "name"),
    [
        ({**GRUB, "/etc/NIXOS": b""}, "nixos"),
        ({**GRUB, "/etc/os-release": b"NAME=NixOS\nID=nixos\n"}, "nixos"),
        ({**GRUB, "/run/ostree-booted": b""}, "ostree"),
        ({**GRUB, "/etc/kernelstub/configuration": b"{}"}, "kernelstub"),
        ({**GRUB, "/boot/efi/EFI/systemd/installed_by_sdbootutil": b"x\n"}, "sdbootutil"),
        ({"/boot/grub2/grub.cfg": b"", "/boot/efi/EFI/opensuse/installed_by_sdbootutil": b"x\n"}, "sdbootutil"),
        ({**GRUB, "/boot/grub/grub.cfg": b"insmod blscfg\nblscfg\n"}, "bls"),
        ({"/etc/default/grub": b"A=1\nGRUB_ENABLE_BLSCFG=true\n", "/boot/grub2/grub.cfg": b""}, "bls"),
    ],
)
def test_a_boot_set_up_that_is_changed_by_a_command_goes_before_the_grub_beneath_it(
    tree: dict[str, Node], name: str
) -> None:
    assert named(tree) == (name, [])


@pytest.mark.parametrize(
    "tree",
    [
        GRUB,
        {**GRUB, "/boot/efi/loader/entries/left-over.conf": b"title old\n"},
        {**GRUB, LOADER_INFO: b"\x06\0\0\0" + "GRUB 2.12".encode("utf-16-le"), "/efi/EFI/Linux/x.efi": b"MZ"},
        {"/boot/grub/grub.cfg": b""},
        {"/etc/default/grub": b"", "/boot/grub/fonts": None},
    ],
)
def test_grub_is_named_by_its_files(tree: dict[str, Node]) -> None:
    assert named(tree) == ("grub", [])


def test_grub_under_its_other_name_is_named_by_its_files_where_there_is_no_other() -> None:
    tree: dict[str, Node] = {"/boot/grub2/grub.cfg": b"menuentry 'x' {\n}\n", "/etc/default/grub": b"A=1\n"}
    assert named(tree) == ("grub2", [])
    assert named({**tree, "/boot/grub/grub.cfg": b"menuentry 'x' {\n}\n"}) == ("grub", [])


def test_the_tools_of_proxmox_go_before_the_loader_that_they_take_care_of() -> None:
    tree: dict[str, Node] = {**GRUB, "/etc/kernel/proxmox-boot-uuids": b"ABCD\n"}
    assert named(tree) == ("proxmox-boot-tool", [])


@pytest.mark.parametrize(
    "tree",
    [
        {**GRUB, LOADER_INFO: b"\x06\0\0\0" + SYSTEMD_BOOT},
        {"/boot/efi/loader/entries/a-6.1.conf": b"title A\n"},
        {"/efi/EFI/Linux/a.efi": b"MZ"},
        {"/boot/EFI/systemd/systemd-bootx64.efi": b"MZ", "/etc/default/grub": b"GRUB_DEFAULT=0\n"},
    ],
)
def test_systemd_boot_is_named_by_what_it_says_or_by_its_files_where_no_grub_is_configured(
    tree: dict[str, Node],
) -> None:
    assert named(tree) == ("systemd-boot", [])


@pytest.mark.parametrize(
    "tree",
    [
        {**GRUB, LOADER_INFO: b"\x06\0\0\0" + "Limine 12.9.0".encode("utf-16-le")},
        {"/boot/limine.conf": b"/Arch\n  protocol: linux\n"},
        {"/efi/EFI/limine/limine.conf": b""},
        {"/boot/limine/limine.cfg": b""},
    ],
)
def test_limine_is_named_by_what_it_says_or_by_its_file_where_no_grub_is_configured(tree: dict[str, Node]) -> None:
    assert named(tree) == ("limine", [])
    assert named({**tree, "/etc/default/limine": b'KERNEL_CMDLINE[default]+=" x"\n'})[0] == "limine-entry-tool"


@pytest.mark.parametrize(("said", "name"), [("systemd-boot 256.7-1.fc41", "systemd-boot"), ("Limine 9.2.3", "limine")])
def test_leftovers_of_grub_with_boot_entries_go_behind_the_loader_that_says_it_booted_the_host(
    said: str, name: str
) -> None:
    says_so: dict[str, Node] = {LOADER_INFO: b"\x06\0\0\0" + said.encode("utf-16-le")}
    settings: dict[str, Node] = {"/etc/default/grub": b"A=1\nGRUB_ENABLE_BLSCFG=true\n"}
    left_over: dict[str, Node] = {**settings, "/boot/grub2/grub.cfg": b"insmod blscfg\nblscfg\n"}
    assert named({**says_so, **settings}) == named({**says_so, **left_over}) == (name, [])
    assert named({**left_over, LOADER_INFO: b"\x06\0\0\0" + "GRUB 2.12".encode("utf-16-le")}) == ("bls", [])


def test_settings_of_a_grub_that_did_not_boot_the_host_are_said_to_have_no_effect() -> None:
    says_so = {LOADER_INFO: b"\x06\0\0\0" + SYSTEMD_BOOT}
    settings: dict[str, Node] = {"/etc/default/grub": b"GRUB_DEFAULT=0\n"}
    alone, both = (boot.detect(MemoryHost({**says_so, **more})).evidence for more in ({}, settings))
    assert both[: len(alone)] == alone
    assert both[len(alone) :] == (
        "/etc/default/grub is there too: GRUB did not boot this host, and what is changed there has no effect",
    )


def test_where_none_is_found_each_that_was_looked_for_is_named_once() -> None:
    (finding,) = boot.detect(MemoryHost({})).findings
    names = finding.evidence[0].removeprefix("looked for: ").split(", ")
    assert "grub" in names and len(names) == len(set(names))


def test_grub_s_package_alone_is_no_boot_loader() -> None:
    assert named({"/etc/default/grub": b"GRUB_DEFAULT=0\n"}) == (None, ["boot-loader-not-found"])


def test_a_loader_chosen_in_the_configuration_still_needs_evidence() -> None:
    assert named(GRUB, "grub") == ("grub", [])
    assert named({**GRUB, "/etc/NIXOS": b""}, "grub") == ("grub", [])
    assert named(GRUB, "kernelstub") == (None, ["boot-loader-not-found"])


def test_a_loader_that_is_only_recognised_says_how_a_person_does_it() -> None:
    assert all(loader.manual.endswith((".", "yourself.")) for loader in boot.loaders())


TOOLS: dict[str, Node] = {"/etc/initramfs-tools": None}
ALPINE: dict[str, Node] = {"/etc/mkinitfs/mkinitfs.conf": b'features="ata base ext4"\n'}
ATOMIC: dict[str, Node] = {"/run/ostree-booted": b"", "/usr/lib/dracut/dracut.conf.d": None}


@pytest.mark.parametrize(
    ("tree", "commands", "name", "codes"),
    [
        (TOOLS, {"update-initramfs", "mkinitramfs"}, "initramfs-tools", []),
        (TOOLS, {"update-initramfs"}, "initramfs-tools", []),
        ({**TOOLS, "/etc/dracut.conf.d": None}, {"update-initramfs", "dracut"}, "dracut", []),
        (
            {**TOOLS, "/etc/dracut.conf": b"", "/usr/lib/dracut": None},
            {"update-initramfs", "mkinitramfs", "dracut"},
            "initramfs-tools",
            [],
        ),
        ({"/etc/mkinitcpio.conf": b""}, {"mkinitcpio"}, "mkinitcpio", []),
        ({"/etc/booster.yaml": b""}, {"booster"}, "booster", []),
        ({"/usr/lib/booster/regenerate_images": b""}, {"booster"}, "booster", []),
        (ATOMIC, {"rpm-ostree", "dracut"}, "rpm-ostree", ["initramfs-unsupported"]),
        ({**ATOMIC, **TOOLS}, {"rpm-ostree", "dracut", "update-initramfs", "mkinitramfs"}, "initramfs-tools", []),
        ({**ATOMIC, **TOOLS}, {"rpm-ostree", "update-initramfs", "mkinitramfs"}, "initramfs-tools", []),
        (ATOMIC, {"dracut"}, None, ["initramfs-not-found"]),
        ({"/usr/lib/dracut/dracut.conf.d": None}, {"rpm-ostree", "dracut"}, "dracut", []),
        (ALPINE, {"mkinitfs"}, "mkinitfs", ["initramfs-unsupported"]),
        (ALPINE, set(), None, ["initramfs-not-found"]),
        (TOOLS, set(), None, ["initramfs-not-found"]),
        ({}, {"update-initramfs"}, None, ["initramfs-not-found"]),
        (
            {**TOOLS, "/etc/mkinitcpio.conf": b""},
            {"update-initramfs", "mkinitcpio"},
            None,
            ["initramfs-ambiguous"],
        ),
    ],
)
def test_the_generator_is_named_by_its_command_and_its_files(
    tree: dict[str, Node], commands: set[str], name: str | None, codes: list[str]
) -> None:
    found = initramfs.detect(MemoryHost(tree, commands=commands))
    assert (found.generator.name if found.generator else None) == name
    assert [finding.code for finding in found.findings] == codes


def test_a_generator_that_is_only_recognised_says_how_a_person_does_it() -> None:
    (finding,) = initramfs.detect(MemoryHost(ATOMIC, commands={"rpm-ostree", "dracut"})).findings
    assert {"/run/ostree-booted is there", "/usr/bin/rpm-ostree is there"} <= set(finding.evidence)
    assert "`rpm-ostree initramfs --enable`" in finding.hint and '`stub = "pci-stub"`' in finding.hint


def test_an_ambiguity_is_settled_by_the_configuration() -> None:
    host = MemoryHost({**TOOLS, "/etc/mkinitcpio.conf": b""}, commands={"update-initramfs", "mkinitcpio"})
    found = initramfs.detect(host, "initramfs-tools")
    assert found.findings == ()
