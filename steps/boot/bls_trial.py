"""A trial boot of an entry of its own in /boot/loader/entries, chosen by GRUB's `next_entry`.

Its name begins with `~`, which RPM's order puts before everything: in the menu, which is sorted backwards, it comes
last, so that no entry changes its number and it is never the first one, which boots where nothing else is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from steps import cmdline
from steps.actions import EditFile, RemoveFile, RunCommand
from steps.base import FileKind, Host
from steps.boot import bls_entry, next_entry
from steps.boot.base import PANIC, Trial
from steps.boot.bls_entry import EntryFile
from steps.boot.bls_files import ENTRIES
from steps.boot.grub_names import GRUB2
from steps.insertion import new_file, sha256

ID = "~vfiostate-trial"
PATH = f"{ENTRIES}/{ID}.conf"
VARIABLE = next_entry.VARIABLE


def read(
    host: Host,
    content: bytes,
    env: Mapping[str, str],
    files: Sequence[EntryFile],
    expanded: Callable[[EntryFile, Mapping[str, str]], tuple[str, ...]],
) -> Trial:
    """What there is of a trial now, and what stands against one."""
    entry = next((each for each in files if each.path == PATH), None)
    chosen = env.get(VARIABLE, "")
    found = host.lstat(PATH)
    return Trial(
        obstacles=next_entry.obstacles(host, content, chosen, ID, GRUB2),
        words=expanded(entry, env) if entry is not None else None,
        pending=chosen == ID,
        place=PATH,
        file=sha256(entry.content) if entry is not None and found and found.kind is FileKind.FILE else None,
        in_the_way=found is not None,
    )


def entry(setup: str, model: EntryFile, tokens: Sequence[str]) -> bytes:
    """The default entry's file with a title of its own and our words at the end of its options.

    Raises ValueError for an entry that boots no Linux, and for a token that needs quoting.
    """
    unsafe = [token for token in tokens if not cmdline.is_safe(token)]
    if unsafe or not model.linux:
        raise ValueError(f"no entry for a trial boot can be made with {unsafe or model.path}")
    content = bls_entry.site(model).insertion((*tokens, PANIC)).apply(model.content)
    title = f"title vfiostate: trial boot of setup {setup}".encode()
    return title + b"\n" + re.sub(rb"^[ \t]*title(?=[ \t])[^\n]*(?:\n|\Z)", b"", content, flags=re.MULTILINE)


def added(setup: str, model: EntryFile, tokens: Sequence[str]) -> EditFile:
    """The edit that makes the entry. Raises ValueError as `entry` does."""
    return new_file(PATH, entry(setup, model, tokens), "add an entry for one trial boot")


def removed(trial: Trial) -> tuple[RemoveFile, ...]:
    """What takes it away again; nothing where there is none."""
    why = "the trial boot has proved itself: its entry is not needed any more"
    return (RemoveFile(PATH, trial.file, why),) if trial.file is not None else ()


def chosen() -> RunCommand:
    """The command that chooses the entry for the next boot."""
    return next_entry.chosen(ID, GRUB2)
