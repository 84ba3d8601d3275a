"""Files below a root: no symlink leads out, a replacement is whole and keeps what it should."""

from __future__ import annotations

import errno
import fnmatch
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.hosts.base import Attributes
from engine.hosts.files import FileTree, temporary_name
from steps.base import FileKind


def mine(mode: int = 0o644, **xattrs: bytes) -> Attributes:
    return Attributes(mode, os.getuid(), os.getgid(), {f"user.{name}": value for name, value in xattrs.items()})


@pytest.fixture
def tree(tmp_path: Path) -> FileTree:
    """A root with a secret beside it."""
    (tmp_path / "root" / "etc").mkdir(parents=True)
    (tmp_path / "secret").write_text("outside")
    return FileTree(tmp_path / "root")


@pytest.mark.parametrize(
    "target", ["/secret", "../secret", "../../secret", "../../../../../../secret", "/../secret", "/etc/../../secret"]
)
def test_no_symlink_leads_out_of_the_root(tree: FileTree, target: str) -> None:
    (tree.root / "etc" / "link").symlink_to(target)
    with pytest.raises(FileNotFoundError):
        tree.read("/etc/link")
    assert tree.local(tree.resolve("/etc/link")).is_relative_to(tree.root)


def test_a_directory_symlink_to_the_outside_is_followed_inside(tree: FileTree, tmp_path: Path) -> None:
    (tree.root / "link").symlink_to(tmp_path)
    with pytest.raises(FileNotFoundError):
        tree.write_file("/link/file", b"x", mine())
    assert not (tmp_path / "file").exists()


def test_an_absolute_symlink_means_the_root_s_own_path(tree: FileTree) -> None:
    (tree.root / "etc" / "real").write_text("inside")
    (tree.root / "link").symlink_to("/etc/real")
    assert tree.read("/link") == b"inside"
    assert tree.resolve("/link") == "/etc/real"


def test_a_loop_of_symlinks_is_an_error_and_not_a_hang(tree: FileTree) -> None:
    (tree.root / "a").symlink_to("b")
    (tree.root / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        tree.read("/a")


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(["a", "b", "..", ".", "", "etc"]), max_size=8), st.data())
def test_resolving_never_leaves_the_root(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("tree")
    (root / "etc").mkdir()
    for name in ("a", "b", "etc/a"):
        target = "/".join(data.draw(st.lists(st.sampled_from(["..", "a", "b", "etc", ""]), min_size=1, max_size=4)))
        if target:
            (root / name).symlink_to(target)
    tree = FileTree(root)
    try:
        found = tree.resolve("/" + "/".join(parts))
    except OSError as error:
        assert error.errno == errno.ELOOP
        return
    assert found.startswith("/") and ".." not in found.split("/")


def test_a_replacement_has_the_content_mode_owner_and_attributes_it_was_given(tree: FileTree) -> None:
    tree.write_file("/etc/file", b"new", mine(0o4750))
    assert tree.read("/etc/file") == b"new"
    assert tree.attributes("/etc/file") == mine(0o4750)
    assert tree.lstat("/etc/file") == tree.lstat("/etc/../etc/file")


def test_extended_attributes_are_kept(tree: FileTree) -> None:
    try:
        os.setxattr(tree.root, "user.probe", b"1")
    except OSError:
        pytest.skip("this file system keeps no extended attributes")
    tree.write_file("/etc/file", b"new", mine(0o600, colour=b"red", empty=b""))
    assert tree.attributes("/etc/file").xattrs == {"user.colour": b"red", "user.empty": b""}


def test_putting_a_file_copies_the_bytes_of_the_source(tree: FileTree, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 9000)
    tree.put_file("/etc/file", source, mine(0o600))
    assert tree.read("/etc/file") == source.read_bytes()


def test_a_symlink_or_directory_in_the_place_of_the_file_is_refused_and_left(tree: FileTree) -> None:
    (tree.root / "etc" / "link").symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        tree.write_file("/etc/link", b"x", mine())
    with pytest.raises(IsADirectoryError):
        tree.write_file("/etc", b"x", mine())
    assert tree.readlink("/etc/link") == "elsewhere"
    assert tree.list("/etc") == ("link",)


@pytest.mark.parametrize("name", ["grub", "vfio.conf", "50-cloud.cfg", "10_linux", "initrd.img-6.1", "x" * 255])
def test_no_glob_that_a_tool_uses_matches_the_temporary_file(name: str) -> None:
    temporary = temporary_name(name)
    assert temporary.startswith(".") and len(temporary) < 256
    for pattern in ("*.cfg", "*.conf", "vmlinuz-*", "initrd.img-*", "*.rules", "*.service"):
        assert not fnmatch.fnmatch(temporary, pattern)


def test_the_order_is_content_attributes_sync_rename_sync_of_the_directory(
    tree: FileTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def watch(name: str) -> None:
        real = getattr(os, name)

        def seen(*args: object, **kwargs: object) -> object:
            what = name
            if name == "fsync" and isinstance(args[0], int):
                what += " directory" if stat.S_ISDIR(os.fstat(args[0]).st_mode) else " file"
            calls.append(what)
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, seen)

    for name in ("fchmod", "fsync", "rename"):
        watch(name)
    tree.write_file("/etc/file", b"new", mine())
    assert calls == ["fchmod", "fsync file", "rename", "fsync directory"]


@pytest.mark.parametrize("where", ["fchmod", "fsync", "rename"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tree: FileTree, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    tree.write_file("/etc/file", b"old", mine(0o640))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, where, full)
    with pytest.raises(OSError, match="full"):
        tree.write_file("/etc/file", b"new", mine())
    monkeypatch.undo()
    assert tree.read("/etc/file") == b"old"
    assert tree.list("/etc") == ("file",)


def test_what_a_crash_leaves_is_cleared_by_tidy_and_by_the_next_write(tree: FileTree) -> None:
    left = tree.root / "etc" / temporary_name("file")
    left.write_text("half")
    tree.tidy("/etc/file")
    assert tree.list("/etc") == ()
    left.write_text("half")
    tree.write_file("/etc/file", b"new", mine())
    assert tree.list("/etc") == ("file",)
    tree.tidy("/etc/file")
    tree.tidy("/nowhere/file")


def test_reading_says_what_is_there(tree: FileTree) -> None:
    tree.write_file("/etc/file", b"12345", mine(0o600))
    (tree.root / "etc" / "link").symlink_to("file")
    os.mkfifo(tree.root / "etc" / "pipe")
    kinds = {name: found.kind for name in tree.list("/etc") if (found := tree.lstat(f"/etc/{name}"))}
    assert kinds == {"file": FileKind.FILE, "link": FileKind.SYMLINK, "pipe": FileKind.OTHER}
    assert tree.lstat("/etc/nothing") is None
    assert tree.lstat("/etc/file/below") is None
    assert tree.free("/etc/not/yet/there") > 0
    assert tree.filesystem("/etc/not/yet/there") == tree.filesystem("/")
    tree.remove_file("/etc/file")
    with pytest.raises(FileNotFoundError):
        tree.remove_file("/etc/file")
