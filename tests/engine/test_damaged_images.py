"""A large before-image that is damaged beside the journal: never relied on, never the end of the way back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from engine.hosts.files import FileTree
from engine.images import take
from journal.images import Images
from tests.badinput.support import Answer, copy, manifest, run
from tests.journal.damages import DEVICES

IMAGES = "var/lib/vfiostate/images"


@pytest.fixture
def stubbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The lab's machine untouched and in `stubbed`, its generated files kept as images."""
    monkeypatch.setattr("engine.images.BLOB_LIMIT", 300)
    machine = tmp_path / "m"
    run(machine, "machine", "create", "--from", "debian12-lab").is_(0)
    run(machine, "init", *DEVICES).is_(0)
    untouched = copy(machine, tmp_path / "untouched")
    run(machine, "advance", "--until", "stubbed").is_(0)
    assert list((machine / IMAGES).iterdir())
    return untouched, machine


def go_back(machine: Path) -> Answer:
    """All the way."""
    return run(machine, "rollback").is_(0)


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_what_cannot_be_put_back_is_made_anew(stubbed: tuple[Path, Path], how: str) -> None:
    untouched, machine = stubbed
    products = [place for place in (machine / "boot").rglob("*") if place.name in ("grub.cfg",)]
    was = {hashlib.sha256((untouched / place.relative_to(machine)).read_bytes()).hexdigest() for place in products}
    spoilt = [place for place in (machine / IMAGES).iterdir() if place.name in was]
    assert spoilt
    for place in spoilt:
        place.unlink() if how == "missing" else place.write_bytes(b"damaged")
    run(machine, "journal", "verify").is_(6, "DAMAGED  images", "lost: ")
    answer = go_back(machine)
    assert "is damaged" in answer.text
    # The simulated machine's tools are deterministic: made anew is the same.
    after, before = manifest(machine), manifest(untouched)
    assert {name for name in before if after.get(name) != before[name]} == set()


def test_an_image_of_that_name_which_is_damaged_is_kept_anew(tmp_path: Path) -> None:
    content = b"x" * (1 << 20) + b"y"
    (tmp_path / "initrd.img").write_bytes(content)
    images = Images(tmp_path / "images")
    host = FileTree(tmp_path)
    record, _ = take(host, images, "/initrd.img")  # type: ignore[arg-type]  # the file half of a host is all it takes
    place = images.path(str(record["sha256"]))
    place.write_bytes(content[:-1])
    assert take(host, images, "/initrd.img")[0] == record  # type: ignore[arg-type]  # as above
    assert place.read_bytes() == content
