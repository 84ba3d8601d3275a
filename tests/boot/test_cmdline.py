"""Kernel command lines: split as the kernel does, merged without losing a word of the user's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps import cmdline
from steps.base import Severity
from steps.cmdline import Wanted, merge, objections, split
from steps.config import Stub

SETUP = "0123456789ab"
TOKEN = f"vfiostate.setup={SETUP}"
IDS = ("10de:1200", "10de:0e0c")


def wanted(**more: object) -> Wanted:
    return Wanted(SETUP, Stub.PCI_STUB, IDS, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"quiet splash\n", ("quiet", "splash")),
        (b"  a\tb\v\fc\r\n", ("a", "b", "c")),
        (b'dyndbg="file a.c +p; file b.c +p" quiet', ('dyndbg="file a.c +p; file b.c +p"', "quiet")),
        (b'"a b=c d" e', ('"a b=c d"', "e")),
        (b'open="to the end', ('open="to the end',)),
        (b"a\xa0b", ("a", "b")),
        (b"x=\xff\xfe y", ("x=\udcff\udcfe", "y")),
        (b"", ()),
    ],
)
def test_a_line_is_split_where_the_kernel_splits_it(line: bytes, words: tuple[str, ...]) -> None:
    assert split(line) == words


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("vfio-pci.ids=1:2", "vfio_pci.ids", "1:2"),
        ("quiet", "quiet", None),
        ('a="b c"', "a", "b c"),
        ('"a=b c"', "a", "b c"),
        ("a=b=c", "a", "b=c"),
        ("a=", "a", ""),
    ],
)
def test_a_word_is_a_name_and_a_value_as_the_kernel_reads_it(word: str, name: str, value: str | None) -> None:
    assert (cmdline.name_of(word), cmdline.value_of(word)) == (name, value)


@pytest.mark.parametrize(
    ("in_force", "want", "tokens", "adopted"),
    [
        ("quiet splash", wanted(), (TOKEN, "pci-stub.ids=10de:1200,10de:0e0c"), ()),
        ("pci-stub.ids=10de:1200,10de:0e0c", wanted(), (TOKEN,), ("pci-stub.ids=10de:1200,10de:0e0c",)),
        ("pci_stub.ids=10DE:0E0C,10de:1200", wanted(), (TOKEN,), ("pci-stub.ids=10de:0e0c,10de:1200",)),
        ("pci-stub.ids=1002:4397", wanted(), (TOKEN, "pci-stub.ids=1002:4397,10de:1200,10de:0e0c"), ()),
        (
            "pci-stub.ids=1:1 pci-stub.ids=1002:4397",
            wanted(),
            (TOKEN, "pci-stub.ids=1002:4397,10de:1200,10de:0e0c"),
            (),
        ),
        ("vfio-pci.ids=1002:4397", wanted(), (TOKEN, "pci-stub.ids=10de:1200,10de:0e0c"), ()),
        ("", wanted(module_ids=("1:2",)), (TOKEN, "pci-stub.ids=1:2,10de:1200,10de:0e0c"), ()),
        ("pci-stub.ids=3:4", wanted(module_ids=("1:2",)), (TOKEN, "pci-stub.ids=3:4,10de:1200,10de:0e0c"), ()),
        (
            "intel_iommu=on,sm_on",
            wanted(intel_iommu=True),
            (TOKEN, "pci-stub.ids=10de:1200,10de:0e0c"),
            ("intel_iommu=on",),
        ),
        (
            "intel_iommu=sm_on",
            wanted(intel_iommu=True),
            (TOKEN, "intel_iommu=on", "pci-stub.ids=10de:1200,10de:0e0c"),
            (),
        ),
        ("iommu.passthrough=1", wanted(iommu_pt=True), (TOKEN, "pci-stub.ids=10de:1200,10de:0e0c"), ("iommu=pt",)),
        ("iommu=pt,force", wanted(iommu_pt=True), (TOKEN, "pci-stub.ids=10de:1200,10de:0e0c"), ("iommu=pt",)),
        ("amd_iommu=on", wanted(iommu_pt=True), (TOKEN, "iommu=pt", "pci-stub.ids=10de:1200,10de:0e0c"), ()),
        ("pci-stub.idsx=10de:1200", wanted(), (TOKEN, "pci-stub.ids=10de:1200,10de:0e0c"), ()),
    ],
)
def test_only_what_is_not_in_force_is_added(
    in_force: str, want: Wanted, tokens: tuple[str, ...], adopted: tuple[str, ...]
) -> None:
    merged = merge(split(in_force.encode()), want)
    assert (merged.tokens, merged.adopted) == (tokens, adopted)


PIECE = st.sampled_from(["quiet", "ro", "intel_iommu=on,sm_on", "iommu=pt", "amd_iommu=on", "x=y", 'd="a b"'])
IDENT = st.from_regex(r"[0-9a-f]{4}:[0-9a-f]{4}", fullmatch=True)
LINES = st.lists(
    st.one_of(PIECE, st.lists(IDENT, min_size=1, max_size=3).map(lambda ids: "vfio-pci.ids=" + ",".join(ids))),
    max_size=6,
)


@settings(deadline=None)
@given(LINES, st.lists(IDENT, min_size=1, max_size=3), st.booleans(), st.booleans())
def test_merging_gives_every_wanted_id_keeps_every_id_in_force_and_is_done_once(
    words: list[str], ids: list[str], intel: bool, pt: bool
) -> None:
    want = Wanted(SETUP, Stub.VFIO_PCI, tuple(ids), intel, pt)
    before = split(" ".join(words).encode())
    after = (*before, *merge(before, want).tokens)
    assert merge(after, want).tokens == ()
    assert set(cmdline.ids_in_force(after, Stub.VFIO_PCI) or ()) == {
        *ids,
        *(cmdline.ids_in_force(before, Stub.VFIO_PCI) or ()),
    }
    assert not intel or "on" in cmdline.options(after, "intel_iommu")
    assert all(cmdline.is_safe(token) for token in after[len(before) :])
    assert "amd_iommu=on" not in after[len(before) :]


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_splitting_any_bytes_keeps_every_byte_that_is_no_space(line: bytes) -> None:
    kept = "".join(split(line)).encode("utf-8", "surrogateescape")
    spaces = b" \t\n\v\f\r\xa0"
    assert kept.translate(None, spaces) == line.translate(None, spaces)


@pytest.mark.parametrize(
    ("line", "vendor", "codes"),
    [
        ("quiet iommu=off", None, ["iommu-off-on-command-line"]),
        ("intel_iommu=off", "intel", ["iommu-off-on-command-line"]),
        ("intel_iommu=off", "amd", []),
        ("intel_iommu=off intel_iommu=on", "intel", []),
        ("amd_iommu=off", "amd", ["iommu-off-on-command-line"]),
        ("amd_iommu=off", "intel", []),
        ("amd_iommu=on", "amd", []),
        ("quiet -- iommu=off", "amd", ["command-line-ends"]),
        ("iommu=pt", "amd", []),
    ],
)
def test_a_command_line_that_stands_against_it_is_named(line: str, vendor: str | None, codes: list[str]) -> None:
    found = objections(split(line.encode()), "/etc/default/grub", vendor=vendor)
    assert [finding.code for finding in found] == codes
    assert all(finding.severity is Severity.REFUSAL and finding.hint and finding.evidence for finding in found)


def test_the_run_of_a_setup_begins_with_its_token() -> None:
    words = ("quiet", TOKEN, "vfio-pci.ids=1:2")
    assert cmdline.run_of(words, SETUP) == (("quiet",), (TOKEN, "vfio-pci.ids=1:2"))
    assert cmdline.run_of(words, "other") is None


@pytest.mark.parametrize(
    ("token", "safe"), [("vfio-pci.ids=1:2,3:4", True), ("a b", False), ("a$b", False), ('"', False)]
)
def test_a_token_that_a_shell_would_read_otherwise_is_not_safe(token: str, safe: bool) -> None:
    assert cmdline.is_safe(token) is safe
