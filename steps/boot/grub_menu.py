"""What a generated grub.cfg boots: its entries, the default one, and the kernel that will be first once it is generated
anew."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steps.base import Host
from steps.boot import grub_cfg
from steps.boot.base import Entry
from steps.boot.kernel_release import release_of

_NO_KERNELS = (".old", ".bak", ".dpkg-new", ".dpkg-tmp")


@dataclass(frozen=True, slots=True)
class Menu:
    """The entries, the default one and its lines as they stand there, the release that will boot once grub.cfg is
    generated anew (None: the default's)."""

    entries: tuple[Entry, ...]
    default: Entry | None
    template: tuple[str, ...]
    newest: str | None


def read(host: Host, content: bytes, env: Mapping[str, str]) -> Menu:
    """The menu of a grub.cfg with that content, when the environment block holds `env`."""
    listed = grub_cfg.entries(content)
    default = grub_cfg.default_entry(content, env, listed)
    entries = {id(each): _entry(host, each) for each in listed}
    newest = _newest(host, listed) if default is not None and set(default.path) == {0} else None
    chosen = entries[id(default)] if default is not None else None
    return Menu(tuple(entries.values()), chosen, default.lines if default else (), newest)


def _entry(host: Host, entry: grub_cfg.MenuEntry) -> Entry:
    ours = entry.generated and entry.kernel is not None
    return Entry(entry.title, release_of(host, entry.release), entry.arguments, entry.recovery, ours)


def _newest(host: Host, menu: Sequence[grub_cfg.MenuEntry]) -> str | None:
    """The newest kernel in /boot, if there is one that grub.cfg does not know yet: it will be the first entry."""
    names = [name.removeprefix("vmlinuz-") for name in host.list("/boot") if name.startswith("vmlinuz-")]
    kernels = [name for name in names if not name.endswith(_NO_KERNELS)]
    if set(kernels) <= {entry.release for entry in menu}:
        return None
    return release_of(host, max(kernels, key=_order))


def _order(release: str) -> list[tuple[int, str]]:
    parts = (part for part in re.split(r"(\d+)", release) if part)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
