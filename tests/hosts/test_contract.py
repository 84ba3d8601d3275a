"""One contract, kept by the Linux host (a mounted system) and by the simulated machine alike."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.hosts.base import Attributes, ChangeableHost
from engine.hosts.files import ACCESS_LIST, temporary_name
from engine.hosts.linux import LinuxHost
from engine.hosts.simulated import SimulatedHost
from steps.base import FileKind

SECRET = b"of the real system\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated machine, made once."""
    place = tmp_path_factory.mktemp("machine") / "m"
    SimulatedHost.create_if_missing(place, "debian12-lab")
    return place


@pytest.fixture(params=["linux", "simulated"])
def host(request: pytest.FixtureRequest, made: Path, tmp_path: Path) -> ChangeableHost:
    """A host, with an empty directory /c in it."""
    root = made if request.param == "simulated" else tmp_path / "root"
    place = root / "c"
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True)
    return SimulatedHost(root) if request.param == "simulated" else LinuxHost(root)


def _mine(host: ChangeableHost, mode: int = 0o640) -> Attributes:
    simulated = isinstance(host, SimulatedHost)
    own = 0 if simulated or os.geteuid() == 0 else os.geteuid()
    group = 0 if simulated or os.geteuid() == 0 else os.getegid()
    return Attributes(mode, own, group)


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=5000), mode=st.sampled_from([0o600, 0o644, 0o755, 0o4755, 0o400, 0o000]))
def test_what_is_written_is_read_again_with_its_mode(host: ChangeableHost, content: bytes, mode: int) -> None:
    host.write_file("/c/file", content, _mine(host, mode))
    host.local("/c/file").chmod(mode | 0o400)
    assert host.read("/c/file") == content
    found = host.lstat("/c/file")
    assert found is not None and found.kind is FileKind.FILE and found.size == len(content)
    assert host.attributes("/c/file").mode == mode | 0o400
    assert host.list("/c") == ("file",)


def test_a_write_keeps_the_old_content_whole_until_the_new_one_is(host: ChangeableHost) -> None:
    host.write_file("/c/file", b"old", _mine(host))
    before = host.local("/c/file").stat().st_ino
    host.write_file("/c/file", b"new", _mine(host))
    assert host.local("/c/file").stat().st_ino != before
    assert host.read("/c/file") == b"new"
    assert host.list("/c") == ("file",)


