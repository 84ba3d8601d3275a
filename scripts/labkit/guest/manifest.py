#!/usr/bin/python3
"""Writes what a tree of files is, as JSON: for each path its kind, mode, owner, size, sha256 and link target.

usage: manifest.py [--hash DIR]... [--look DIR]... [--skip PATH]...
``--hash`` trees are read and hashed (a pattern is all that it matches); ``--look`` trees give size and modification
time instead of a hash (whole /usr under emulation would take minutes). ``--skip`` paths, and what lies below them, are
left out.
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import json
import os
import stat
import sys
from typing import Any

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def sha256(path: str) -> str:
    """A file's digest."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def xattrs(path: str) -> dict[str, str]:
    """Extended attributes by name, in hexadecimal; none where the file system has none."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    return {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in sorted(names)}


def describe(path: str, hashed: bool) -> dict[str, Any]:
    """One path's entry."""
    info = os.lstat(path)
    kind = KINDS[stat.S_IFMT(info.st_mode)]
    entry: dict[str, Any] = {
        "kind": kind,
        "mode": oct(stat.S_IMODE(info.st_mode)),
        "uid": info.st_uid,
        "gid": info.st_gid,
    }
    if kind == "link":
        entry["target"] = os.readlink(path)
    elif kind == "file":
        entry["size"] = info.st_size
        entry["hardlinks"] = info.st_nlink
        if hashed:
            entry["sha256"] = sha256(path)
        else:
            entry["mtime"] = info.st_mtime_ns
    if found := xattrs(path):
        entry["xattrs"] = found
    return entry


def walk(top: str, hashed: bool, skip: set[str], entries: dict[str, dict[str, Any]]) -> None:
    """Adds a tree, other file systems mounted in it left out."""
    top = os.path.realpath(top)
    if top in skip or not os.path.lexists(top):
        return
    entries[top] = describe(top, hashed)
    if entries[top]["kind"] != "directory":
        return
    for name in sorted(os.listdir(top)):
        path = os.path.join(top, name)
        if path in skip or path in entries:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            if not os.path.ismount(path):
                walk(path, hashed, skip, entries)
        else:
            entries[path] = describe(path, hashed)


def main() -> None:
    """Writes the manifest to standard output."""
    parser = argparse.ArgumentParser()
    for option in ("--hash", "--look", "--skip"):
        parser.add_argument(option, action="append", default=[])
    options = parser.parse_args()
    entries: dict[str, dict[str, Any]] = {}
    skip = {os.path.realpath(path) for path in options.skip}
    for top in (path for pattern in options.hash for path in sorted(glob.glob(pattern))):
        walk(top, True, skip, entries)
    for top in options.look:
        walk(top, False, skip, entries)
    json.dump(entries, sys.stdout, sort_keys=True)


if __name__ == "__main__":
    main()
