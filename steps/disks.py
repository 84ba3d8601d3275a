"""Which PCI functions the file systems, swap areas and pools in use hang on.

Sources: Documentation/ABI/testing/sysfs-block, Documentation/filesystems/proc.rst (mountinfo), /proc/swaps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from steps.base import Host
from steps.reading import names_in, target_of, text_of, unescaped

BLOCK = "/sys/block"
_PCI = re.compile(r"(?<![0-9a-f])[0-9a-f]{4,5}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7](?![0-9a-f])")


@dataclass(frozen=True, slots=True)
class Use:
    """One reason why a disk is in use: `name` is the block device the use was seen on, `what` says it."""

    name: str
    what: str


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount: `device` is its file system's number (MAJOR:MINOR, empty where only /proc/mounts is there)."""

    device: str
    source: str
    target: str
    type: str


def pci_in_path(path: str) -> tuple[str, ...]:
    """The PCI addresses in a sysfs path: the function something hangs on and the bridges above it."""
    return tuple(_PCI.findall(path))


def disk_uses(host: Host) -> Mapping[str, tuple[Use, ...]]:
    """PCI address -> what is in use on the disks behind it (bridges above included)."""
    blocks = _blocks(host)
    return _by_function(host, blocks, _uses(host, blocks))


def disk_volumes(host: Host) -> Mapping[str, tuple[Use, ...]]:
    """PCI address -> the volumes and arrays that are active on the disks behind it, mounted or not: whether anybody
    writes to one, sysfs does not say."""
    blocks = _blocks(host)
    made = ((name, "is active") for name, disk in blocks.items() if names_in(host, f"{BLOCK}/{disk}/slaves"))
    return _by_function(host, blocks, made)


def _by_function(host: Host, blocks: Mapping[str, str], uses: Iterable[tuple[str, str]]) -> dict[str, tuple[Use, ...]]:
    owners = {disk: _parents(host, disk) for disk in names_in(host, BLOCK)}
    found: dict[str, list[Use]] = {}
    for name, what in uses:
        for disk in _below(host, name, blocks):
            for address in owners.get(disk, ()):
                found.setdefault(address, []).append(Use(disk if disk == name else f"{name} on {disk}", what))
    return {address: tuple(dict.fromkeys(uses)) for address, uses in found.items()}


def uses_of(host: Host, node: str) -> tuple[Use, ...]:
    """What is in use on a block device, by its node in /dev: on itself, on its partitions, or on what lies on those."""
    blocks = _blocks(host)
    wanted = _block_name(host, node)
    if wanted not in blocks:
        return ()
    found = (Use(name, what) for name, what in _uses(host, blocks) if wanted in _below(host, name, blocks))
    return tuple(dict.fromkeys(found))


def _blocks(host: Host) -> Mapping[str, str]:
    """Every block device's name, partitions too -> the disk it is on."""
    found: dict[str, str] = {}
    for disk in names_in(host, BLOCK):
        found[disk] = disk
        for name in names_in(host, f"{BLOCK}/{disk}"):
            if name.startswith(disk) and host.lstat(f"{BLOCK}/{disk}/{name}/partition") is not None:
                found[name] = disk
    return found


def _parents(host: Host, disk: str) -> tuple[str, ...]:
    """The PCI functions above a disk. A multipath NVMe disk hangs on its subsystem's controllers."""
    paths = [target_of(host, f"{BLOCK}/{disk}"), target_of(host, f"{BLOCK}/{disk}/device")]
    for path in tuple(paths):
        if "/nvme-subsystem/" in path:
            subsystem = re.sub(r"(/nvme-subsys\d+)/.*", r"\1", path)
            controllers = (name for name in names_in(host, subsystem) if re.fullmatch(r"nvme\d+", name))
            paths.extend(target_of(host, f"{subsystem}/{name}") for name in controllers)
    return tuple(dict.fromkeys(address for path in paths for address in pci_in_path(path)))


def _uses(host: Host, blocks: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Block device name and what uses it."""
    numbers = {number: name for name, disk in blocks.items() if (number := _number(host, name, disk))}
    mounted = mounts(host)
    for mount in mounted:
        name = numbers.get(mount.device) or _block_name(host, mount.source)
        if name in blocks:
            yield name, f"holds the file system mounted on {mount.target}"
    for line in text_of(host, "/proc/swaps").splitlines()[1:]:
        name = _block_name(host, unescaped(line.split()[0])) if line.split() else ""
        if name in blocks:
            yield name, "holds swap in use"
    for uuid in names_in(host, "/sys/fs/btrfs"):
        for name in names_in(host, f"/sys/fs/btrfs/{uuid}/devices"):
            yield name, f"belongs to the mounted btrfs {uuid}"
    # A pool may be imported with nothing of it mounted: one of volumes, for guests.
    if host.lstat("/sys/module/zfs") is not None or any(mount.type == "zfs" for mount in mounted):
        for name in _zfs_devices(host):
            yield name, "belongs to an imported ZFS pool"


def mounts(host: Host) -> tuple[Mount, ...]:
    """What is mounted, in the kernel's order; nothing of a system that does not run."""
    found = []
    for line in text_of(host, "/proc/self/mountinfo").splitlines():
        head, _, tail = line.partition(" - ")
        left, right = head.split(), tail.split()
        if len(left) >= 5 and len(right) >= 2:
            found.append(Mount(left[2], unescaped(right[1]), unescaped(left[4]), right[0]))
    if found:
        return tuple(found)
    rows = (line.split() for line in text_of(host, "/proc/mounts").splitlines())
    return tuple(Mount("", unescaped(row[0]), unescaped(row[1]), row[2]) for row in rows if len(row) >= 3)


def _zfs_devices(host: Host) -> Iterator[str]:
    """The kernel does not say in sysfs which disks a pool has: ask zpool."""
    answer = host.query(("zpool", "list", "-vHPL"), timeout=30.0)
    if answer.ok:
        for word in answer.text.split():
            if word.startswith("/dev/"):
                yield _block_name(host, word)


def _below(host: Host, name: str, blocks: Mapping[str, str]) -> tuple[str, ...]:
    """A block device and all that it lies on: the disk of a partition, and what is below device-mapper and md
    (`slaves`)."""
    seen: dict[str, None] = {}
    todo = [name]
    while todo:
        one = todo.pop()
        disk = blocks.get(one)
        if disk is None or one in seen:
            continue
        seen[one] = None
        todo.extend(names_in(host, f"{BLOCK}/{disk}/slaves") if one == disk else (disk,))
    return tuple(seen)


def _number(host: Host, name: str, disk: str) -> str:
    return text_of(host, f"{BLOCK}/{disk}/dev" if name == disk else f"{BLOCK}/{disk}/{name}/dev").strip()


def _block_name(host: Host, source: str) -> str:
    """The kernel's name of a device node, through the symlinks of /dev/disk and /dev/mapper."""
    if not source.startswith("/dev/"):
        return ""
    # In sysfs a slash in a device's name is an exclamation mark: cciss!c0d0.
    return target_of(host, source).removeprefix("/dev/").replace("/", "!")
