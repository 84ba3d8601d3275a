"""Our lines in a generator's configuration: one block between two comments."""

from __future__ import annotations

from collections.abc import Sequence

from steps.actions import EditFile
from steps.initramfs.base import InitramfsFacts
from steps.insertion import appended, new_file


def added(facts: InitramfsFacts, lines: Sequence[str], setup: str, why: str) -> EditFile:
    """The edit that puts the lines at the end of the generator's file, or makes the file of them where it is not."""
    marked = (f"# vfiostate {setup}: the stub driver", *lines, f"# vfiostate {setup}: end")
    block = "".join(f"{line}\n" for line in marked).encode()
    if facts.content is None:
        return new_file(facts.path, block, why)
    return appended(facts.path, facts.content, block).action(facts.content, why)
