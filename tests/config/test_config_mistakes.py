"""What a wrong configuration is answered with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import load, parse
from engine.config.lines import line_of, locate
from engine.hosts.files import FileTree
from journal.errors import ConfigurationError, Exit

DEVICE = '[[devices]]\naddress = "0000:03:00.0"\nid = "10de:1200"\n'

MISTAKES = [
    ("an unknown key with the nearest one", 'stbu = "vfio-pci"\n' + DEVICE, ["line 1", "stbu", "did you mean stub"]),
    ("a key of another table", "memory = 3\n" + DEVICE, ["line 1", "memory", "belongs into [guest]"]),
    ("a key that is like none", "qqqq = 3\n" + DEVICE, ["line 1", "qqqq", "known here", "stub"]),
    ("an unknown key in a list", DEVICE + 'adress = "x"\n', ["line 4", "devices.adress", "did you mean address"]),
    ("a wrong type", DEVICE + '[guest]\nmemory = "4G"\n', ["line 5", "guest.memory", "whole number", "'4G'"]),
    ("a truth value for a number", DEVICE + "[guest]\nmemory = true\n", ["line 5", "whole number", "true"]),
    ("a number for a truth value", DEVICE + "x_vga = 1\n", ["line 4", "true or false", "whole number (1)"]),
    ("a value that is no choice", 'stub = "pci_stub"\n' + DEVICE, ["line 1", "vfio-pci, pci-stub", "mean pci-stub"]),
    ("a malformed address", DEVICE.replace("03:00.0", "03:20.0"), ["line 2", "devices.address", "0000:03:20.0"]),
    ("a malformed id", DEVICE.replace("10de:1200", "10de"), ["line 3", "devices.id", "vendor:device"]),
    ("a missing key", '[[devices]]\naddress = "03:00.0"\n', ["line 1", "devices.id", "missing"]),
    ("no devices", "iommu_pt = true\n", ["devices", "missing", "go together."]),
    ("an empty list of devices", "devices = []\n", ["line 1", "at least one"]),
    ("the same device twice", DEVICE + DEVICE.replace("0000:", ""), ["line 5", "twice"]),
    ("a table where a list is", "[devices]\n", ["line 1", "expected a list, found a table"]),
    ("a list where a table is", DEVICE + "[[guest]]\n", ["line 4", "expected a table, found a list"]),
    ("a range", DEVICE + "[guest]\ncores = 0\n", ["line 5", "1 to 1024", "(0)"]),
    ("a wide range", DEVICE + "[guest]\nmemory = 8\n", ["line 5", "16 to 16777216 MiB", "(8)"]),
    ("a list of no CPUs", DEVICE + '[guest]\nemulatorpin = "3-1"\n', ["line 5", "list of CPUs such as 2-5,8", "3-1"]),
    ("too few lists of CPUs", DEVICE + '[guest]\ncores = 2\nvcpupin = ["1"]\n', ["line 6", "each vCPU, 2", "found 1"]),
    ("half a huge page", DEVICE + '[guest]\nmemory = 1025\nhugepages = "2M"\n', ["line 5", "the next is 1026"]),
    ("a relative path", DEVICE + '[[guest.disks]]\npath = "disk"\n', ["line 5", "absolute path"]),
    ("a journal that moves along with the caller", 'journal_url = "sqlite:///r.db"\n' + DEVICE, ["line 1", "absolute"]),
    ("a journal in memory", 'journal_url = "sqlite:///:memory:"\n' + DEVICE, ["line 1", "journal_url", "of a file"]),
    ("a journal without a file", 'journal_url = "sqlite://"\n' + DEVICE, ["journal_url", "found sqlite://"]),
    ("a journal on a host", 'journal_url = "sqlite+pysqlite://h//a"\n' + DEVICE, ["journal_url", "absolute path"]),
    ("a journal by URI", 'journal_url = "sqlite:///file:/a?uri=true"\n' + DEVICE, ["journal_url", "absolute path"]),
    ("VNC for everybody", DEVICE + '[guest]\nvnc = "0.0.0.0:0"\n', ["line 5", "loopback"]),
    ("half of UEFI", DEVICE + '[guest]\novmf_code = "/x"\n', ["line 4", "ovmf_vars is not set"]),
    (
        "two disks in one place",
        DEVICE + '[guest]\ndisks=[{path="/a",bootindex=0},{path="/b",bootindex=0}]\n',
        ["line 5"],
    ),
    ("a syntax error", DEVICE + "stub = vfio-pci\n", ["line 4", "not TOML"]),
    ("a string that does not end", DEVICE + 'stub = """\n', ["not TOML"]),
    ("a key twice", "iommu_pt = true\niommu_pt = true\n" + DEVICE, ["not TOML", "line 2"]),
    ("control characters", DEVICE + '[guest]\nargs = ["\\u001b"]\n', ["line 5", "control characters"]),
    ("a deep nest", "x = " + "[" * 5000 + "]" * 5000 + "\n", ["not TOML"]),
]


