"""The step `stubbed` with real update-grub, update-initramfs, lsinitramfs and modprobe, in a Debian root."""

from __future__ import annotations

from typing import Any

import pytest

from tests.boot.real import root
from tests.boot.real.inside import SETUP

pytestmark = [pytest.mark.real, pytest.mark.skipif(root.missing() is not None, reason=root.missing() or "")]


@pytest.fixture(scope="module")
def told() -> Any:
    """What was seen on the whole way, once for all tests."""
    return root.told_by("tests.boot.real.inside")


WAYS = pytest.mark.parametrize(
    ("way", "stub", "words"),
    [
        ("vfio-pci", "vfio-pci", ["quiet"]),
        ("pci-stub", "pci-stub", ["quiet"]),
        ("single quotes", "pci-stub", ["quiet", "loglevel=3"]),
    ],
)


@WAYS
def test_the_real_tools_make_of_the_edits_what_was_meant(
    told: dict[str, Any], way: str, stub: str, words: list[str]
) -> None:
    seen = told[way]
    assert seen["findings"] == []
    assert seen["actions"] == 5
    assert seen["release"]
    assert seen["words"] == [*words, f"vfiostate.setup={SETUP}", f"{stub}.ids=1234:1111"]
    assert seen["normal"] == [True, True]
    assert seen["recovery"] == [False]


@WAYS
def test_the_real_image_holds_the_stub_and_modprobe_reads_the_softdep(
    told: dict[str, Any], way: str, stub: str, words: list[str]
) -> None:
    seen = told[way]
    assert seen["stub in image"]
    assert seen["softdeps"] == [f"softdep bochs pre: {stub.replace('-', '_')}"]
    assert seen["modprobe"] == 1


@WAYS
def test_a_second_plan_has_nothing_to_do(told: dict[str, Any], way: str, stub: str, words: list[str]) -> None:
    assert told[way]["again"] == 0


@WAYS
def test_the_way_back_leaves_every_file_as_it_was(told: dict[str, Any], way: str, stub: str, words: list[str]) -> None:
    assert told[way]["differs"] == []


def test_real_update_grub_makes_of_our_script_an_entry_that_real_grub_accepts(told: dict[str, Any]) -> None:
    seen = told["trial"]
    assert seen["script"] == [0, "", True]
    assert seen["script-check"] == [0, ""]
    assert seen["findings"] == []
    assert seen["pending"]
    tokens = [f"vfiostate.setup={SETUP}", "vfio-pci.ids=1234:1111"]
    assert seen["words"] == [*seen["default"], *tokens, "panic=30"]
    assert not set(tokens) & set(seen["default"])
    assert seen["as before"]


@pytest.mark.parametrize(("block", "variables"), [("none", []), ("empty", []), ("theirs", ["a=b c", "saved_entry=0"])])
def test_real_grub_editenv_gives_the_environment_block_back_byte_for_byte(
    told: dict[str, Any], block: str, variables: list[str]
) -> None:
    assert told["trial"]["blocks"][block] == [sorted([*variables, "next_entry=vfiostate-trial"]), 1024, True]


def test_real_grub_probe_is_understood_or_is_an_obstacle_with_its_words(told: dict[str, Any]) -> None:
    """In this root it may be that grub-probe finds no device: then that is what is said."""
    seen = told["trial"]
    abstraction, kind = seen["probed"]
    if kind.strip() in ("ext2", "xfs") and not abstraction.strip():
        assert seen["obstacles"] == []
    else:
        assert seen["obstacles"]
