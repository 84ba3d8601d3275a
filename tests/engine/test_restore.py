"""restore.sh puts files back byte for byte in a plain shell: no Python, no tool beyond POSIX."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.restore_script import script

STATE = "/var/lib/vfiostate"
SHELLS = [shell for shell in (["dash"], ["bash", "--posix"], ["busybox", "sh"]) if shutil.which(shell[0])]


def _file(content: bytes, mode: int = 0o644) -> dict[str, Any]:
    sha = hashlib.sha256(content).hexdigest()
    return {"sha256": sha, "mode": mode, "uid": os.getuid(), "gid": os.getgid(), "xattrs": {}, "where": "blob"}


def _prepare(root: Path, before: dict[str, Any], contents: dict[str, bytes]) -> Path:
    place = root / STATE.lstrip("/") / "restore.sh"
    place.parent.mkdir(parents=True, exist_ok=True)
    (root / "etc").mkdir(exist_ok=True)
    place.write_bytes(script("abc", STATE, before, contents))
    return place


def _run(shell: list[str], place: Path, *args: str) -> subprocess.CompletedProcess[bytes]:
    # An empty PATH but for the POSIX tools: whatever else the script asked for would not be found.
    return subprocess.run([*shell, str(place), *args], capture_output=True, check=False, env={"PATH": "/usr/bin:/bin"})


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"plain\ntext\n",
        b"no final newline",
        b"CRLF\r\nlines\r\n",
        b"$HOME `id` \"quoted\" \\back\\ 'single'\n",
        bytes(range(256)) * 3,
        b"VFIOSTATE_END\nVFIOSTATE_END_\n",
        "Grüße\n".encode(),
        b"\n\n\n",
    ],
)
def test_a_file_comes_back_byte_for_byte_with_its_mode(shell: list[str], content: bytes, tmp_path: Path) -> None:
    target = tmp_path / "etc/default/grub"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"changed\n")
    record = _file(content, 0o640)
    done = _run(shell, _prepare(tmp_path, {"/etc/default/grub": record}, {record["sha256"]: content}))
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == content
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@settings(deadline=None, max_examples=40)
@given(content=st.binary(max_size=300))
def test_any_bytes_come_back(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("root")
    record = _file(content)
    done = _run(SHELLS[0], _prepare(root, {"/etc/modules": record}, {record["sha256"]: content}))
    assert done.returncode == 0, done.stderr
    assert (root / "etc/modules").read_bytes() == content


def test_a_file_that_was_not_there_goes_and_is_kept_aside(tmp_path: Path) -> None:
    target = tmp_path / "etc/modprobe.d/00-vfiostate.conf"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"softdep\n")
    place = _prepare(tmp_path, {"/etc/modprobe.d/00-vfiostate.conf": {"sha256": None}}, {})
    assert _run(SHELLS[0], place).returncode == 0
    assert not target.exists()
    assert (place.parent / "replaced/_etc_modprobe.d_00-vfiostate.conf").read_bytes() == b"softdep\n"


def test_a_large_image_is_copied_from_beside_the_script(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/initrd.img-1").write_bytes(b"new")
    record = _file(b"old initramfs") | {"where": "image"}
    place = _prepare(tmp_path, {"/boot/initrd.img-1": record}, {})
    (place.parent / "images").mkdir()
    (place.parent / "images" / record["sha256"]).write_bytes(b"old initramfs")
    assert _run(SHELLS[0], place).returncode == 0
    assert (tmp_path / "boot/initrd.img-1").read_bytes() == b"old initramfs"


def test_it_restores_the_root_it_is_told(tmp_path: Path) -> None:
    elsewhere = tmp_path / "mnt"
    (elsewhere / "etc").mkdir(parents=True)
    record = _file(b"as before\n")
    place = _prepare(tmp_path / "usb", {"/etc/modules": record}, {record["sha256"]: b"as before\n"})
    assert _run(SHELLS[0], place, str(elsewhere)).returncode == 0
    assert (elsewhere / "etc/modules").read_bytes() == b"as before\n"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_what_the_first_run_replaced_is_kept_by_the_second(shell: list[str], tmp_path: Path) -> None:
    record = _file(b"as before\n")
    before = {"/etc/modules": record, "/etc/link": {"sha256": "link:modules"}}
    place = _prepare(tmp_path, before, {record["sha256"]: b"as before\n"})
    for name in ("modules", "link"):
        (tmp_path / "etc" / name).write_bytes(b"the user's own\n")
    for _ in range(3):
        assert _run(shell, place).returncode == 0
    kept = place.parent / "replaced"
    assert {name: (kept / name).read_bytes() for name in ("_etc_modules", "_etc_link")} == {
        "_etc_modules": b"the user's own\n",
        "_etc_link": b"the user's own\n",
    }
    assert (kept / "_etc_modules~").read_bytes() == b"as before\n"
    assert not (kept / "_etc_modules~~").exists()


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_where_no_system_is_nothing_is_called_as_before(shell: list[str], tmp_path: Path) -> None:
    place = _prepare(tmp_path, {"/etc/modprobe.d/00-vfiostate.conf": {"sha256": None}}, {})
    done = _run(shell, place, str(tmp_path / "mistyped"))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"mistyped is no system's root" in done.stderr
    assert not (place.parent / "replaced").exists()


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_what_cannot_be_put_back_is_named_and_all_else_comes_back(shell: list[str], tmp_path: Path) -> None:
    text, octets = _file(b"text\n"), _file(b"\0octets" * 20)
    contents = {text["sha256"]: b"text\n", octets["sha256"]: b"\0octets" * 20}
    big = _file(b"image\n") | {"where": "image"}
    new, link = {"sha256": None}, {"sha256": "link:there"}
    full = {"/etc/full-text": text, "/etc/full-octets": octets, "/etc/full-image": big}
    directories = {"/etc/directory-new": new, "/etc/directory-link": link, "/etc/directory-text": text}
    spoilt = full | {"/etc/lost-image": _file(b"lost") | {"where": "image"}} | directories
    good = {"/etc/text": text, "/etc/octets": octets, "/etc/image": big, "/etc/link": link, "/etc/new": new}
    mixed = [each for pair in zip(spoilt.items(), [*good.items()] * 2, strict=False) for each in pair]
    place = _prepare(tmp_path, dict(mixed), contents)
    (place.parent / "images").mkdir()
    (place.parent / "images" / big["sha256"]).write_bytes(b"image\n")
    for path in full:
        (tmp_path / f"{path}.vfiostate-tmp".lstrip("/")).symlink_to("/dev/full")
    for path in directories:
        (tmp_path / path.lstrip("/")).mkdir()
    for path in good:
        (tmp_path / path.lstrip("/")).write_bytes(b"ours\n")

    done = _run(shell, place)
    assert done.returncode == 1
    missed = " ".join(path for path, _ in reversed(dict(mixed).items()) if path in spoilt)
    assert f"mend that and run this again: {missed}\n" in done.stderr.decode()
    assert b"All other files are as they were before vfiostate." in done.stdout
    etc = tmp_path / "etc"
    assert [(etc / name).read_bytes() for name in ("text", "octets", "image")] == [*contents.values(), b"image\n"]
    assert os.readlink(etc / "link") == "there"
    assert sorted(each.name for each in etc.iterdir() if each.is_dir()) == sorted(
        Path(each).name for each in directories
    )
    assert not any(list(each.iterdir()) for each in etc.iterdir() if each.is_dir())
    assert not list(etc.glob("*.vfiostate-tmp")) and not list(etc.glob("full-*")) and not (etc / "new").exists()

    for path in directories:
        (tmp_path / path.lstrip("/")).rmdir()
    (place.parent / "images" / _file(b"lost")["sha256"]).write_bytes(b"lost")
    done = _run(shell, place)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (etc / "lost-image").read_bytes() == b"lost" and (etc / "full-octets").read_bytes() == b"\0octets" * 20


@pytest.mark.parametrize("tool", ["rm", "mv", "chmod", "ln"])
def test_a_tool_that_fails_once_spoils_one_file_only(tool: str, tmp_path: Path) -> None:
    record = _file(b"x\n")
    before = {f"/etc/{name}": record for name in ("one", "bad", "two")}
    before |= {"/etc/bad-new": {"sha256": None}, "/etc/bad-link": {"sha256": "link:there"}}
    place = _prepare(tmp_path, before, {record["sha256"]: b"x\n"})
    (tmp_path / "etc/bad-new").write_bytes(b"ours\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / tool).write_text(f'#!/bin/sh\ncase "$*" in */etc/bad*) exit 1 ;; esac\nexec /bin/{tool} "$@"\n')
    (tools / tool).chmod(0o755)
    env = {"PATH": f"{tools}:/usr/bin:/bin"}
    done = subprocess.run(["dash", str(place)], capture_output=True, check=False, env=env)
    expected = {"rm": ["-new"], "mv": [""], "chmod": [""], "ln": ["-link"]}[tool]
    assert done.returncode == 1
    assert done.stderr.decode().endswith(f"again: {' '.join(f'/etc/bad{each}' for each in expected)}\n")
    assert [(tmp_path / "etc" / name).read_bytes() for name in ("one", "two")] == [b"x\n", b"x\n"]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_reader_that_leaves_does_not_stop_it(shell: list[str], tmp_path: Path) -> None:
    record = _file(b"x\n")
    before = {f"/etc/{number}": record for number in range(9)}
    place = _prepare(tmp_path, before, {record["sha256"]: b"x\n"})
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([*shell, str(place)], stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    assert all((tmp_path / path.lstrip("/")).read_bytes() == b"x\n" for path in before)


def test_running_it_twice_is_harmless(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    record = _file(b"x\n")
    place = _prepare(tmp_path, {"/etc/modules": record, "/etc/new": {"sha256": None}}, {record["sha256"]: b"x\n"})
    assert [_run(SHELLS[0], place).returncode for _ in range(2)] == [0, 0]
    assert (tmp_path / "etc/modules").read_bytes() == b"x\n"


@pytest.mark.parametrize("path", ["/boot/grub/grub.cfg", "/boot/initrd.img-6.1", "/efi/loader/entries/one.conf"])
@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_file_system_that_is_not_mounted_is_named_before_anything_is_changed(
    shell: list[str], path: str, tmp_path: Path
) -> None:
    record = _file(b"x\n")
    for folder in ("boot", "efi", "etc"):
        (tmp_path / folder).mkdir()
    place = _prepare(tmp_path, {"/etc/modules": record, path: record}, {record["sha256"]: b"x\n"})
    done = _run(shell, place)
    assert done.returncode == 1
    assert b"is its file system mounted" in done.stderr
    assert not (tmp_path / "etc/modules").exists()
    (tmp_path / path.lstrip("/")).parent.joinpath("none").mkdir(parents=True)
    assert _run(shell, place).returncode == 0
    assert (tmp_path / path.lstrip("/")).read_bytes() == b"x\n"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_directory_that_went_with_a_kernel_keeps_nothing_else_from_coming_back(
    shell: list[str], tmp_path: Path
) -> None:
    record = _file(b"x\n")
    big = record | {"where": "image"}
    gone = {"/efi/debian/6.0/linux": record, "/efi/debian/6.0/initrd": big, "/efi/debian/6.0/new": {"sha256": None}}
    gone |= {"/efi/debian/6.0/link": {"sha256": "link:linux"}}
    before = {"/etc/modules": record, **gone, "/efi/debian/link": {"sha256": "link:6.1"}, "/etc/last": record}
    (tmp_path / "efi/debian/6.1").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    place = _prepare(tmp_path, before, {record["sha256"]: b"x\n"})
    (place.parent / "images").mkdir()
    (place.parent / "images" / record["sha256"]).write_bytes(b"x\n")
    for _ in range(2):
        done = _run(shell, place)
        assert done.returncode == 1
        names = (f"/efi/debian/6.0/{name}" for name in ("link", "initrd", "linux"))
        assert done.stderr.decode() == f"Left out, since the directory is gone: {' '.join(names)}\n"
        assert b"All other files are as they were before vfiostate." in done.stdout
        assert [(tmp_path / path).read_bytes() for path in ("etc/modules", "etc/last")] == [b"x\n", b"x\n"]
        assert os.readlink(tmp_path / "efi/debian/link") == "6.1"
        assert not (tmp_path / "efi/debian/6.0").exists()
        assert sorted(path.name for path in (place.parent / "replaced").iterdir()) in (
            [],
            ["_efi_debian_link", "_etc_last", "_etc_modules"],
        )


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_what_others_made_anew_is_left_and_what_we_made_of_it_is_not(shell: list[str], tmp_path: Path) -> None:
    record = _file(b"before\n") | {"where": "image"}
    (tmp_path / "boot").mkdir()
    place = _prepare(tmp_path, {}, {})
    known = {"/boot/image": [record["sha256"], hashlib.sha256(b"ours").hexdigest()]}
    place.write_bytes(script("abc", STATE, {"/boot/image": record, "/boot/other": record}, {}, (), known))
    (place.parent / "images").mkdir()
    (place.parent / "images" / record["sha256"]).write_bytes(b"before\n")
    for there, after in (
        (b"ours", b"before\n"),
        (b"theirs", b"theirs"),
        (b"before\n", b"before\n"),
        (None, b"before\n"),
    ):
        (tmp_path / "boot/image").unlink(missing_ok=True)
        (tmp_path / "boot/other").write_bytes(b"theirs")
        if there is not None:
            (tmp_path / "boot/image").write_bytes(there)
        done = _run(shell, place)
        assert (tmp_path / "boot/image").read_bytes() == after
        assert (tmp_path / "boot/other").read_bytes() == b"before\n"
        assert done.returncode == (there == b"theirs")
        assert (b"made anew" in done.stderr) == (there == b"theirs")


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(
    "line", ["linux\t/boot/vmlinuz-6.1 ro", "\tlinux /@/boot/vmlinuz-6.1 ro", "linuxefi /vmlinuz-6.1"]
)
def test_a_menu_is_left_where_the_kernel_that_it_boots_is_gone(shell: list[str], line: str, tmp_path: Path) -> None:
    content = f"menuentry 'Linux' {{\n{line}\n}}\n".encode()
    record = _file(content)
    place = _prepare(tmp_path, {"/boot/grub.cfg": record}, {record["sha256"]: content})
    menu, kernel = tmp_path / "boot/grub.cfg", tmp_path / "boot/vmlinuz-6.1"
    menu.parent.mkdir()
    for booted, left in ((b"linux /vmlinuz-6.2\n", False), (b"linux /vmlinuz-6.3\n", True), (b"", True)):
        (tmp_path / "boot/vmlinuz-6.3").touch()
        menu.write_bytes(booted)
        assert _run(shell, place).returncode == left
        assert menu.read_bytes() == (booted if left else content)
    kernel.touch()
    assert _run(shell, place).returncode == 0
    assert menu.read_bytes() == content
