"""initramfs-tools: the module list gains one marked block, and the image is looked into."""

from __future__ import annotations

import pytest

from steps.actions import EditFile, RunCommand
from steps.initramfs.base import module_name
from steps.initramfs.initramfs_tools import MODULES, InitramfsTools
from steps.insertion import appended, new_file, take_out
from tests.support.memory_host import Link, MemoryHost, Node, completed

SETUP = "0123456789ab"
TOOLS = InitramfsTools()
BLOCK = f"# vfiostate {SETUP}: the stub driver\nvfio_pci\n# vfiostate {SETUP}: end\n".encode()


def edit(tree: dict[str, Node]) -> EditFile:
    facts = TOOLS.read(MemoryHost(tree), "6.1", look=False)
    (action,) = TOOLS.edits(facts, ("vfio_pci",), SETUP)
    assert isinstance(action, EditFile)
    return action


@pytest.mark.parametrize(
    ("content", "lead"), [(b"# list\nloop\n", b""), (b"", b""), (b"loop", b"\n"), (b"a\r\n", b""), (b"\xff\xfe", b"\n")]
)
def test_the_list_gains_one_block_at_its_end_and_keeps_every_byte(content: bytes, lead: bytes) -> None:
    action = edit({MODULES: content})
    assert action.content == content + lead + BLOCK
    assert take_out(action.content, action.inserted) == content


def test_a_missing_list_is_made_and_a_symlinked_one_followed() -> None:
    made = edit({"/etc/initramfs-tools": None})
    assert (made.before, made.content, made.inserted) == (None, BLOCK, BLOCK)
    assert edit({MODULES: Link("../modules"), "/etc/modules": b"loop\n"}).path == "/etc/modules"


@pytest.mark.parametrize("line", [b"vfio-pci\n", b"vfio_pci ids=1:2 # mine\n", b"  vfio_pci"])
def test_a_module_that_is_listed_is_not_listed_again(line: bytes) -> None:
    facts = TOOLS.read(MemoryHost({MODULES: line}), "6.1", look=False)
    assert TOOLS.edits(facts, ("vfio_pci",), SETUP) == ()


def test_a_module_in_a_comment_is_not_listed() -> None:
    assert edit({MODULES: b"# vfio_pci\n"}).content.endswith(BLOCK)


def test_the_rebuild_names_every_image_and_what_it_leaves_behind_when_cut_off() -> None:
    tree: dict[str, Node] = {f"/boot/{name}": b"" for name in ("initrd.img-6.1", "initrd.img-5.10", "vmlinuz-6.1")}
    tree["/boot/initrd.img-6.1.bak"] = b""
    tree["/var/lib/initramfs-tools/6.1"] = b"sum"
    (command,) = TOOLS.commit(TOOLS.read(MemoryHost(tree), "6.1", look=False))
    assert isinstance(command, RunCommand)
    assert set(command.produces) == {
        "/boot/initrd.img-6.1",
        "/boot/initrd.img-6.1.new",
        "/boot/initrd.img-5.10",
        "/boot/initrd.img-5.10.new",
        "/var/lib/initramfs-tools/6.1",
    }


def test_a_backup_of_the_image_is_a_product_where_it_is_switched_on() -> None:
    tree: dict[str, Node] = {
        "/boot/initrd.img-6.1": b"",
        "/etc/initramfs-tools/update-initramfs.conf": b"#backup_initramfs=no\nbackup_initramfs=yes\n",
    }
    assert "/boot/initrd.img-6.1.bak" in TOOLS.read(MemoryHost(tree), "6.1", look=False).products


def test_the_image_of_the_kernel_that_boots_is_looked_into_when_asked() -> None:
    listing = ".\n./etc/modprobe.d/00-vfiostate.conf\nusr/lib/modules/6.1/kernel/drivers/vfio/pci/vfio-pci.ko.xz\n"
    host = MemoryHost({}, answers={("lsinitramfs", "/boot/initrd.img-6.1"): listing})
    facts = TOOLS.read(host, "6.1", look=True)
    assert facts.has_module("vfio_pci")
    assert facts.has_module("vfio-pci")
    assert not facts.has_module("vfio")
    assert facts.has_file("/etc/modprobe.d/00-vfiostate.conf")
    assert TOOLS.read(host, "6.1", look=False).names is None


def test_an_image_that_cannot_be_listed_is_said_with_the_tool_s_last_words() -> None:
    host = MemoryHost({}, answers={"lsinitramfs": completed(("lsinitramfs",), status=2, stderr="bad magic")})
    facts = TOOLS.read(host, "6.1", look=True)
    assert facts.names is None
    assert "bad magic" in facts.trouble


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("usr/lib/modules/6.1/kernel/a/vfio-pci.ko", "vfio_pci"),
        ("lib/modules/6.1/kernel/a/snd_hda_intel.ko.zst", "snd_hda_intel"),
        ("lib/modules/6.1/updates/nvidia.ko.gz", "nvidia"),
        ("lib/modules/6.1/modules.dep", None),
        ("etc/vfio-pci.ko", None),
    ],
)
def test_a_module_is_known_by_its_file(path: str, name: str | None) -> None:
    assert module_name(path) == name


def test_insertions_say_where_they_cannot_go() -> None:
    assert take_out(b"aXbXc", b"X") is None
    assert take_out(b"abc", b"") is None
    assert take_out(b"aXbXc", b"X", anywhere=True) == b"abc"
    assert take_out(b"a X Y\nX Z\n", b" X Y", anywhere=True) is None
    assert take_out(b"abc", b"X", anywhere=True) is take_out(b"abc", b"", anywhere=True) is None
    assert new_file("/x", b"a", "why").before is None
    with pytest.raises(ValueError, match="offset"):
        appended("/x", b"long content", b"line\n").apply(b"short")
