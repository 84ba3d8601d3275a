"""Large before-images as plain files."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal.errors import JournalDamagedError, JournalFullError, JournalUnreadableError
from journal.images import Images
from tests.journal.support import digest


def test_an_image_is_a_private_copy_under_its_sha256(tmp_path: Path) -> None:
    source = tmp_path / "initrd.img"
    content = os.urandom(3_000_001)
    source.write_bytes(content)
    source.chmod(0o644)
    images = Images(tmp_path / "state" / "images")
    name = images.keep(source)
    assert name == digest(content)
    source.write_bytes(b"changed since")
    kept = images.check(name)
    assert kept == images.path(name)
    assert kept.read_bytes() == content
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert os.listdir(kept.parent) == [name]


def test_keeping_the_same_content_again_changes_nothing_and_mends_what_was_damaged(tmp_path: Path) -> None:
    source = tmp_path / "initrd.img"
    source.write_bytes(b"x" * 5000)
    images = Images(tmp_path / "images")
    name = images.keep(source)
    images.path(name).write_bytes(b"damaged")
    assert images.keep(source) == name
    assert images.check(name).read_bytes() == b"x" * 5000


def test_what_a_crash_left_behind_is_overwritten_by_the_next_image(tmp_path: Path) -> None:
    source = tmp_path / "initrd.img"
    source.write_bytes(b"short")
    images = Images(tmp_path / "images")
    images.directory.mkdir()
    (images.directory / ".draft").write_bytes(b"a longer orphan of a crash")
    name = images.keep(source)
    assert images.check(name).read_bytes() == b"short"
    assert os.listdir(images.directory) == [name]


@pytest.mark.parametrize("path", ["/proc/self/status", "/proc/cmdline"])
def test_files_of_the_kernel_that_say_they_have_no_size_are_kept_whole(tmp_path: Path, path: str) -> None:
    images = Images(tmp_path / "images")
    assert len(images.path(images.keep(Path(path))).read_bytes()) > 0


def refuse(number: int) -> Callable[..., int]:
    """A system call that answers with this errno."""

    def call(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL])
@settings(deadline=None, max_examples=10)
@given(content=st.binary(max_size=3000))
def test_without_copy_file_range_the_copy_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, number: int, content: bytes
) -> None:
    directory = tmp_path_factory.mktemp("images")
    (directory / "source").write_bytes(content)
    images = Images(directory / "images")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "copy_file_range", refuse(number))
        name = images.keep(directory / "source")
    assert images.check(name).read_bytes() == content


@pytest.mark.parametrize(
    ("number", "answer"),
    [(errno.ENOSPC, JournalFullError), (errno.EDQUOT, JournalFullError), (errno.EROFS, JournalUnreadableError)],
)
def test_an_image_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, answer: type[Exception]
) -> None:
    source = tmp_path / "initrd.img"
    source.write_bytes(b"x" * 5000)
    images = Images(tmp_path / "images")
    monkeypatch.setattr(os, "copy_file_range", refuse(number))
    with pytest.raises(answer):
        images.keep(source)
    assert os.listdir(images.directory) == []


def test_a_source_that_is_not_there_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Images(tmp_path / "images").keep(tmp_path / "nothing")


def test_a_missing_or_damaged_image_is_not_handed_out(tmp_path: Path) -> None:
    images = Images(tmp_path / "images")
    with pytest.raises(JournalDamagedError, match="cannot be read"):
        images.check(digest(b"never kept"))
    (tmp_path / "source").write_bytes(b"x")
    name = images.keep(tmp_path / "source")
    images.path(name).write_bytes(b"y")
    with pytest.raises(JournalDamagedError, match="damaged"):
        images.check(name)


@pytest.mark.parametrize("name", ["", "../../etc/shadow", "A" * 64, "a" * 63, "a" * 65, "/" * 64])
def test_only_a_sha256_names_an_image(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="sha256"):
        Images(tmp_path).path(name)
