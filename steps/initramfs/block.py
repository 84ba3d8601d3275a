"""Our lines in a generator's configuration: one block between two comments."""

from __future__ import annotations

from collections.abc import Sequence

from steps.actions import Action, EditFile
from steps.initramfs.base import EarlyFile, InitramfsFacts, early_edits
from steps.insertion import appended, new_file
from steps.softdeps import CONF


def added(facts: InitramfsFacts, lines: Sequence[str], setup: str, why: str) -> EditFile:
    """The edit that puts the lines at the end of the generator's file, or makes the file of them where it is not."""
    marked = (f"# vfiostate {setup}: the stub driver", *lines, f"# vfiostate {setup}: end")
    block = "".join(f"{line}\n" for line in marked).encode()
    if facts.content is None:
        return new_file(facts.path, block, why)
    return appended(facts.path, facts.content, block).action(facts.content, why)


def bash_edits(
    facts: InitramfsFacts, missing: Sequence[str], lines: Sequence[str], setup: str, early: Sequence[EarlyFile]
) -> tuple[Action, ...]:
    """The edits of a generator whose configuration is bash: `lines` take in the modules that are `missing`, or our file
    in modprobe.d alone; nothing is edited where none is needed. Then the files of a script that is run early."""
    files = early_edits(facts, early) if early else ()
    if not lines:
        return files
    return (added(facts, lines, setup, f"take {', '.join(missing) or CONF} into the initramfs, ahead of udev"), *files)
