"""Directories of one file system share its room: what a step needs in them counts together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from engine.session import Session
from engine.space import MARGIN, refuse_full
from journal.errors import RefusedError
from steps.actions import EditFile

STATE_DIR = "/var/lib/vfiostate"
EDITS = {"/etc/modules": 30, "/etc/default/grub": 40, "/boot/grub/custom.cfg": 50}


@dataclass(frozen=True)
class Disks:
    """A host of nothing but mounts: where each is -> its file system and the bytes free there."""

    mounts: Mapping[str, tuple[str, int]]

    def filesystem(self, path: str) -> str:
        """The one of the nearest mount."""
        return self._mount(path)[0]

    def free(self, path: str) -> int:
        """That of the nearest mount."""
        return self._mount(path)[1]

    def local(self, path: str) -> Path:
        """Where nothing is."""
        return Path("/proc/none", path.lstrip("/"))

    def _mount(self, path: str) -> tuple[str, int]:
        return self.mounts[max((point for point in self.mounts if path.startswith(point)), key=len)]


def edit(path: str, size: int) -> EditFile:
    """A file of that size is made."""
    return EditFile(path, b"x" * size, None, "the test")


@pytest.mark.parametrize(
    ("mounts", "full"),
    [
        ({"/": ("8:1", MARGIN + 120)}, None),
        ({"/": ("8:1", MARGIN + 119)}, f"/boot/grub, /etc, /etc/default, {STATE_DIR}"),
        ({"/": ("8:1", MARGIN + 70), "/boot": ("8:2", 50)}, None),
        ({"/": ("8:1", MARGIN + 69), "/boot": ("8:2", 50)}, f"/etc, /etc/default, {STATE_DIR}"),
        ({"/": ("8:1", MARGIN + 70), "/boot": ("8:2", 49)}, "/boot/grub"),
        ({"/": ("8:1", 120), "/var": ("8:2", MARGIN)}, None),
        # Free as many bytes by chance, and not the same ones.
        ({"/": ("8:1", MARGIN), "/var": ("8:2", MARGIN)}, None),
        # Two mounts of one file system, of which a quota gives one less.
        ({"/": ("0:30", MARGIN + 120), "/var": ("0:30", MARGIN + 119)}, f"/boot/grub, /etc, /etc/default, {STATE_DIR}"),
    ],
)
def test_what_is_needed_on_one_file_system_counts_together(
    mounts: Mapping[str, tuple[str, int]], full: str | None
) -> None:
    session = cast(Session, SimpleNamespace(host=Disks(mounts), state_dir=STATE_DIR))
    actions = [edit(path, size) for path, size in EDITS.items()]
    if full is None:
        refuse_full(session, actions)
        return
    with pytest.raises(RefusedError, match=f"The file system of {full} is too full"):
        refuse_full(session, actions)
