"""Who else could have written the configuration: what root reads and acts on, nobody else may write."""

from __future__ import annotations

import os
import posixpath
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from journal.errors import ConfigurationError
from steps.base import FileKind, Stat


class Files(Protocol):
    """What reading a configuration needs of a host."""

    def read(self, path: str) -> bytes:
        """The content of a file, symlinks followed."""
        ...

    def lstat(self, path: str) -> Stat | None:
        """What the path itself is."""
        ...

    def resolve(self, path: str) -> str:
        """The path with every symlink followed."""
        ...

    def local(self, path: str) -> Path:
        """Where a path of the host lies for us."""
        ...


def refuse_foreign(files: Files, path: str) -> None:
    """Raise ConfigurationError when someone besides root and us may write the file or swap it for another."""
    for place, found, remedy in foreign(files, path):
        raise ConfigurationError(
            f"The configuration {path} could have been written by others: {place} {found}.",
            hint=f"Look at what it says, then run `{remedy}`.",
            evidence=(f"{place} {found}",),
        )


def foreign(files: Files, path: str) -> Iterator[tuple[str, str, str]]:
    """Where someone besides root and us may write a file or swap it for another: the place, what was found there, and
    the command that mends it, with the place as it lies for us.

    Looked at: the file, every directory on the way to it, and, where `path` is a symlink, those on the way to that.
    A sticky directory (as /tmp) is let pass: nobody else may rename or remove what is ours in it.
    """
    trusted = {0, os.geteuid()}
    for place in dict.fromkeys((*_way(path), *_way(files.resolve(path)))):
        found = files.lstat(place)
        if found is None or found.kind is FileKind.SYMLINK:
            continue
        local = shlex.quote(str(files.local(place)))
        if found.uid not in trusted:
            yield place, f"belongs to uid {found.uid}", f"chown root {local}"
        open_to_others = found.mode & (stat.S_IWGRP | stat.S_IWOTH)
        if open_to_others and not (found.kind is FileKind.DIRECTORY and found.mode & stat.S_ISVTX):
            yield place, f"has mode {found.mode:04o}", f"chmod go-w {local}"


def _way(path: str) -> Iterator[str]:
    yield path
    while path != "/":
        path = posixpath.dirname(path)
        yield path
