"""dracut: what its configuration says, where its images are, what lsinitrd lists."""

from __future__ import annotations

import pytest

from steps.actions import EditFile, Regenerate, RunCommand
from steps.base import Severity
from steps.initramfs.dracut import DROP_IN, REBUILD, Dracut
from steps.insertion import take_out
from steps.reading import matching
from tests.support.memory_host import MemoryHost, Node, completed

DRACUT = Dracut()
SETUP = "0123456789ab"
CONF = "/etc/modprobe.d/00-vfiostate.conf"
BASE: dict[str, Node] = {"/etc/dracut.conf": b"# see dracut.conf(5)\n", "/etc/dracut.conf.d": None}
DIST = {"/usr/lib/dracut/dracut.conf.d/01-dist.conf": b'hostonly="yes"\n'}
LISTING = """\
Image: /boot/initramfs-6.1.img: 31M
========================================================================
Version: dracut-059-4

Arguments: -f

dracut modules:
base
========================================================================
crw-r--r--   1 root     root       5,   1 Jan  1  1970 dev/console
lrwxrwxrwx   1 root     root            7 Jan  1  1970 bin -> usr/bin
drwxr-xr-x   3 root     root            0 Jan  1  1970 etc/modprobe.d
-rw-r--r--   1 root     root          110 Jan  1  1970 etc/modprobe.d/00-vfiostate.conf
-rw-r--r--   2 root     root        31232 Jan  1  1970 usr/lib/modules/6.1/kernel/drivers/vfio/pci/vfio-pci.ko.xz
-rwxr-xr-x   1 root     root         1932 Jan  1  1970 usr/lib/dracut/hooks/pre-udev/00-vfiostate-early.sh
========================================================================
"""


def edit(tree: dict[str, Node]) -> EditFile:
    (action,) = DRACUT.edits(DRACUT.read(MemoryHost(tree), "6.1", look=False), ("vfio", "vfio_pci"), SETUP)
    assert isinstance(action, EditFile)
    return action


@pytest.mark.parametrize(
    ("more", "lines"),
    [
        ({}, ['force_drivers+=" vfio vfio_pci "', f'install_optional_items+=" {CONF} "']),
        (DIST, ['force_drivers+=" vfio vfio_pci "']),
        (
            {**DIST, "/etc/dracut.conf.d/01-dist.conf": b"# hides it\n"},
            ['force_drivers+=" vfio vfio_pci "', f'install_optional_items+=" {CONF} "'],
        ),
        ({**DIST, "/etc/dracut.conf.d/mine.conf": b'force_drivers+=" vfio "\n'}, ['force_drivers+=" vfio_pci "']),
        (
            {"/etc/dracut.conf.d/mine.conf": b'force_drivers+=" vfio vfio-pci "\n'},
            [f'install_optional_items+=" {CONF} "'],
        ),
        (
            {**DIST, "/etc/dracut.conf.d/mine.disabled": b'force_drivers+=" vfio "\n'},
            ['force_drivers+=" vfio vfio_pci "'],
        ),
    ],
)
def test_the_drop_in_has_what_bash_does_not_find_in_the_configuration(more: dict[str, Node], lines: list[str]) -> None:
    action = edit({**BASE, **more})
    assert (action.path, action.before) == (DROP_IN, None)
    assert action.content.decode().splitlines()[1:-1] == lines


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ("", False),
        ("dracutmodules=auto", False),
        ('dracutmodules+=" base kernel-modules "', True),
        ('dracutmodules+=" base vfiostate "', False),
        ('dracutmodules+=" base "; add_dracutmodules+=" vfiostate "', False),
    ],
)
def test_our_module_of_dracut_is_named_where_a_configuration_takes_in_a_few_alone(chosen: str, named: bool) -> None:
    """check_module in dracut-init.sh; tests/boot/real asks the real one."""
    tree: dict[str, Node] = {**BASE, **DIST, "/etc/dracut.conf.d/mine.conf": chosen.encode()}
    facts = DRACUT.read(MemoryHost(tree), "6.1", look=False)
    edits = DRACUT.edits(facts, ("vfio_pci",), SETUP, b"true")
    lines = [line for edit in edits if isinstance(edit, EditFile) for line in edit.content.decode().splitlines()]
    assert ('add_dracutmodules+=" vfiostate "' in lines) is named
    (without,) = DRACUT.edits(facts, ("vfio_pci",), SETUP)
    assert isinstance(without, EditFile) and b"dracutmodules" not in without.content


