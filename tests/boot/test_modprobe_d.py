"""modprobe.d: which ids a module is given, in modprobe's own order of files."""

from __future__ import annotations

import pytest

from steps.modprobe_d import files, option
from tests.support.memory_host import Denied, MemoryHost, Node


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        ({}, None),
        ({"/etc/modprobe.d/a.conf": b"options vfio-pci ids=1:2\n"}, ("1:2", "/etc/modprobe.d/a.conf")),
        ({"/etc/modprobe.d/a.conf": b"options vfio_pci disable_vga=1 ids=1:2\n"}, ("1:2", "/etc/modprobe.d/a.conf")),
        ({"/etc/modprobe.d/a.conf": b"options vfio-pci \\\n  ids=1:2"}, ("1:2", "/etc/modprobe.d/a.conf")),
        ({"/etc/modprobe.d/a.conf": b'options vfio-pci ids="1:2,3:4"\n'}, ("1:2,3:4", "/etc/modprobe.d/a.conf")),
        ({"/etc/modprobe.d/a.conf": b"#options vfio-pci ids=1:2\noptions vfio ids=3:4\n"}, None),
        ({"/etc/modprobe.d/a.txt": b"options vfio-pci ids=1:2\n"}, None),
        (
            {
                "/etc/modprobe.d/b.conf": b"options vfio-pci ids=1:2\n",
                "/lib/modprobe.d/c.conf": b"options vfio-pci ids=3:4\n",
            },
            ("3:4", "/lib/modprobe.d/c.conf"),
        ),
        (
            {
                "/etc/modprobe.d/c.conf": b"# hides the other\n",
                "/lib/modprobe.d/c.conf": b"options vfio-pci ids=3:4\n",
            },
            None,
        ),
        ({"/etc/modprobe.d/a.conf": Denied()}, None),
    ],
)
def test_the_last_file_by_name_wins(tree: dict[str, Node], found: tuple[str, str] | None) -> None:
    assert option(MemoryHost(tree), "vfio_pci", "ids") == found


def test_our_own_file_can_be_left_out() -> None:
    tree: dict[str, Node] = {"/etc/modprobe.d/a.conf": b"options vfio-pci ids=1:2\n"}
    assert files(MemoryHost(tree)) == ("/etc/modprobe.d/a.conf",)
    assert option(MemoryHost(tree), "vfio-pci", "ids", besides=("/etc/modprobe.d/a.conf",)) is None
