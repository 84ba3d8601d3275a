"""The release of a kernel by the name of its file."""

from __future__ import annotations

from steps.boot import grub_menu
from steps.boot.kernel_release import release_of
from tests.support.memory_host import MemoryHost, Node

ARCH: dict[str, Node] = {
    "/lib/modules/6.18.3-arch1-1/pkgbase": b"linux\n",
    "/lib/modules/6.12.60-1-lts/pkgbase": b"linux-lts\n",
    "/lib/modules/6.1.0-9-amd64/modules.dep": b"",
    "/boot/vmlinuz-linux": b"",
    "/boot/vmlinuz-linux-lts": b"",
}


def test_a_kernel_named_by_its_package_is_the_release_whose_modules_say_so() -> None:
    host = MemoryHost(ARCH)
    assert release_of(host, "linux") == "6.18.3-arch1-1"
    assert release_of(host, "linux-lts") == "6.12.60-1-lts"
    assert release_of(host, "6.1.0-9-amd64") == "6.1.0-9-amd64"
    assert release_of(host, "linux-zen") == "linux-zen"
    assert release_of(host, None) is None
    assert release_of(MemoryHost({}), "linux") == "linux"


def test_manjaro_s_kernel_is_the_release_whose_modules_say_the_name_of_its_file() -> None:
    modules = "/lib/modules/6.6.63-1-MANJARO"
    host = MemoryHost({f"{modules}/pkgbase": b"linux66\n", f"{modules}/kernelbase": b"6.6-x86_64\n"})
    assert release_of(host, "6.6-x86_64") == release_of(host, "linux66") == "6.6.63-1-MANJARO"
    assert release_of(host, "6.1-x86_64") == "6.1-x86_64"


def test_alpine_s_kernel_is_the_only_release_that_ends_with_its_flavour() -> None:
    host = MemoryHost({"/lib/modules/6.12.31-0-lts/modules.dep": b"", "/lib/modules/6.12.31-0-virt/modules.dep": b""})
    assert (release_of(host, "lts"), release_of(host, "virt")) == ("6.12.31-0-lts", "6.12.31-0-virt")
    assert release_of(host, "t") == "t"
    host.tree["/lib/modules/6.6.30-0-lts/modules.dep"] = b""
    assert release_of(host, "lts") == "lts"


def test_the_entries_of_arch_s_grub_boot_releases_and_none_of_them_is_new() -> None:
    cfg = "".join(
        f"menuentry 'Arch Linux, with Linux {name}' {{\n\tlinux\t/boot/vmlinuz-{name} root=/dev/sda1 rw quiet\n}}\n"
        for name in ("linux", "linux-lts")
    ).encode()
    menu = grub_menu.read(MemoryHost(ARCH), cfg, {})
    assert [entry.release for entry in menu.entries] == ["6.18.3-arch1-1", "6.12.60-1-lts"]
    assert menu.default == menu.entries[0] and menu.newest is None
    first = cfg.split(b"}\n")[0] + b"}\n"
    assert grub_menu.read(MemoryHost(ARCH), first, {}).newest == "6.12.60-1-lts"
