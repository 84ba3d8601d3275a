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


def test_a_changed_size_alone_counts_where_nothing_was_hashed() -> None:
    looked_at = {name: value for name, value in FILE.items() if name != "sha256"} | {"mtime": 1}
    assert compare.differences({"/usr/a": looked_at}, {"/usr/a": looked_at | {"mtime": 2}}) != []


def test_what_is_left_out_is_left_out_with_a_reason() -> None:
    assert all(compare.LEFT_OUT.values())
    of_the_loader = {path for path in compare.LEFT_OUT if path.startswith(("/etc", "/boot", "/efi"))}
    assert {path.rpartition("/")[2] for path in of_the_loader} == {"random-seed"}
