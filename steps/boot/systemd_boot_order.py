"""The order in which systemd-boot lists its entries, and which one it takes when nobody touches the menu.

Sources: config_entry_compare, config_default_entry_select and config_load_defaults in src/boot/efi/boot.c of systemd,
strverscmp_improved in src/fundamental/string-util-fundamental.c; the Boot Loader Specification, "Sorting";
loader.conf(5).
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from steps.boot.systemd_boot_entry import MenuEntry, fields

_INVALID = re.compile(r"[^A-Za-z0-9~.^-]+")
_DIGITS, _LETTERS = re.compile(r"[0-9]*"), re.compile(r"[A-Za-z]*")
SAVED = "@saved"

T = TypeVar("T", str, int)


def compare_versions(left: str, right: str) -> int:
    """-1, 0 or 1: which version is the newer one, as systemd sees it (`systemd-analyze compare-versions`).

    Not as RPM and GRUB see it (`bls_entry.Version`): to systemd `-`, `^` and `.` have a rank, there they only part.
    """
    while True:
        left, right = _valid(left), _valid(right)
        if "~" in (left[:1], right[:1]):
            if left[:1] != right[:1]:
                return -1 if left[:1] == "~" else 1
            left, right = left[1:], right[1:]
        if not left or not right:
            return _sign(bool(left), bool(right))
        for mark in "-^.":
            if mark in (left[:1], right[:1]):
                if left[:1] != right[:1]:
                    return -1 if left[:1] == mark else 1
                left, right = left[1:], right[1:]
        kind = _DIGITS if left[:1].isdigit() or right[:1].isdigit() else _LETTERS
        one, other = (_run(kind, each) for each in (left, right))
        if found := _segment(one, other, digits=kind is _DIGITS):
            return found
        left, right = left[len(one) :], right[len(other) :]


def _run(kind: re.Pattern[str], text: str) -> str:
    match = kind.match(text)
    return match[0] if match else ""


def _valid(text: str) -> str:
    match = _INVALID.match(text)
    return text[match.end() :] if match else text


def _segment(left: str, right: str, *, digits: bool) -> int:
    """A run of digits is newer than none, and a longer one newer than a shorter; letters go by the alphabet."""
    if not digits:
        return _sign(left, right)
    if bool(left) != bool(right):
        return _sign(bool(left), bool(right))
    one, other = left.lstrip("0"), right.lstrip("0")
    return _sign(len(one), len(other)) or _sign(one, other)


def _sign(left: T, right: T) -> int:
    return (left > right) - (left < right)


def compare(left: MenuEntry, right: MenuEntry) -> int:
    """-1 where the left one stands higher in the menu, 1 where the right one does.

    Those with a sort-key come before those without; among these the file's name alone decides, the newest first.
    """
    if found := _sign(left.tries_left == 0, right.tries_left == 0):
        return found
    if found := _sign(left.sort_key is None, right.sort_key is None):
        return found
    if left.sort_key is not None and right.sort_key is not None:
        found = _sign(left.sort_key, right.sort_key) or _sign(left.machine_id or "", right.machine_id or "")
        found = found or -compare_versions(left.version or "", right.version or "")
        if found:
            return found
    return -compare_versions(left.id, right.id)


def ordered(entries: Sequence[MenuEntry]) -> tuple[MenuEntry, ...]:
    """The entries as the menu lists them."""
    return tuple(sorted(entries, key=functools.cmp_to_key(compare)))


def loader_conf(content: bytes) -> dict[str, str]:
    """The settings of loader.conf; the last of a name counts."""
    return {each.key: each.value.decode("utf-8", "replace") for each in fields(content) if each.value}


def default(
    entries: Sequence[MenuEntry],
    conf: Mapping[str, str],
    variables: Mapping[str, str],
    *,
    automatic: Sequence[str] = (),
) -> MenuEntry | str | None:
    """The entry that is taken: by the EFI variable, by loader.conf, else the first. `entries` in the menu's order.

    The name of one of the `automatic` entries, such as `auto-windows`, where a pattern means that; None without any.
    """
    wanted = variables.get("LoaderEntryDefault", "").lower()
    configured = conf.get("default", "").lower()
    saved = variables.get("LoaderEntryLastBooted", "").lower()
    patterns = [saved if wanted == SAVED else wanted]
    if not (wanted == SAVED == configured):
        patterns.append(saved if configured == SAVED else configured)
    for pattern in filter(None, patterns):
        for entry in entries:
            if fnmatch.fnmatchcase(entry.id, pattern):
                return entry
        for name in automatic:
            if fnmatch.fnmatchcase(name, pattern):
                return name
    return entries[0] if entries else None
