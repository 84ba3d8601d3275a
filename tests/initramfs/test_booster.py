"""booster: one key of a YAML file, and images whose rebuild says nothing."""

from __future__ import annotations

import pytest

from steps.actions import EditFile
from steps.initramfs.base import InitramfsFacts
from steps.initramfs.booster import CONFIG, SCRIPT, Booster, listed
from steps.insertion import take_out
from tests.support.memory_host import MemoryHost, Node

BOOSTER = Booster()
SETUP = "0123456789ab"
OURS = "vfio,vfio_pci"
BASE: dict[str, Node] = {SCRIPT: b"", "/usr/lib/modules/6.1/pkgbase": b"linux\n", "/usr/lib/modules/6.0-own/x": b""}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("modules_force_load: loop\n", f"modules_force_load: {OURS},loop\n"),
        ("modules_force_load: loop # mine\n", f"modules_force_load: {OURS},loop # mine\n"),
        ('modules_force_load: "loop, nvme"\n', f'modules_force_load: "{OURS},loop, nvme"\n'),
        ("a: 1\nmodules_force_load:  'loop'\n", f"a: 1\nmodules_force_load:  '{OURS},loop'\n"),
        ("modules_force_load:\nb: 2\n", f"modules_force_load: {OURS}\nb: 2\n"),
        ("modules_force_load: # none\n", f"modules_force_load: {OURS} # none\n"),
        ("modules_force_load: loop,\n  nvme\n", f"modules_force_load: {OURS},loop,\n  nvme\n"),
        ("modules_force_load: vfio-pci\n", "modules_force_load: vfio,vfio-pci\n"),
    ],
)
def test_our_modules_come_first_and_every_other_byte_stays(before: str, after: str) -> None:
    (action,) = BOOSTER.edits(read({CONFIG: before.encode()}), ("vfio", "vfio_pci"), SETUP)
    assert isinstance(action, EditFile)
    assert action.content.decode() == after
    assert take_out(action.content, action.inserted) == before.encode()
    assert {"vfio", "vfio_pci"} <= listed(action.content)


@pytest.mark.parametrize(
    "content", [b"", b"universal: true\n", b"# modules_force_load: vfio\nnetwork:\n  modules_force_load: x\n"]
)
def test_a_file_without_the_key_gets_a_line_of_its_own(content: bytes) -> None:
    (action,) = BOOSTER.edits(read({CONFIG: content}), ("vfio", "vfio_pci"), SETUP)
    assert isinstance(action, EditFile)
    assert action.content.startswith(content) and f"\nmodules_force_load: {OURS}\n".encode() in action.content


@pytest.mark.parametrize(
    "content",
    [
        b"modules_force_load: [loop]\n",
        b"modules_force_load: |\n  loop\n",
        b"modules_force_load: a\nmodules_force_load: b\n",
        b"{universal: true}\n",
        b"a: 1\n---\nb: 2\n",
        b"a: 1\n...\n",
        b"a: \0\n",
    ],
)
def test_yaml_that_a_line_would_not_mean_the_same_in_is_refused(content: bytes) -> None:
    assert "initramfs-conf-unreadable" in [finding.code for finding in read({CONFIG: content}).findings]


def test_a_leading_document_mark_is_no_second_document() -> None:
    assert [each.code for each in read({CONFIG: b"---\na: 1\n"}).findings] == ["initramfs-heeds-no-softdep"]


def test_a_host_without_the_script_is_refused() -> None:
    facts = BOOSTER.read(MemoryHost({CONFIG: b""}), "6.1", look=False)
    assert "initramfs-no-rebuild" in [finding.code for finding in facts.findings]


def test_the_images_are_those_of_packages_and_the_kernels_are_copied_beside_them() -> None:
    facts = read({CONFIG: b""})
    assert facts.image == "/boot/booster-linux.img"
    assert facts.products == ("/boot/booster-linux.img", "/boot/vmlinuz-linux")


def test_modules_lie_flat_in_an_image() -> None:
    listing = "usr/lib/modules/\nlib -> usr/lib\nusr/lib/modules/vfio_pci.ko\n"
    host = MemoryHost({**BASE, CONFIG: b""}, answers={("booster", "ls", "/boot/booster-linux.img"): listing})
    facts = BOOSTER.read(host, "6.1", look=True)
    assert facts.has_module("vfio-pci") and not facts.has_module("vfio")
    assert BOOSTER.read(host, "6.0-own", look=True).trouble.startswith("/usr/lib/modules/6.0-own/pkgbase")


def read(tree: dict[str, Node]) -> InitramfsFacts:
    return BOOSTER.read(MemoryHost({**BASE, **tree}), "6.1", look=False)
