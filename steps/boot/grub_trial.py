"""A trial boot through GRUB: one extra entry with the new command line, chosen for the next boot only.

The entry is made by a script of ours in /etc/grub.d, after all others, so that no entry changes its number. That it is
taken once is the work of `next_entry` in the environment block: the header of grub.cfg empties it at boot, before the
menu (GRUB manual, "The GRUB environment block"; util/grub.d/00_header.in). Where GRUB cannot write that block, the
entry would be taken again and again; there no trial is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from steps import cmdline
from steps.actions import EditFile, RemoveFile, RunCommand
from steps.base import FileKind, Host
from steps.boot import grub_cfg, next_entry
from steps.boot.base import PANIC, Trial
from steps.boot.grub_names import GRUB, GrubNames
from steps.insertion import new_file, sha256

SCRIPT = "/etc/grub.d/42_vfiostate"
ENV = GRUB.env
ID = "vfiostate-trial"
VARIABLE = next_entry.VARIABLE
_OPTIONS = {"--class": 1, "--users": 1, "--unrestricted": 0}
_HEADER = b"""#!/bin/sh
# vfiostate.setup=%s: an entry that is booted once, to see whether the new command line works; then it is removed.
exec tail -n +4 "$0"
"""


def read(
    host: Host, content: bytes, env: Mapping[str, str], listed: Sequence[grub_cfg.MenuEntry], names: GrubNames = GRUB
) -> Trial:
    """What there is of a trial now, and what stands against one."""
    entry = next((each for each in listed if each.ids[-1] == ID), None)
    chosen = env.get(VARIABLE, "")
    found = host.lstat(SCRIPT)
    return Trial(
        obstacles=next_entry.obstacles(host, content, chosen, ID, names),
        words=entry.arguments if entry is not None else None,
        pending=chosen == ID,
        place=SCRIPT,
        file=sha256(host.read(SCRIPT)) if found is not None and found.kind is FileKind.FILE else None,
        in_the_way=found is not None,
    )


def script(setup: str, template: Sequence[str], tokens: Sequence[str]) -> bytes:
    """The script that prints the trial's entry: the default one's lines with our words at the end of its `linux`.

    Without `savedefault`, which GRUB_SAVEDEFAULT puts there (util/grub-mkconfig_lib.in): taken from the menu by hand, a
    trial that hangs would be the default of every boot after it.

    Raises ValueError for an entry that boots no Linux, and for a token that needs quoting.
    """
    unsafe = [token for token in tokens if not cmdline.is_safe(token)]
    if unsafe or not any(_is_linux(line) for line in template):
        raise ValueError(f"no entry for a trial boot can be made with {unsafe or template}")
    words = " ".join((*tokens, PANIC))
    head = f"menuentry 'vfiostate: trial boot of setup {setup}' {_options(template[0])}--id {ID} {{"
    lines = (line for line in template[1:] if line.strip() != "savedefault")
    body = [f"{line.rstrip()} {words}" if _is_linux(line) else line for line in lines]
    text = "\n".join((head, *body, "")).encode("utf-8", "surrogateescape")
    return _HEADER % setup.encode() + text


def _is_linux(line: str) -> bool:
    words = grub_cfg.shell_words(line)
    return bool(words) and words[0] in grub_cfg.LINUX


def _options(head: str) -> str:
    """The options of the default entry that say who may boot it and how it looks; its id stays its own."""
    words = list(grub_cfg.shell_words(head))
    kept = ""
    for at, word in enumerate(words):
        count = _OPTIONS.get(word)
        if count is not None and all(re.fullmatch(r"[\w.,-]+", each) for each in words[at + 1 : at + 1 + count]):
            kept += " ".join(words[at : at + 1 + count]) + " "
    return kept


def added(setup: str, template: Sequence[str], tokens: Sequence[str]) -> EditFile:
    """The edit that makes the script. Raises ValueError as `script` does."""
    return new_file(SCRIPT, script(setup, template, tokens), "add an entry for one trial boot", mode=0o755)


def removed(trial: Trial) -> tuple[RemoveFile, ...]:
    """What takes the script away again; nothing where there is none."""
    why = "the trial boot has proved itself: its entry is not needed any more"
    return (RemoveFile(SCRIPT, trial.file, why),) if trial.file is not None else ()


def chosen(names: GrubNames = GRUB) -> RunCommand:
    """The command that chooses the entry for the next boot."""
    return next_entry.chosen(ID, names)
