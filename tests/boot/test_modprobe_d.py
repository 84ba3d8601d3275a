"""modprobe.d: which ids and which softdep a module is given, in modprobe's own order of files."""

from __future__ import annotations

import pytest

from steps.modprobe_d import Softdep, files, option, softdep
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


BY_DEPMOD = "/lib/modules/6.1/modules.softdep"
A, Z = "/etc/modprobe.d/a.conf", "/etc/modprobe.d/z.conf"


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        ({}, None),
        ({BY_DEPMOD: b"softdep r8169 pre: realtek\n"}, Softdep(BY_DEPMOD, ("realtek",))),
        ({BY_DEPMOD: b"softdep r8169 pre: realtek\n", Z: b"softdep r8169 pre: x\n"}, Softdep(BY_DEPMOD, ("realtek",))),
        ({BY_DEPMOD: b"softdep r8169 pre: realtek\n", A: b"softdep r8169 pre: x\n"}, Softdep(A, ("x",))),
        ({A: b"softdep r8169 pre: x\nsoftdep r8169 pre: y\n"}, Softdep(A, ("x",))),
        ({A: b"softdep r81* post: x pre: y-z post: w\n"}, Softdep(A, ("y-z",), ("x", "w"))),
        ({A: b"softdep r8168 pre: x\n#softdep r8169 pre: y\n"}, None),
        ({BY_DEPMOD.replace("6.1", "6.2"): b"softdep r8169 pre: realtek\n"}, None),
    ],
)
def test_the_first_softdep_wins_and_depmod_s_file_has_its_place_by_its_name(
    tree: dict[str, Node], found: Softdep | None
) -> None:
    assert softdep(MemoryHost(tree), "r8169", "6.1") == found