def test_put_file_is_a_write_of_what_lies_elsewhere(host: ChangeableHost, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x" * 3_000_000)
    host.put_file("/c/file", tmp_path / "image", _mine(host, 0o600))
    assert host.read("/c/file") == b"x" * 3_000_000
    assert host.attributes("/c/file").mode == 0o600


def test_what_a_write_that_was_cut_short_left_is_tidied(host: ChangeableHost) -> None:
    host.write_file("/c/file", b"old", _mine(host))
    host.local("/c").joinpath(temporary_name("file")).write_bytes(b"half")
    host.tidy("/c/file")
    host.tidy("/c/never")
    host.tidy("/c/nowhere/file")
    assert host.list("/c") == ("file",)
    host.local("/c").joinpath(temporary_name("file")).write_bytes(b"half")
    host.write_file("/c/file", b"new", _mine(host))
    assert host.list("/c") == ("file",)


def test_what_is_not_there_is_not_empty(host: ChangeableHost) -> None:
    assert host.lstat("/c/none") is None
    assert host.lstat("/c/none/below") is None
    for ask in (host.read, host.list, host.readlink, host.attributes, host.remove_file):
        with pytest.raises(FileNotFoundError):
            ask("/c/none")


def test_a_removed_file_is_gone_and_a_directory_is_none(host: ChangeableHost) -> None:
    host.write_file("/c/file", b"", _mine(host))
    host.remove_file("/c/file")
    assert host.lstat("/c/file") is None
    with pytest.raises(OSError):
        host.remove_file("/c")
    with pytest.raises(OSError):
        host.write_file("/c", b"", _mine(host))


def test_a_path_must_be_absolute(host: ChangeableHost) -> None:
    for ask in (host.read, host.lstat, host.list, host.resolve, host.local):
        with pytest.raises((ValueError, OSError)):
            ask("etc/passwd")


@pytest.mark.parametrize("target", ["{outside}", "../../../../../../../../../../..{outside}", "/c/up/../..{outside}"])
def test_no_symlink_leads_out(host: ChangeableHost, tmp_path: Path, target: str) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(SECRET)
    (tmp_path / "directory").mkdir()
    root = host.local("/")
    (root / "c/up").mkdir()
    (root / "c/link").symlink_to(target.format(outside=outside))
    (root / "c/folder").symlink_to(target.format(outside=tmp_path / "directory"))
    with pytest.raises(OSError):
        host.read("/c/link")
    with pytest.raises(OSError):
        host.attributes("/c/link")
    with pytest.raises(OSError):
        host.write_file("/c/link", b"mine", _mine(host))
    with pytest.raises(OSError):
        host.write_file("/c/folder/new", b"mine", _mine(host))
    with pytest.raises(OSError):
        host.list("/c/folder")
    host.remove_file("/c/link")
    assert outside.read_bytes() == SECRET
    assert list((tmp_path / "directory").iterdir()) == []
    assert not host.local("/c/folder/x").is_relative_to(tmp_path / "directory")


def test_a_symlink_within_is_followed_as_the_host_sees_it(host: ChangeableHost) -> None:
    host.write_file("/c/file", b"inside", _mine(host))
    root = host.local("/")
    (root / "c/absolute").symlink_to("/c/file")
    (root / "c/relative").symlink_to("../../../../c/file")
    for name in ("absolute", "relative"):
        assert host.read(f"/c/{name}") == b"inside"
        assert host.resolve(f"/c/{name}") == "/c/file"
        found = host.lstat(f"/c/{name}")
        assert found is not None and found.kind is FileKind.SYMLINK
    assert host.readlink("/c/absolute") == "/c/file"


def test_a_loop_of_symlinks_ends(host: ChangeableHost) -> None:
    root = host.local("/")
    (root / "c/a").symlink_to("b")
    (root / "c/b").symlink_to("a")
    for ask in (host.read, host.resolve, host.attributes):
        with pytest.raises(OSError):
            ask("/c/a")


def test_sync_and_free_take_any_path(host: ChangeableHost) -> None:
    host.write_file("/c/file", b"x", _mine(host))
    for path in ("/c/file", "/c", "/c/none", "/c/none/below"):
        host.sync(path)
        assert host.free(path) > 0
        assert host.filesystem(path) == host.filesystem("/c")


def test_a_missing_command_is_status_127(host: ChangeableHost) -> None:
    if isinstance(host, LinuxHost) and os.geteuid() != 0:
        pytest.skip("a command in a mounted system needs chroot(2), which needs root")
    assert host.query(["no-such-command", "-x"]).status == 127
    assert host.run(["no-such-command"], timeout=10).status == 127
    assert host.which("no-such-command") is None
    assert host.which("../bin/sh") is None or isinstance(host, LinuxHost)


def test_a_command_is_found_where_nixos_has_all_of_its_own_and_behind_every_other_place(host: ChangeableHost) -> None:
    own, usual = "/run/current-system/sw/bin", "/usr/bin"
    names = ("nixos-only", "nixos-too")
    places = [host.local(f"{own}/{name}") for name in names] + [host.local(f"{usual}/{names[1]}")]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch(mode=0o755)
    assert [host.which(name) for name in names] == [f"{own}/{names[0]}", f"{usual}/{names[1]}"]
    for place in places:
        place.unlink()


def test_an_attribute_that_is_not_there_has_the_kernels_errno(host: ChangeableHost) -> None:
    with pytest.raises(FileNotFoundError):
        host.write_attribute("/c/none", "1", timeout=5)
    with pytest.raises(IsADirectoryError):
        host.write_attribute("/c", "1", timeout=5)


def test_nothing_runs_under_a_name_nobody_started(host: ChangeableHost) -> None:
    assert host.alive("nobody") is None
    host.kill("nobody", timeout=0.1)
    for name in ("../x", "", "a b"):
        with pytest.raises(ValueError):
            host.alive(name)


def test_the_log_of_the_system_never_stops_a_run(host: ChangeableHost) -> None:
    host.system_log("a line of a test")


def test_the_mode_of_a_new_file_does_not_depend_on_the_umask(host: ChangeableHost) -> None:
    before = os.umask(0o777)
    try:
        host.write_file("/c/file", b"", _mine(host, 0o644))
    finally:
        os.umask(before)
    assert stat.S_IMODE(host.local("/c/file").stat().st_mode) == 0o644


def test_a_file_that_is_replaced_inherits_no_access_list_from_its_directory(host: ChangeableHost) -> None:
    host.write_file("/c/file", b"", _mine(host, 0o640))
    before = host.attributes("/c/file")
    # acl(5), fs/posix_acl.c: a version, then tag, permissions and id of each entry; here user 1000 may do all.
    entries = ((1, 7, -1), (2, 7, 1000), (4, 5, -1), (0x10, 7, -1), (0x20, 0, -1))
    inherited = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(host.local("/c"), "system.posix_acl_default", inherited)
    except OSError:
        pytest.skip("this file system has no access lists")
    host.write_file("/c/file", b"new", before)
    assert host.attributes("/c/file") == before
    host.write_file("/c/file", b"listed", Attributes(0o770, before.uid, before.gid, {ACCESS_LIST: inherited}))
    assert host.attributes("/c/file").xattrs[ACCESS_LIST] == inherited


def test_a_file_that_is_immutable_is_named_itself(host: ChangeableHost) -> None:
    host.write_file("/c/file", b"old", _mine(host))
    place = host.local("/c/file")
    if subprocess.run(["chattr", "+i", place], capture_output=True, check=False).returncode:
        pytest.skip("not root, or a file system without that attribute")
    try:
        with pytest.raises(PermissionError, match="immutable") as caught:
            host.write_file("/c/file", b"new", _mine(host))
    finally:
        subprocess.run(["chattr", "-i", place], check=True)
    assert caught.value.filename == str(place)
    assert host.list("/c") == ("file",)