def test_a_drop_in_of_that_name_keeps_every_byte() -> None:
    theirs = b'add_drivers+=" loop "'
    action = edit({**BASE, DROP_IN: theirs})
    assert action.content.startswith(theirs + b"\n")
    assert take_out(action.content, action.inserted) == theirs


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"/etc/dracut.conf.d/x.conf": b"a=(\n"}, "initramfs-conf-broken"),
        ({"/etc/dracut.conf.d/x.conf": b"a=\0\n"}, "initramfs-conf-broken"),
        ({"/etc/dracut.conf.d/x.conf": b"uefi=yes\n"}, "initramfs-is-uki"),
    ],
)
def test_a_configuration_that_is_not_driven_is_refused(more: dict[str, Node], code: str) -> None:
    (finding,) = DRACUT.read(MemoryHost({**BASE, **more}), "6.1", look=False).findings
    assert finding.code == code and finding.hint


@pytest.mark.parametrize(
    ("tree", "image", "kin"),
    [
        ({"/boot/initramfs-6.1.img": b""}, "/boot/initramfs-6.1.img", "/boot/initramfs-*.img"),
        ({"/boot/initrd.img-6.1": b""}, "/boot/initrd.img-6.1", "/boot/initrd.img-*"),
        ({"/boot/initrd-6.1": b""}, "/boot/initrd-6.1", "/boot/initrd-*"),
        ({}, "/boot/initramfs-6.1.img", "/boot/initramfs-*.img"),
        ({"/lib/modules/6.1/initrd": b""}, "/lib/modules/6.1/initrd", "/lib/modules/*/initrd"),
        (
            {"/etc/machine-id": b"abc\n", "/boot/loader/entries": None, "/boot/abc": None, "/boot/initrd-6.1": b""},
            "/boot/abc/6.1/initrd",
            "/boot/abc/*/initrd",
        ),
        (
            {"/etc/dracut.conf.d/n.conf": b'initrdname="ram-${kernel}"\n', "/boot/ram-6.1": b""},
            "/boot/ram-6.1",
            "/boot/ram-*",
        ),
        ({"/etc/dracut.conf.d/n.conf": b"initrdname=ram\n", "/boot/ram": b""}, "/boot/ram", ""),
    ],
)
def test_the_image_is_looked_for_where_dracut_puts_it(tree: dict[str, Node], image: str, kin: str) -> None:
    facts = DRACUT.read(MemoryHost({**BASE, **tree}), "6.1", look=False)
    assert facts.image == image
    (command,) = DRACUT.commit(facts)
    assert isinstance(command, RunCommand) and isinstance(command.undo, Regenerate)
    assert (command.undo.argv, command.undo.kin) == (REBUILD, kin)


ARCH: dict[str, Node] = {
    "/lib/modules/6.1/pkgbase": b"linux\n",
    "/boot/vmlinuz-linux": b"",
    "/boot/initramfs-linux.img": b"",
}
KERNEL_INSTALL: dict[str, Node] = {"/etc/machine-id": b"abc\n", "/boot/loader/entries": None, "/boot/abc": None}
MANJARO: dict[str, Node] = {
    "/lib/modules/6.1/pkgbase": b"linux61\n",
    "/lib/modules/6.1/kernelbase": b"6.1-x86_64\n",
    "/boot/vmlinuz-6.1-x86_64": b"",
    "/boot/initramfs-6.1-x86_64.img": b"",
}


@pytest.mark.parametrize(
    ("tree", "other"),
    [
        (ARCH, "/boot/initramfs-linux.img"),
        ({**ARCH, "/boot/initramfs-6.1.img": b""}, "/boot/initramfs-linux.img"),
        (MANJARO, "/boot/initramfs-6.1-x86_64.img"),
    ],
)
def test_an_image_that_a_hook_names_after_the_package_is_refused_before_another_is_made(
    tree: dict[str, Node], other: str
) -> None:
    (finding,) = DRACUT.read(MemoryHost({**BASE, **tree}), "6.1", look=False).findings
    assert finding.code == "initramfs-named-otherwise" and finding.severity is Severity.REFUSAL
    assert other in finding.message and "/boot/initramfs-6.1.img" in finding.message
    assert any(other in line for line in finding.evidence) and "/boot/initramfs-6.1.img" in finding.evidence[-1]


