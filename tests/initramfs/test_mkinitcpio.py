"""mkinitcpio: what its configuration says, as an array and as one string of words."""

from __future__ import annotations

import pytest

from steps.initramfs.mkinitcpio import MAIN, Mkinitcpio
from steps.softdeps import CONF
from tests.support.memory_host import MemoryHost, Node

PRESET = b"ALL_kver=/boot/vmlinuz-linux\nPRESETS=('default')\ndefault_image=/boot/initramfs-linux.img\n"


@pytest.mark.parametrize("hooks", ["(base udev modconf block)", '"base udev modconf block"', "modconf"])
def test_a_hook_is_found_whether_hooks_is_an_array_or_a_string(hooks: str) -> None:
    tree: dict[str, Node] = {MAIN: f"HOOKS={hooks}\n".encode(), "/etc/mkinitcpio.d/linux.preset": PRESET}
    facts = Mkinitcpio().read(MemoryHost(tree), "6.12.1-arch1-1", look=False)
    assert facts.findings == () and CONF in facts.listed


@pytest.mark.parametrize("hooks", ["(base udev block)", '"base udev modconfig"'])
def test_a_hook_that_is_missing_is_told_of(hooks: str) -> None:
    tree: dict[str, Node] = {MAIN: f"HOOKS={hooks}\n".encode(), "/etc/mkinitcpio.d/linux.preset": PRESET}
    facts = Mkinitcpio().read(MemoryHost(tree), "6.12.1-arch1-1", look=False)
    assert [each.code for each in facts.findings] == ["initramfs-without-modconf"] and CONF not in facts.listed
