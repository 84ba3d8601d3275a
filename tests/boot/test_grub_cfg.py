"""A generated grub.cfg: its entries, their command lines, and which one the next boot takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.boot import grub_cfg
from steps.boot.base import BootFacts, Entry
from steps.boot.generated import check, lacking

# What update-grub of Debian 12 and Ubuntu 22.04 write, shortened; the xen section is that of 20_linux_xen.
CFG = (Path(__file__).parent / "data" / "ubuntu-grub.cfg").read_bytes()
SIMPLE = ("root=UUID=U", "ro", "quiet", "dyndbg=file a.c +p", "splash", "$vt_handoff")


def entries() -> tuple[grub_cfg.MenuEntry, ...]:
    return grub_cfg.entries(CFG)


def test_every_entry_is_read_with_its_place_section_kernel_and_words() -> None:
    found = entries()
    assert [entry.path for entry in found[:6]] == [(0,), (1, 0), (1, 1), (1, 2), (2,), (3,)]
    assert found[0].arguments == SIMPLE
    assert found[0].ids == ("gnulinux-simple-U",)
    assert found[1].title == "Advanced options for Ubuntu > Ubuntu, with Linux 6.1.0-9-amd64"
    assert [entry.release for entry in found[:5]] == ["6.1.0-9-amd64"] * 3 + ["5.10.0-1", None]
    assert found[6].arguments == ("root=UUID=U", "my", "words")


@pytest.mark.parametrize(
    ("kernel", "release"),
    [
        ("/boot/kernel-genkernel-x86_64-5.4.38-gentoo", "5.4.38-gentoo"),
        ("/kernel-6.6.21-gentoo", "6.6.21-gentoo"),
        ("/vmlinux-6.1.0", "6.1.0"),
        ("/@/boot/vmlinuz-linux", "linux"),
        ("/boot/bzImage", None),
        (None, None),
    ],
)
def test_the_release_is_told_by_the_name_of_the_kernel_s_file(kernel: str | None, release: str | None) -> None:
    assert grub_cfg.MenuEntry((0,), ("x",), (None,), "10_linux", kernel).release == release


def test_recovery_entries_and_those_of_others_are_told_apart() -> None:
    assert [entry.recovery for entry in entries()[:4]] == [False, False, True, False]
    assert [entry.generated for entry in entries()[:7]] == [True] * 4 + [False] * 3


@pytest.mark.parametrize(
    ("chosen", "env", "path"),
    [
        ('"0"', {}, (0,)),
        ('"1>2"', {}, (1, 2)),
        ('"1"', {}, (1, 0)),
        ('"gnulinux-advanced-U>gnulinux-5.10.0-1-advanced-U"', {}, (1, 2)),
        ('"Advanced options for Ubuntu>Ubuntu, with Linux 6.1.0-9-amd64"', {}, (1, 0)),
        ('"mine"', {}, (4,)),
        ('"${saved_entry}"', {}, (0,)),
        ('"${saved_entry}"', {"saved_entry": "mine"}, (4,)),
        ('"0"', {"next_entry": "1>1"}, (1, 1)),
        ('"nonsense"', {}, (0,)),
        ('"99"', {}, (0,)),
    ],
)
def test_the_default_is_the_entry_grub_would_take(chosen: str, env: dict[str, str], path: tuple[int, ...]) -> None:
    content = CFG.replace(b'set default="0"', f"set default={chosen}".encode())
    found = grub_cfg.default_entry(content, env, entries())
    assert found is not None
    assert found.path == path


def test_without_entries_there_is_no_default() -> None:
    assert grub_cfg.default_entry(b"", {}, ()) is None


def test_the_environment_block_is_read() -> None:
    block = b"# GRUB Environment Block\nsaved_entry=gnulinux-advanced-U>x=y\nnext_entry=\n" + b"#" * 900
    assert grub_cfg.environment(block) == {"saved_entry": "gnulinux-advanced-U>x=y", "next_entry": ""}


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_rubbish_is_read_without_an_error(content: bytes) -> None:
    grub_cfg.default_entry(content, grub_cfg.environment(content), grub_cfg.entries(content))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(CFG.splitlines(keepends=True)), max_size=40))
def test_a_file_cut_and_shuffled_is_read_without_an_error(lines: list[bytes]) -> None:
    content = b"".join(lines)
    grub_cfg.default_entry(content, {}, grub_cfg.entries(content))


def facts(*listed: Entry, default: int | None = 0) -> BootFacts:
    chosen = listed[default] if default is not None else None
    return BootFacts("grub", "/etc/default/grub", entries=listed, default=chosen, generated="/boot/grub/grub.cfg")


GOOD = Entry("Debian", "6.1", ("ro", "quiet", "vfiostate.setup=1", "x.ids=2"), False, True)
RECOVERY = Entry("recovery", "6.1", ("ro", "single"), True, True)
FOREIGN = Entry("Other", "4.0", ("ro",), False, False)
TOKENS = ("vfiostate.setup=1", "x.ids=2")


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        (facts(GOOD, RECOVERY, FOREIGN), []),
        (facts(GOOD, Entry("old", "5.0", ("ro",), False, True)), ["entry-without-tokens"]),
        (facts(GOOD, FOREIGN, default=1), ["default-entry-without-tokens"]),
        (facts(GOOD, default=None), ["default-entry-without-tokens"]),
        (facts(GOOD, Entry("r", "6.1", ("single", TOKENS[0]), True, True)), ["recovery-entry-changed"]),
        (facts(GOOD, Entry("r", "6.1", ("single", TOKENS[1]), True, True)), []),
        (BootFacts("grub", "x"), ["generated-missing"]),
    ],
)
def test_the_generated_configuration_is_held_against_what_was_meant(given: BootFacts, codes: list[str]) -> None:
    assert [finding.code for finding in check(given, TOKENS)] == codes


def test_a_token_must_be_a_word_of_its_own() -> None:
    assert lacking(facts(Entry("a", "1", ("xx.ids=2", "x.ids=22"), False, True)), ("x.ids=2",)) != ()
