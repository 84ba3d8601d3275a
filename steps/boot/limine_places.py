"""Where Limine's configuration and its executables lie, and whether a checksum of the one is in the other.

Sources: limine-bootloader/limine, common/lib/config.c (init_config_disk, init_config) and host/limine.c
(enroll_config): behind a marker in the executable stand 128 digits (256 in newer versions), all of them 0 until a
checksum is enrolled; with another one Limine panics. Versions differ in the order in which they look for the file, so
there must be one only. Those before 8.0 read limine.cfg; their executable does not name limine.conf.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from steps.base import FileKind, Host
from steps.boot.recognised import ESP
from steps.reading import content_there, matching, names_there, unescaped

# Where Limine looks below a partition's root; beside its executable in newer versions, in EFI/BOOT in older ones.
CONF = ("EFI/*/limine.conf", "boot/limine/limine.conf", "boot/limine.conf", "limine/limine.conf", "limine.conf")
CFG = ("EFI/BOOT/limine.cfg", "boot/limine/limine.cfg", "boot/limine.cfg", "limine/limine.cfg", "limine.cfg")
MARKER = b"++CONFIG_B2SUM_SIGNATURE++"
UEFI = "/sys/firmware/efi"
_NONE = b"0" * 128
_BIOS = ("boot/limine", "boot", "limine", ".")


@dataclass(frozen=True, slots=True)
class Place:
    """A configuration: its path, and where the partition that holds it is mounted."""

    path: str
    root: str


@dataclass(frozen=True, slots=True)
class Executable:
    """Limine itself: whether a checksum of its configuration is enrolled, and whether it reads limine.conf at all."""

    path: str
    enrolled: bool
    current: bool


def configurations(host: Host, names: tuple[str, ...] = CONF) -> tuple[Place, ...]:
    """Every file that Limine may find, each once: FAT knows /boot/EFI as /boot/efi too. Raises OSError."""
    mounts = _mounts(host)
    found: dict[tuple[str, str], Place] = {}
    for path in (each for esp in ESP for name in names for each in matching(host, f"{esp}/{name}")):
        root = _root(path, mounts)
        found.setdefault((root, posixpath.relpath(path, root).casefold()), Place(path, root))
    return tuple(found.values())


def executables(host: Host) -> tuple[Executable, ...]:
    """Every file that is Limine, of the kind that this firmware starts. Raises OSError."""
    mounts = _mounts(host)
    roots = dict.fromkeys(_root(f"{esp}/x", mounts) for esp in ESP)
    kind = _uefi if host.lstat(UEFI) is not None else _bios
    paths = dict.fromkeys(path for root in roots for path in kind(host, root))
    return tuple(each for path in paths if (each := _executable(host, path)) is not None)


def _executable(host: Host, path: str) -> Executable | None:
    content = content_there(host, path)
    _, *behind = content.split(MARKER)
    if not behind:
        return None
    return Executable(path, any(each[: len(_NONE)] != _NONE for each in behind), b"limine.conf" in content)


def _uefi(host: Host, root: str) -> Iterator[str]:
    folder = f"{root.rstrip('/')}/EFI"
    folders = [f"{folder}/{name}" for name in names_there(host, folder) if name.casefold() != "linux"]
    for place in (root, folder, *folders):
        found = host.lstat(place)
        if found is not None and found.kind is FileKind.DIRECTORY:
            names = (name for name in names_there(host, place) if name.casefold().endswith(".efi"))
            yield from (f"{place.rstrip('/')}/{name}" for name in names)


def _bios(host: Host, root: str) -> Iterator[str]:
    return (posixpath.normpath(f"{root}/{folder}/limine-bios.sys") for folder in _BIOS)


def _mounts(host: Host) -> tuple[str, ...]:
    rows = (line.split(" ") for line in content_there(host, "/proc/mounts").decode(errors="replace").splitlines())
    return tuple(unescaped(row[1]) for row in rows if len(row) > 1)


def _root(path: str, mounts: tuple[str, ...]) -> str:
    """The longest mount point above a path."""
    above = (each for each in mounts if each != "/" and path.startswith(f"{each}/"))
    return max(above, key=len, default="/")