@pytest.mark.parametrize(
    "tree",
    [
        {**ARCH, **KERNEL_INSTALL},
        {**ARCH, "/etc/dracut.conf.d/n.conf": b"initrdname=initramfs-linux.img\n"},
        {path: node for path, node in ARCH.items() if path != "/boot/initramfs-linux.img"},
        {path: node for path, node in ARCH.items() if path != "/boot/vmlinuz-linux"},
        {"/boot/vmlinuz-linux": b"", "/boot/initramfs-linux.img": b""},
    ],
)
def test_an_image_that_is_where_dracut_puts_it_is_not(tree: dict[str, Node]) -> None:
    assert DRACUT.read(MemoryHost({**BASE, **tree}), "6.1", look=False).findings == ()


def test_every_kernel_that_is_regenerated_has_its_image_among_the_products() -> None:
    tree: dict[str, Node] = {f"/lib/modules/{name}/modules.dep": b"" for name in ("6.1", "5.10")}
    tree |= {"/lib/modules/4.19/extra/x.ko": b"", "/boot/initramfs-0-rescue-abc.img": b""}
    facts = DRACUT.read(MemoryHost({**BASE, **tree}), "6.1", look=False)
    assert facts.products == ("/boot/initramfs-5.10.img", "/boot/initramfs-6.1.img")


def test_where_debians_hook_names_the_images_each_is_made_by_name_wherever_dracut_would_put_it() -> None:
    tree: dict[str, Node] = {f"/lib/modules/{name}/modules.dep": b"" for name in ("6.1", "5.10")}
    tree |= {"/etc/kernel/postinst.d/dracut": b"", "/etc/machine-id": b"abc\n", "/boot/initrd.img-6.1": b""}
    entries: dict[str, Node] = {"/boot/efi/loader/entries/a.conf": b"", "/boot/efi/abc/6.1/linux": b""}
    alone, beside = (DRACUT.read(MemoryHost({**BASE, **tree, **more}), "6.1", look=False) for more in ({}, entries))
    assert alone.image == beside.image == "/boot/initrd.img-6.1"
    assert alone.products == beside.products == ("/boot/initrd.img-5.10", "/boot/initrd.img-6.1")
    assert [command.argv for command in DRACUT.commit(alone) if isinstance(command, RunCommand)] == [REBUILD]
    commands = [command for command in DRACUT.commit(beside) if isinstance(command, RunCommand)]
    assert [command.argv for command in commands] == [
        ("dracut", "-f", f"/boot/initrd.img-{release}", release) for release in ("5.10", "6.1")
    ]
    for command in commands:
        assert command.produces == beside.products and isinstance(command.undo, Regenerate)
        assert (command.undo.argv, command.undo.kin) == (command.argv, "/boot/initrd.img-*")
        assert command.undo.each == ("dracut", "-f", "/boot/initrd.img-{}", "{}")


def test_a_rescue_image_that_was_there_is_no_reason_to_make_all_anew_on_the_way_back() -> None:
    rescue = "/boot/initramfs-0-rescue-abc.img"
    (command,) = DRACUT.commit(DRACUT.read(MemoryHost({**BASE, rescue: b""}), "6.1", look=False))
    assert isinstance(command, RunCommand) and isinstance(command.undo, Regenerate)
    assert command.undo.there == (rescue,) and matching(MemoryHost({rescue: b""}), command.undo.kin) == (rescue,)


def test_the_listing_is_read_whatever_stands_in_a_line() -> None:
    host = MemoryHost(dict(BASE), answers={("lsinitrd", "/boot/initramfs-6.1.img"): LISTING})
    facts = DRACUT.read(host, "6.1", look=True)
    assert facts.names is not None and {"bin", "dev/console"} <= facts.names
    assert facts.has_module("vfio_pci") and facts.has_file(CONF) and facts.has_early()


@pytest.mark.parametrize(
    "answer", [completed(("lsinitrd",), status=1, stderr="no such image"), completed(("lsinitrd",))]
)
def test_an_image_that_cannot_be_listed_is_said_even_where_lsinitrd_succeeds(answer: object) -> None:
    facts = DRACUT.read(MemoryHost(dict(BASE), answers={"lsinitrd": answer}), "6.1", look=True)  # type: ignore[dict-item]
    assert facts.names is None and "lsinitrd /boot/initramfs-6.1.img ended with status" in facts.trouble
