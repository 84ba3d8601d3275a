"""What the lab calls "as before"."""

from __future__ import annotations

import pytest

from tests.lab_unit.labkit import module

compare = module("compare")

FILE = {"kind": "file", "mode": "0o644", "uid": 0, "gid": 0, "size": 3, "hardlinks": 1, "sha256": "aa" * 32}


def test_equal_manifests_have_no_differences() -> None:
    assert compare.differences({"/etc/a": FILE}, {"/etc/a": dict(FILE)}) == []


@pytest.mark.parametrize(
    ("field", "value"), [("sha256", "bb" * 32), ("mode", "0o600"), ("uid", 1), ("gid", 1), ("kind", "link")]
)
def test_each_attribute_counts(field: str, value: object) -> None:
    (line,) = compare.differences({"/etc/a": FILE}, {"/etc/a": FILE | {field: value}})
    assert line.startswith(f"/etc/a: {field} ")


def test_a_lost_and_a_new_path_are_named() -> None:
    assert compare.differences({"/etc/a": FILE}, {"/etc/b": FILE}) == ["/etc/a: is gone", "/etc/b: is new (file)"]


def test_an_extended_attribute_that_came_counts() -> None:
    (line,) = compare.differences({"/etc/a": FILE}, {"/etc/a": FILE | {"xattrs": {"user.x": "00"}}})
    assert line.startswith("/etc/a: xattrs absent -> ")


def test_an_initramfs_may_have_other_bytes_but_not_another_mode() -> None:
    path = "/boot/initrd.img-6.1.0"
    assert compare.differences({path: FILE}, {path: FILE | {"sha256": "bb" * 32, "size": 4}}) == []
    assert compare.differences({path: FILE}, {path: FILE | {"mode": "0o600"}}) != []


def test_contents_are_compared_by_the_paths_inside_and_without_times() -> None:
    before = compare.contents({"/run/x": FILE | {"mtime": 1}, "/run/x/init": FILE | {"mtime": 1}}, "/run/x")
    after = compare.contents({"/run/y": FILE | {"mtime": 2}, "/run/y/init": FILE | {"mtime": 2}}, "/run/y")
    assert before == after
    assert sorted(before) == ["/", "/init"]


def test_what_is_left_out_is_left_out_with_a_reason() -> None:
    assert all(compare.LEFT_OUT.values())
    assert not any(path.startswith(("/etc", "/boot")) for path in compare.LEFT_OUT)
