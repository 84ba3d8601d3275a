"""Which entry of limine.conf is taken when nobody touches the menu.

Source: limine-bootloader/limine, common/menu.c (print_tree, find_entry_by_path, should_skip_entry). `default_entry` is
a number in the menu as it is shown, or the titles from the top, which newer versions know; whoever writes titles is
taken to have such a version. Newer versions leave out entries that are not for this firmware, older ones count them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from steps.boot.limine_conf import Conf, MenuEntry

_CONDITIONS = ("if_fw_type", "if_arch", "if_loader_arch")
_OF_BIOS = frozenset({"bios", "bios_chainload"})
_OF_UEFI = frozenset({"efi", "uefi", "efi_chainload", "efi_boot_entry"})
# A title's own /, # and \ stand behind a backslash; #2 at the end is the third of that name.
_PART = re.compile(r"((?:\\.|[^\\/])*?)(?:#(\d+))?(?:/|$)")


class UnclearError(ValueError):
    """Versions of Limine differ in what they take."""


def default(conf: Conf, *, uefi: bool) -> MenuEntry | None:
    """The entry that is taken; a directory, or None, where Limine waits for somebody to choose. Raises UnclearError."""
    kept = tuple(each for each in conf.entries if not _skipped(each, uefi=uefi))
    newer, older = _chosen(conf, kept), _chosen(conf, conf.entries)
    if newer is not older:
        names = " or ".join(repr(each.title) if each is not None else "none" for each in (newer, older))
        raise UnclearError(f"entries that are not for this firmware are counted by older versions alone: {names}")
    return newer


def _skipped(entry: MenuEntry, *, uefi: bool) -> bool:
    """Whether a newer version may leave it out. Conditions are not weighed: with one it is unclear."""
    if entry.directory:
        return False
    protocol = entry.option("protocol")
    other = _OF_BIOS if uefi else _OF_UEFI
    return (protocol is not None and protocol.text in other) or entry.option(*_CONDITIONS) is not None


def _chosen(conf: Conf, entries: tuple[MenuEntry, ...]) -> MenuEntry | None:
    wanted = conf.value("default_entry") or "1"
    shown = tuple(_shown(entries))
    if not re.fullmatch(r"[0-9]+", wanted):
        return _named(entries, wanted) or next(iter(shown), None)
    number = max(int(wanted), 1)
    return (shown[number - 1 :] or shown or (None,))[0]


def _shown(entries: tuple[MenuEntry, ...]) -> Iterator[MenuEntry]:
    """Those that are seen before anybody opens a directory."""
    closed = 0
    for entry in entries:
        if closed and entry.depth > closed:
            continue
        closed = entry.depth if entry.directory and not entry.expanded else 0
        yield entry


def _named(entries: tuple[MenuEntry, ...], path: str) -> MenuEntry | None:
    """The entry by its titles from the top."""
    parts = [(re.sub(r"\\(.)", r"\1", each[1]), int(each[2] or 0)) for each in _PART.finditer(path) if each[0]]
    found: MenuEntry | None = None
    for depth, (title, number) in enumerate(parts, 1):
        level = (each for each in enumerate(_within(entries, depth)) if each[1].depth == depth)
        same = [at for at, each in level if each.path[-1] == title]
        found = entries[same[number]] if number < len(same) else None
        if found is None or found.directory != (depth < len(parts)):
            return None
        entries = entries[same[number] + 1 :]
    return found


def _within(entries: tuple[MenuEntry, ...], depth: int) -> Iterator[MenuEntry]:
    for entry in entries:
        if entry.depth < depth:
            return
        yield entry
