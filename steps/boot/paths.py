"""Files of a host by pattern."""

from __future__ import annotations

import fnmatch

from steps.base import Host


def matching(host: Host, pattern: str) -> tuple[str, ...]:
    """The paths of the host that match, sorted; any part of the pattern may hold `*`. A directory that cannot be read
    holds nothing."""
    found: tuple[str, ...] = ("",)
    for part in pattern.strip("/").split("/"):
        found = tuple(f"{folder}/{name}" for folder in found for name in _names(host, folder, part))
    return found


def content_of(host: Host, path: str) -> bytes:
    """What a file holds; nothing where it cannot be read."""
    try:
        return host.read(path)
    except OSError:
        return b""


def _names(host: Host, folder: str, part: str) -> tuple[str, ...]:
    if "*" not in part:
        return (part,) if host.lstat(f"{folder}/{part}") is not None else ()
    try:
        return tuple(name for name in host.list(folder or "/") if fnmatch.fnmatchcase(name, part))
    except OSError:
        return ()
