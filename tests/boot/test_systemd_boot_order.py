"""systemd-boot's menu: in which order it lists its entries, which one it takes, and that ours is never that one."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.boot import systemd_boot_trial
from steps.boot.systemd_boot_entry import MenuEntry, names, type1
from steps.boot.systemd_boot_order import compare_versions, default, loader_conf, ordered

TRIAL = systemd_boot_trial.ID
# Each is older than the next: what `systemd-analyze compare-versions` of systemd 252 says.
OLDER = (
    ("6.1.0-9", "6.1.0-56-amd64"),
    ("6.1~rc1", "6.1"),
    ("6.1", "6.1^patched"),
    ("", "1"),
    ("a", "1"),
    ("a", "b"),
    ("a", "ab"),
    ("123-9", "123.1-1"),
    ("00122", "123"),
    ("9", "10"),
    ("A", "a"),
    (TRIAL, "a.conf"),
    (TRIAL, "a1.conf"),
    (TRIAL, "a1b2c3d4-6.1.0-56-amd64.conf"),
    (TRIAL, "arch.conf"),
    (TRIAL, "0123-6.1.conf"),
)


@pytest.mark.parametrize(("old", "new"), OLDER)
def test_versions_compare_as_systemd_compares_them(old: str, new: str) -> None:
    assert compare_versions(old, new) == -1
    assert compare_versions(new, old) == 1


@pytest.mark.parametrize(("one", "other"), [("", ""), ("1.2", "1.2"), ("00123", "123"), ("a_1", "a1"), ("_x", "x")])
def test_what_systemd_passes_over_makes_no_difference(one: str, other: str) -> None:
    assert compare_versions(one, other) == compare_versions(other, one) == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd's own tool is not here")
@pytest.mark.parametrize(("old", "new"), OLDER)
def test_systemd_itself_says_the_same(old: str, new: str) -> None:
    ran = subprocess.run(["systemd-analyze", "compare-versions", old, "lt", new], check=False)
    assert ran.returncode == 0


@settings(deadline=None)
@given(st.lists(st.text("ab19.-~^", max_size=5), min_size=3, max_size=3))
def test_the_order_of_versions_is_one(versions: list[str]) -> None:
    one, two, three = versions
    assert compare_versions(one, two) == -compare_versions(two, one)
    if compare_versions(one, two) <= 0 and compare_versions(two, three) <= 0:
        assert compare_versions(one, three) <= 0


def entry(ident: str, key: str | None = None, version: str | None = None, **more: object) -> MenuEntry:
    return MenuEntry(ident, f"/boot/loader/entries/{ident}", "/boot", sort_key=key, version=version, **more)  # type: ignore[arg-type]


def listed(*entries: MenuEntry) -> list[str]:
    return [each.id for each in ordered(entries)]


def test_entries_with_a_sort_key_come_first_the_newest_before_the_older() -> None:
    old, new = entry("d-6.1.conf", "debian", "6.1.0-9"), entry("d-6.2.conf", "debian", "6.1.0-56")
    assert listed(entry("zz.conf"), old, new, entry("arch.conf"), entry("b.conf", "arch", "1")) == [
        "b.conf",
        "d-6.2.conf",
        "d-6.1.conf",
        "zz.conf",
        "arch.conf",
    ]


def test_an_entry_without_tries_left_comes_last_of_all() -> None:
    bad = entry("d-7.conf", "debian", "7", tries_left=0)
    assert listed(bad, entry("a.conf"), entry("d-6.conf", "debian", "6", tries_left=2)) == [
        "d-6.conf",
        "a.conf",
        "d-7.conf",
    ]


@pytest.mark.parametrize(
    "names",
    [
        ["p-6.10.1-2", "p-6.8.12-11", "p-6.8.12-9", "p-6.8.12-9~rc1", "p-5.15"],
        ["p-6.8", "p-6.8~rc2", "p-6.8~rc1"],
        ["system-a", "snapper-b"],
    ],
)
def test_without_a_sort_key_the_newest_name_comes_first(names: list[str]) -> None:
    assert listed(*(entry(f"{name}.conf") for name in sorted(names))) == [f"{name}.conf" for name in names]


@settings(deadline=None)
@given(st.lists(st.tuples(st.from_regex(r"[b-z0-9][a-z0-9._-]{0,8}\.conf", fullmatch=True), st.booleans()), min_size=1))
def test_ours_is_last_whatever_else_is_there(others: list[tuple[str, bool]]) -> None:
    found = ordered([entry(TRIAL), *(entry(name, "debian" if keyed else None, "1") for name, keyed in others)])
    assert found[-1].id == TRIAL
    taken = default(found, {}, {})
    assert isinstance(taken, MenuEntry) and taken.id != TRIAL


def taken(conf: str = "", automatic: tuple[str, ...] = (), **variables: str) -> str | None:
    entries = ordered([entry("d-6.1.conf", "debian", "6.1"), entry("d-6.2.conf", "debian", "6.2"), entry("mine.conf")])
    found = default(entries, loader_conf(conf.encode()), variables, automatic=automatic)
    return found.id if isinstance(found, MenuEntry) else found


def test_the_variable_goes_before_loader_conf_and_that_before_the_order() -> None:
    assert taken() == "d-6.2.conf"
    assert taken("default mine.conf\n") == "mine.conf"
    assert taken("default mine.conf\n", LoaderEntryDefault="D-6.1.conf") == "d-6.1.conf"
    assert taken("default mine.conf\n", LoaderEntryDefault="gone.conf") == "mine.conf"


def test_a_default_is_a_pattern_and_the_first_that_it_matches_is_taken() -> None:
    assert taken("timeout 3\n#default mine.conf\ndefault\td-*\n") == "d-6.2.conf"
    assert taken("default arch-*\n") == "d-6.2.conf"
    assert taken("default d-6.1.conf\ndefault mine*\n") == "mine.conf"
    assert taken("default MINE.conf\n") == "mine.conf"
    assert taken('default "mine.conf"\n') == "mine.conf"
    assert taken("default mine\n") == "d-6.2.conf"


def test_of_no_entries_none_is_taken() -> None:
    assert default((), loader_conf(b"default d-*\n"), {}) is None


def test_the_entry_that_was_saved_is_taken_where_that_is_asked_for() -> None:
    assert taken("default @saved\n", LoaderEntryLastBooted="mine.conf") == "mine.conf"
    assert taken("default @saved\n") == "d-6.2.conf"
    assert taken("", LoaderEntryDefault="@saved", LoaderEntryLastBooted="mine.conf") == "mine.conf"


def test_another_system_may_be_the_default() -> None:
    assert taken("default auto-windows\n", ("auto-windows",)) == "auto-windows"
    assert taken("default auto-windows\n") == "d-6.2.conf"


@pytest.mark.parametrize(
    ("name", "ident", "left"),
    [
        ("Arch.conf", "arch.conf", None),
        ("d-6.1+3.conf", "d-6.1.conf", 3),
        ("d-6.1+0-3.efi", "d-6.1.efi", 0),
        ("d-6.1+2-1.conf", "d-6.1.conf", 2),
        ("d-6.1+deb12.conf", "d-6.1+deb12.conf", None),
    ],
)
def test_the_counter_is_no_part_of_an_entrys_id(name: str, ident: str, left: int | None) -> None:
    assert names(name) == (ident, left)


def test_the_lines_of_an_entry_are_read_as_the_loader_reads_them() -> None:
    content = (
        b"# comment\r\ntitle\tArch Linux \nlinux   /vmlinuz-linux\ninitrd /ucode.img\ninitrd \\initramfs-linux.img\n"
        b'options root=/dev/sda1\n  options "rw  quiet"  \nsort-key\n'
    )
    found = type1("/boot", "arch.conf", content)
    assert found is not None
    assert (found.title, found.loader, found.sort_key) == ("Arch Linux", "/vmlinuz-linux", None)
    assert found.initrds == ("/ucode.img", "/initramfs-linux.img")
    assert found.words == ("root=/dev/sda1", "rw", "quiet")
    assert found.end is not None
    longer = type1("/boot", "arch.conf", content[: found.end] + b" ours" + content[found.end :])
    assert longer is not None and longer.words == (*found.words, "ours")


def test_bytes_that_are_no_text_stay_in_the_words() -> None:
    found = type1("/boot", "x.conf", b"linux /l\r\noptions root=ZFS=x  quiet\r\noptions a=\xff\r\n")
    assert found is not None and found.words == ("root=ZFS=x", "quiet", "a=\udcff")


def test_a_file_that_starts_nothing_is_no_entry() -> None:
    assert type1("/boot", "x.conf", b"title X\noptions root=/dev/sda1\n") is None
    assert type1("/boot", "x.conf", b"title X\nlinux\n") is None
    assert type1("/boot", "x.conf", b"") is None
