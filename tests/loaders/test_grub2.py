"""GRUB under its other name: its paths and commands, a generator that reads no drop-ins, a grub.cfg elsewhere."""

from __future__ import annotations

import pytest

from steps.actions import RunCommand
from steps.base import Completed
from steps.boot import detect, loaders
from steps.boot.base import BootFacts
from steps.boot.grub import Grub
from steps.boot.grub_names import GRUB2
from steps.boot.grub_trial import chosen
from tests.loaders.systems.grub2 import GENERATOR
from tests.support.memory_host import Denied, MemoryHost, Node

SETUP = "0123456789ab"
EFI_CFG = "/boot/efi/EFI/redhat/grub.cfg"
CFG = (
    b'if [ "${next_entry}" ] ; then\n   set default="${next_entry}"\nelse\n   set default="${saved_entry}"\nfi\n'
    b"### BEGIN /etc/grub.d/10_linux ###\nmenuentry 'openSUSE' $menuentry_id_option 'gnulinux-simple-1' {\n"
    b"\tlinux\t/boot/vmlinuz-6.4.0-default root=/dev/sda2 quiet\n}\n### END /etc/grub.d/10_linux ###\n"
)
TREE: dict[str, Node] = {
    "/etc/default/grub": b'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n',
    "/etc/default/grub.d/50.cfg": b'GRUB_CMDLINE_LINUX_DEFAULT="of no effect"\n',
    "/usr/bin/grub2-mkconfig": GENERATOR["text"].encode(),
    "/boot/grub2/grub.cfg": CFG,
    "/boot/vmlinuz-6.4.0-default": b"",
}
COMMANDS = {"grub2-mkconfig", "grub2-editenv", "grub2-probe"}


def grub2() -> Grub:
    (found,) = (each for each in loaders() if each.name == "grub2")
    assert isinstance(found, Grub)
    return found


def read(
    tree: dict[str, Node] | None = None, commands: set[str] = COMMANDS, kind: str = "xfs", below: str = ""
) -> BootFacts:
    answers: dict[tuple[str, ...] | str, str | Completed] = {
        ("grub2-probe", "--target=fs", "/boot/grub2"): f"{kind}\n",
        ("grub2-probe", "--target=abstraction", "/boot/grub2"): below,
    }
    return grub2().read(MemoryHost({**TREE, **(tree or {})}, commands=set(commands), answers=answers), SETUP)


def test_its_paths_and_commands_have_its_name() -> None:
    facts = read()
    assert facts.findings == () and facts.trial.obstacles == ()
    assert facts.generated == "/boot/grub2/grub.cfg"
    assert facts.regenerate == ("grub2-mkconfig", "-o", "/boot/grub2/grub.cfg")
    (made,) = grub2().commit(facts)
    assert isinstance(made, RunCommand) and made.produces == ("/boot/grub2/grub.cfg", "/boot/grub2/grub.cfg.new")
    assert grub2().choose(facts) == (chosen(GRUB2),)
    assert chosen(GRUB2).argv[:2] == ("grub2-editenv", "/boot/grub2/grubenv")
    assert "grub2-set-default" in facts.defaulting


def test_a_drop_in_that_its_generator_does_not_read_is_neither_read_nor_edited() -> None:
    facts = read()
    assert facts.words == ("quiet",)
    assert facts.site is not None and facts.site.path == "/etc/default/grub"
    debian = read(
        {"/usr/bin/grub2-mkconfig": b". ${sysconfdir}/default/grub\nfor x in ${sysconfdir}/default/grub.d/*.cfg"}
    )
    assert debian.words == ("of", "no", "effect")


@pytest.mark.parametrize(("kind", "below"), [("btrfs", ""), ("xfs", "lvm\n")])
def test_where_it_cannot_write_its_environment_no_trial_is_made(kind: str, below: str) -> None:
    (obstacle,) = read(kind=kind, below=below).trial.obstacles
    assert "GRUB cannot write" in obstacle and "/boot/grub2" in obstacle


def test_without_its_tools_it_is_refused_and_says_which() -> None:
    facts = read(commands=set())
    assert [each.code for each in facts.findings] == ["grub-tools-missing"]
    assert "grub2-mkconfig" in facts.findings[0].message


UEFI: dict[str, Node] = {"/sys/firmware/efi": None}


@pytest.mark.parametrize(
    ("tree", "codes"),
    [
        ({**UEFI, EFI_CFG: CFG}, ["grub-cfg-elsewhere"]),
        ({EFI_CFG: CFG}, []),
        ({**UEFI, EFI_CFG: b"search --fs-uuid --set=dev X\nconfigfile $prefix/grub.cfg\n"}, []),
        ({**UEFI, EFI_CFG: Denied()}, []),
    ],
)
def test_a_configuration_that_grub_reads_on_the_esp_is_named_and_not_another_one_written(
    tree: dict[str, Node], codes: list[str]
) -> None:
    facts = read(tree)
    assert [each.code for each in facts.findings] == codes
    assert all(EFI_CFG in each.message and each.evidence and each.hint for each in facts.findings)


def test_it_is_the_one_where_nothing_else_boots_the_host() -> None:
    found = detect(MemoryHost(TREE))
    assert found.loader is not None and found.loader.name == "grub2" and found.findings == ()
