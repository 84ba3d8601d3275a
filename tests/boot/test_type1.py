"""Entries of the Boot Loader Specification: their words, and the order in which a menu has them."""

from __future__ import annotations

import pytest

from steps.boot import type1
from steps.boot.type1 import Type1


def entry(name: str, **keys: str) -> Type1:
    text = "".join(f"{key.replace('_', '-')} {value}\n" for key, value in keys.items())
    return type1.parse(name, text.encode())


def test_an_entry_is_keys_and_the_rest_of_their_lines() -> None:
    content = (
        b"# mine\ntitle    Proxmox VE\r\nversion\t6.8\n\noptions  root=ZFS=x  quiet\noptions a=\xff\nlinux /l\nquiet\n"
    )
    found = type1.parse("proxmox-6.8+3-1.conf", content)
    assert found.id == "proxmox-6.8.conf" and not found.bad
    assert found.options == ("root=ZFS=x", "quiet", "a=\udcff")
    assert found.title == "Proxmox VE (6.8)"
    assert (found.value("linux"), found.value("quiet"), found.value("initrd")) == ("/l", "", None)


@pytest.mark.parametrize(
    "names",
    [
        ["p-6.10.1-2", "p-6.8.12-11", "p-6.8.12-9", "p-6.8.12-9~rc1", "p-5.15"],
        ["p-6.8", "p-6.8~rc2", "p-6.8~rc1"],
        ["system-a", "snapper-b"],
    ],
)
def test_without_a_sort_key_the_newest_name_comes_first(names: list[str]) -> None:
    found = type1.ordered(entry(f"{name}.conf", title="x") for name in sorted(names))
    assert [each.id.removesuffix(".conf") for each in found] == names


def test_a_sort_key_goes_before_names_and_its_newest_version_first_and_what_failed_last() -> None:
    listed = [
        entry("z.conf", title="no key"),
        entry("b.conf", sort_key="os", version="6.1"),
        entry("a.conf", sort_key="os", version="6.10"),
        entry("c.conf", sort_key="a", version="1"),
        entry("d+0-3.conf", sort_key="a", version="9"),
    ]
    assert [each.id for each in type1.ordered(listed)] == ["c.conf", "a.conf", "b.conf", "z.conf", "d.conf"]


def test_the_default_is_the_first_that_the_pattern_names_and_the_first_of_all_otherwise() -> None:
    listed = type1.ordered([entry("proxmox-6.8.conf"), entry("proxmox-6.5.conf"), entry("zz.conf")])
    ids = {
        pattern: found.id if (found := type1.chosen(listed, pattern)) else None
        for pattern in ("proxmox-*", "proxmox-6.5.conf", "PROXMOX-6.5", "gone.conf", None)
    }
    assert list(ids.values()) == ["proxmox-6.8.conf", "proxmox-6.5.conf", "proxmox-6.5.conf", "zz.conf", "zz.conf"]
    assert type1.chosen((), "proxmox-*") is None
