"""Boot entries as files of their own: read, the place where words can be added, and their order in GRUB's menu.

Sources: the Boot Loader Specification (uapi-group.org), "Type #1 Boot Loader Specification Entries"; of Fedora's GRUB
grub-core/commands/blscfg.c; of RPM rpmio/rpmvercmp.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

from steps import cmdline
from steps.base import Host
from steps.boot.entry_file import fields
from steps.boot.grub_sites import Site

_KERNEL = re.compile(r"(?:vmlinuz|vmlinux|kernel|linux)-(.+?)(?:\.efi)?")
_RESCUE = re.compile(r"-0-rescue(?:-|$)")


@dataclass(frozen=True, slots=True)
class EntryFile:
    """One entry: its file and what is in it. `options` are its words as they stand there, variables of GRUB included;
    `linux` is empty where the entry boots no Linux."""

    path: str
    content: bytes
    title: str = ""
    version: str = ""
    linux: str = ""
    initrd: str = ""
    options: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """What a boot loader calls it: the file's name without its ending."""
        return self.path.rpartition("/")[2].removesuffix(".conf")

    @property
    def release(self) -> str | None:
        """The kernel release by the name of its file, else what the entry says itself."""
        match = _KERNEL.fullmatch(self.linux.rpartition("/")[2])
        return match.group(1) if match else self.version or None

    @property
    def rescue(self) -> bool:
        """Whether it is dracut's rescue entry (51-dracut-rescue.install), or asks for recovery by its words."""
        return _RESCUE.search(self.id) is not None or cmdline.says_recovery(self.options)


def parse(path: str, content: bytes) -> EntryFile:
    """An entry's file. A key may occur several times: the last title counts, options and initrds add up."""
    found = fields(content)
    last = {each.key: cmdline.text(each.value) for each in found}
    return EntryFile(
        path,
        content,
        last.get("title", ""),
        last.get("version", ""),
        last.get("linux", ""),
        cmdline.text(b" ".join(each.value for each in found if each.key == "initrd")),
        cmdline.split(b" ".join(each.value for each in found if each.key == "options")),
    )


def site(entry: EntryFile) -> Site:
    """The end of its last `options` line; a line of its own at the end of the file where it has none."""
    options = [each for each in fields(entry.content) if each.key == "options"]
    if not options:
        newline = b"" if not entry.content or entry.content.endswith(b"\n") else b"\n"
        return Site(entry.path, len(entry.content), newline + b"options ", b"\n")
    return end_of_line(entry.path, entry.content, options[-1].line_end)


def end_of_line(path: str, content: bytes, end: int) -> Site:
    """The place behind the last word of the line that ends there, before its line break."""
    apart = end == 0 or content[end - 1 : end] in (b" ", b"\t")
    return Site(path, end, b"" if apart else b" ", b"")


def listed(host: Host, folder: str) -> tuple[EntryFile, ...]:
    """Every entry of a directory, by name. Raises OSError where one cannot be read, FileNotFoundError without any."""
    names = [name for name in host.list(folder) if name.endswith(".conf") and not name.startswith(".")]
    return tuple(parse(path, host.read(path)) for path in (f"{folder}/{name}" for name in names))


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A version as RPM compares it: runs of digits and of letters, digits newer, `~` older than nothing at all.

    What is between the runs is passed over, unlike systemd's order (`systemd_boot_order.compare_versions`).
    """

    text: str

    def __lt__(self, other: Version) -> bool:
        return _compare(self.text, other.text) < 0


def _compare(one: str, other: str) -> int:
    left, right = (re.findall(r"~|[0-9]+|[A-Za-z]+", text) for text in (one, other))
    for a, b in zip(left, right, strict=False):
        if "~" in (a, b):
            if a != b:
                return -1 if a == "~" else 1
        elif a.isdigit() != b.isdigit():
            return 1 if a.isdigit() else -1
        else:
            keys = [(int(each), "") if each.isdigit() else (0, each) for each in (a, b)]
            if keys[0] != keys[1]:
                return 1 if keys[0] > keys[1] else -1
    longer = left[len(right) :] or right[len(left) :]
    sign = 1 if len(left) > len(right) else -1
    return 0 if not longer else -sign if longer[0] == "~" else sign


def menu_key(entry: EntryFile) -> tuple[Version, Version, Version]:
    """What GRUB sorts its menu by, the greatest first: name, version and release, as in a package's file name."""
    front, dash, release = entry.id.rpartition("-")
    if not dash:
        return Version(entry.id), Version(""), Version("")
    name, dash, version = front.rpartition("-")
    return (
        (Version(name), Version(version), Version(release)) if dash else (Version(front), Version(""), Version(release))
    )
