"""Reading for evidence: where a file that is missing or may not be read says no more than an empty one.

For what a fact hangs on, ask the host itself: it tells absent from empty.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from typing import Protocol

from steps.base import Host, Stat

NOT_THERE = (FileNotFoundError, NotADirectoryError)
"""What reading raises where nothing is: any other error says that something is, and cannot be read."""
_OCTAL = re.compile(r"\\([0-7]{3})")


class Files(Protocol):
    """What of a host is needed to read its files, here and where a boot loader reads them."""

    def read(self, path: str) -> bytes:
        """The content of a file."""
        ...

    def lstat(self, path: str) -> Stat | None:
        """What a path is."""
        ...

    def list(self, path: str) -> tuple[str, ...]:
        """The names in a directory."""
        ...


def text_of(host: Files, path: str) -> str:
    """The text of a file, empty where it cannot be read; bytes that are not UTF-8 show as replacement characters."""
    try:
        return host.read(path).decode(errors="replace")
    except OSError:
        return ""


def names_in(host: Files, path: str) -> tuple[str, ...]:
    """The names in a directory, none where it cannot be read."""
    try:
        return host.list(path)
    except OSError:
        return ()


def content_of(host: Host, path: str) -> bytes:
    """What a file holds, nothing where it cannot be read."""
    try:
        return host.read(path)
    except OSError:
        return b""


def content_there(host: Files, path: str) -> bytes:
    """What a file holds, nothing where there is none. Raises OSError where it cannot be read."""
    try:
        return host.read(path)
    except NOT_THERE:
        return b""


def names_there(host: Files, path: str) -> tuple[str, ...]:
    """The names in a directory, none where there is none. Raises OSError where it cannot be read."""
    try:
        return host.list(path)
    except NOT_THERE:
        return ()


def matching(host: Host, pattern: str, names: Callable[[Host, str], tuple[str, ...]] = names_there) -> tuple[str, ...]:
    """The paths that a pattern names; `*` in it stands for anything within one name. None for an empty pattern.

    Raises OSError where `names` does: with `names_in`, a directory that cannot be read holds nothing.
    """
    found = [""] if pattern else []
    for part in pattern.strip("/").split("/"):
        if "*" in part:
            found = [f"{path}/{name}" for path in found for name in fnmatch.filter(names(host, path or "/"), part)]
        else:
            found = [f"{path}/{part}" for path in found]
    return tuple(path for path in found if host.lstat(path) is not None)


def target_of(host: Host, path: str) -> str:
    """The path with its symlinks followed, itself where they cannot be."""
    try:
        return host.resolve(path)
    except OSError:
        return path


def unescaped(text: str) -> str:
    """A field of the kernel's tables of mounts and swaps, where white space and backslashes are octal (proc(5))."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
