"""What sdbootutil keeps on the EFI system partition: the boot entries of the snapshot that is the root, their images.

Source: openSUSE/sdbootutil, sdbootutil: the main part (which snapshot is meant), `update_entries_for_subvol` (which
entries are its own), `entry_conf_file` and `find_kernels` (what `mkinitrd` writes), `is_grub2_bls` (what boots them).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from steps import cmdline
from steps.base import Finding, Host
from steps.boot import systemd_boot_menu, systemd_boot_order
from steps.boot.bls_entry import Version
from steps.boot.grub_cfg import environment
from steps.boot.recognised import ESP
from steps.boot.systemd_boot_entry import ENTRIES, MenuEntry
from steps.reading import content_there, matching, names_in

MARK = "EFI/*/installed_by_sdbootutil"
UPDATE = ("sdbootutil", "update-all-entries")
MKINITRD = ("sdbootutil", "mkinitrd")
GRUB_BLS = "/usr/share/grub2/*-efi/grubbls.efi"
MODULES = "/usr/lib/modules"
_SNAPSHOT = re.compile(r".+/\.snapshots/(\d+)/snapshot")
_KERNEL = re.compile(r"/[^/]+/([^/]+)/linux-[0-9a-f]{40}")
_IMAGES = ("vmlinuz", "Image")


@dataclass(frozen=True, slots=True)
class Kept:
    """What is there: `mark` is the file by which sdbootutil knows its own partition, `root` where that is mounted,
    `subvolume` the one that is the root, `number` its snapshot's (None: it is no snapshot). `listed` are all entries in
    the order of the menu, `taken` the one that is booted by default, `own` those of this snapshot; `made` is what
    `sdbootutil mkinitrd` writes, the kernels' releases -> the paths of their entries; `read_only` is whether the
    snapshot cannot be changed."""

    mark: str
    root: str
    subvolume: str
    number: str | None
    listed: tuple[MenuEntry, ...]
    taken: MenuEntry | str | None
    own: tuple[MenuEntry, ...]
    made: dict[str, str]
    findings: tuple[Finding, ...] = ()
    read_only: bool = False

    @property
    def folder(self) -> str:
        """Where the entries lie."""
        return f"{self.root}/{ENTRIES}"

    @property
    def kin(self) -> str:
        """A pattern of the entries that kernels of this snapshot get."""
        return f"{self.folder}/*-{self.number}.conf"

    def images(self, release: str) -> tuple[str, ...]:
        """The images that this snapshot's entries of a kernel name."""
        named = (path for entry in self.own if entry.release == release for path in entry.initrds)
        return tuple(dict.fromkeys(f"{self.root}{path}" for path in named))


def mark(host: Host) -> str | None:
    """The file that sdbootutil leaves where it has put a boot loader."""
    return next((path for esp in ESP for path in matching(host, f"{esp}/{MARK}", names_in)), None)


def read(host: Host, at: str) -> Kept:
    """What is kept on the partition with this mark. Raises OSError where it cannot be read."""
    root = at.partition("/EFI/")[0]
    found, findings = systemd_boot_menu.entries(host, (root,))
    listed = tuple(with_release(each) for each in ordered(host, found))
    subvolume = next(iter(_btrfs(host, "subvolume", "show", "/")), "")
    match = _SNAPSHOT.fullmatch(subvolume)
    number = match[1] if match and host.lstat("/.snapshots") is not None else None
    identity = systemd_boot_menu.identity(host)
    own = tuple(each for each in listed if number and _of(each, identity.roots, subvolume))
    lead = "system-" if grub_bls(host) else ""
    made = {
        release: f"{root}/{ENTRIES}/{lead}{identity.tokens[0]}-{release}-{number}.conf"
        for release in names_in(host, MODULES)
        if number and any(host.lstat(f"{MODULES}/{release}/{name}") is not None for name in _IMAGES)
    }
    return Kept(at, root, subvolume, number, listed, _taken(host, at, listed), own, made, findings, _ro(host))


def grub_bls(host: Host) -> bool:
    """Whether GRUB shows the entries, rather than systemd-boot: it does where both are installed."""
    return bool(matching(host, GRUB_BLS, names_in))


def with_release(entry: MenuEntry) -> MenuEntry:
    """An entry with its kernel's release, which is in the path of the kernel."""
    match = _KERNEL.fullmatch(entry.loader)
    return replace(entry, release=match[1]) if match else entry


def ordered(host: Host, entries: Sequence[MenuEntry]) -> tuple[MenuEntry, ...]:
    """The entries as the menu lists them; GRUB goes by the names of the files alone."""
    if not grub_bls(host):
        return systemd_boot_order.ordered(entries)
    return tuple(sorted(entries, key=lambda entry: Version(entry.id), reverse=True))


def _taken(host: Host, at: str, listed: Sequence[MenuEntry]) -> MenuEntry | str | None:
    """The default: of GRUB, what sdbootutil puts into its environment block (`set_default_grub2_bls`)."""
    if not grub_bls(host):
        return systemd_boot_menu.choice(host, (at.partition("/EFI/")[0],), listed)
    return grub_default(listed, content_there(host, f"{at.rpartition('/')[0]}/grubenv"))


def grub_default(listed: Sequence[MenuEntry], block: bytes) -> MenuEntry | None:
    """The entry that GRUB takes by its environment block: the first one where the block names none that is there."""
    wanted = environment(block).get("default", "").lower().removesuffix(".conf")
    named = (entry for entry in listed if wanted and entry.id.removesuffix(".conf") == wanted)
    return next(named, listed[0] if listed else None)


def _ro(host: Host) -> bool:
    return "ro=true" in _btrfs(host, "property", "get", "-t", "s", "/", "ro")


def _btrfs(host: Host, *arguments: str) -> tuple[str, ...]:
    """The lines of an answer; none where there is none. The first of `subvolume show` is the path of a subvolume."""
    try:
        done = host.query(("btrfs", *arguments))
    except TimeoutError:
        return ()
    return tuple(line.strip() for line in done.text.splitlines()) if done.ok else ()


def _of(entry: MenuEntry, roots: frozenset[str], subvolume: str) -> bool:
    """Whether sdbootutil finds an entry for this snapshot: by `root=`, and behind it the subvolume."""
    at = next((n for n, word in enumerate(entry.words) if word in roots), len(entry.words))
    return f"rootflags=subvol={subvolume}" in entry.words[at:]


def plain(words: Sequence[str]) -> tuple[str, ...]:
    """The words that sdbootutil takes from the line as they are: the others it sets itself (`sedrootflags`)."""
    return tuple(word for word in words if not word.startswith(("root=", "rootflags=subvol=", "systemd.machine_id=")))


def shown(entry: MenuEntry) -> str:
    """An entry as evidence."""
    return f"{entry.path}: {cmdline.shown(entry.words)}"