@pytest.mark.parametrize(("text", "parts"), [each[1:] for each in MISTAKES], ids=[each[0] for each in MISTAKES])
def test_a_mistake_is_named_with_file_line_and_key(text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text.encode(), "/etc/vfiostate.toml")
    answer = "\n".join((caught.value.message, *caught.value.evidence))
    assert "/etc/vfiostate.toml" in answer
    assert caught.value.exit is Exit.USAGE
    for part in parts:
        assert part in answer
    assert "?." not in answer and ".." not in answer.replace("without '..'", "")


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(b'stub = 3\n[guest]\ncores = "2"\n[[devices]]\naddress = "x"\n', "/f")
    lines = [line.split(":")[0] for line in caught.value.evidence]
    assert lines == ["/f, line 1", "/f, line 3", "/f, line 4", "/f, line 5"]


def test_crlf_and_a_byte_order_mark_are_read() -> None:
    assert parse(b"\xef\xbb\xbf" + DEVICE.replace("\n", "\r\n").encode()) == parse(DEVICE.encode())


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="replace")))
def test_no_content_whatever_raises_anything_but_a_configuration_error(content: bytes) -> None:
    with pytest.raises(ConfigurationError):
        parse(content)


def test_the_lines_are_found_through_strings_lists_comments_and_dotted_keys() -> None:
    text = 'a = """\n[x]\nb = 1\n"""\nb = [ # ]\n "]",\n 2,\n]\n"q\\"k".c = 1\n'
    text += "[t.u]\nd = {e = 1}\n[[l]]\n[[l]]\nf=1\n[l.m]\ng='\"'\n"
    found = locate(text)
    assert (found[("a",)], found[("b",)], found[('q"k', "c")]) == (1, 5, 9)
    assert (found[("t", "u")], found[("t", "u", "d")], found[("l", 1, "f")]) == (10, 11, 14)
    assert found[("l", 1, "m", "g")] == 16
    assert line_of(found, ("t", "u", "d", "e")) == 11
    assert line_of(found, ("nowhere",)) is None


# --- the file itself


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir(mode=0o755)
    (tmp_path / "etc").chmod(0o755)
    tmp_path.chmod(0o755)
    (tmp_path / "etc/vfiostate.toml").write_text(DEVICE)
    (tmp_path / "etc/vfiostate.toml").chmod(0o644)
    return tmp_path


def _answer(tree: Path, path: str = "/etc/vfiostate.toml") -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(FileTree(tree), path)
    return caught.value


def test_a_good_file_is_read(tree: Path) -> None:
    assert load(FileTree(tree)).devices[0].id == "10de:1200"


def test_a_missing_file_leads_to_init(tree: Path) -> None:
    answer = _answer(tree, "/etc/other.toml")
    assert "does not exist" in answer.message
    assert "vfiostate init" in answer.hint


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_is_refused(tree: Path, mode: int) -> None:
    (tree / "etc/vfiostate.toml").chmod(mode)
    answer = _answer(tree)
    assert f"{mode:04o}" in answer.message
    # Below `--root DIR`, not the file of the system that is running.
    assert f"`chmod go-w {tree}/etc/vfiostate.toml`" in answer.hint


def test_a_directory_on_the_way_that_others_may_write_is_refused_unless_it_is_sticky(tree: Path) -> None:
    (tree / "etc").chmod(0o777)
    assert "/etc has mode 0777" in _answer(tree).message
    (tree / "etc").chmod(0o1777)
    load(FileTree(tree))


def test_where_a_symlink_leads_counts_too(tree: Path) -> None:
    (tree / "open").mkdir()
    (tree / "open").chmod(0o777)
    os.rename(tree / "etc/vfiostate.toml", tree / "open/real.toml")
    (tree / "etc/vfiostate.toml").symlink_to("/open/real.toml")
    assert "/open has mode 0777" in _answer(tree).message


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_a_file_of_another_user_is_refused(tree: Path) -> None:
    os.chown(tree / "etc/vfiostate.toml", 4711, 0)
    assert "belongs to uid 4711" in _answer(tree).message


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named(tree: Path) -> None:
    (tree / "etc/vfiostate.toml").chmod(0o000)
    assert "cannot be read" in _answer(tree).message


def test_a_directory_a_binary_and_a_huge_file_are_not_configurations(tree: Path) -> None:
    assert "directory" in _answer(tree, "/etc").message
    (tree / "etc/vfiostate.toml").write_bytes(b"\n\x7fELF\xff\xfe")
    assert "line 2: not text in UTF-8" in _answer(tree).message
    with open(tree / "etc/vfiostate.toml", "wb") as huge:
        huge.truncate(1 << 30)
    assert "bytes long" in _answer(tree).message
