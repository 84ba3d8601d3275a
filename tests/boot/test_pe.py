"""The sections of a unified kernel image are read without a tool, and a damaged file is named, never guessed at."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.hosts.simulated.unified_image import build
from steps.boot import pe

OSREL = b'# a comment\nID=debian\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\n'
SECTIONS = {
    ".osrel": OSREL,
    ".cmdline": b" root=/dev/sda1 ro quiet\0",
    ".uname": b"6.12.0-1-amd64",
    ".linux": b"kernel",
}
IMAGE = build(SECTIONS)


def test_every_section_comes_with_its_content_and_without_what_fills_it_up() -> None:
    assert dict(pe.sections(IMAGE)) == SECTIONS
    assert len(IMAGE) % 512 == 0


@settings(deadline=None)
@given(st.lists(st.binary(max_size=1500), min_size=1, max_size=8))
def test_what_is_put_into_sections_comes_out_of_them(contents: list[bytes]) -> None:
    named = {f".s{n}": content for n, content in enumerate(contents)}
    assert dict(pe.sections(build(named))) == named


def test_an_image_says_its_command_line_its_kernel_and_its_system() -> None:
    found = pe.unified(IMAGE)
    assert found.cmdline == b" root=/dev/sda1 ro quiet"
    assert found.release == "6.12.0-1-amd64"
    assert found.os_release["PRETTY_NAME"] == "Debian GNU/Linux 13 (trixie)"
    assert "# a comment" not in found.os_release


def test_an_image_without_a_command_line_has_none_rather_than_an_empty_one() -> None:
    assert pe.unified(build({".linux": b"kernel"})).cmdline is None
    assert pe.unified(build({".linux": b"kernel", ".cmdline": b"\0"})).cmdline == b""


def test_the_profiles_of_an_image_are_counted_and_the_first_command_line_is_its_own() -> None:
    image = build({**SECTIONS, ".profile": b"ID=main\n"})
    assert pe.unified(image).profiles == 1
    assert pe.unified(IMAGE).profiles == 0


DAMAGED = {
    "empty": (b"", "MZ"),
    "a text file": (b"title Debian\n" * 20, "MZ"),
    "cut within the DOS header": (IMAGE[:40], "MZ"),
    "cut before the PE header": (IMAGE[:100], "behind the end"),
    "another signature": (IMAGE.replace(b"PE\0\0", b"NE\0\0", 1), "no PE signature"),
    "cut within the section table": (IMAGE[:420], "table of 4 sections"),
    "cut within a section": (IMAGE[:-510], ".linux ends at"),
    "a boot loader, not an image": (build({".text": b"code", ".sdmagic": b"x"}), "no kernel in it"),
}


@pytest.mark.parametrize("name", list(DAMAGED))
def test_a_damaged_image_is_named_and_says_in_what(name: str) -> None:
    content, said = DAMAGED[name]
    with pytest.raises(pe.PeError, match=said):
        pe.unified(content)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 419), st.integers(0, 255))
def test_no_byte_of_the_headers_makes_it_fail_otherwise_than_by_name(at: int, byte: int) -> None:
    changed = IMAGE[:at] + bytes((byte,)) + IMAGE[at + 1 :]
    try:
        found = pe.sections(changed)
    except pe.PeError:
        return
    assert all(len(content) <= len(IMAGE) for _, content in found)


def test_a_section_that_claims_more_than_the_file_has_is_not_read_past_its_end() -> None:
    table = IMAGE.index(b".linux")
    huge = IMAGE[: table + 8] + struct.pack("<IIII", 1 << 30, 0, 1 << 30, 512) + IMAGE[table + 24 :]
    with pytest.raises(pe.PeError, match="behind the end"):
        pe.sections(huge)
