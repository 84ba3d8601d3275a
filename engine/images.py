"""Before-images: what a path was, kept so that it can be put back byte for byte, with mode, owner and attributes."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.hosts.base import Attributes, ChangeableHost
from journal.before import Where
from journal.errors import JournalDamagedError
from journal.events import Json
from journal.images import BLOB_LIMIT, Images

GONE = None


def fingerprint(host: ChangeableHost, path: str) -> str | None:
    """What a path is, comparably: the sha256 of a file, `link:TARGET` of a symlink, None where nothing is.

    Raises OSError where it cannot be read.
    """
    place = host.local(path)
    try:
        mode = os.lstat(place).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return GONE
    if stat.S_ISLNK(mode):
        return f"link:{os.readlink(place)}"
    if not stat.S_ISREG(mode):
        # A pipe would be waited for.
        raise OSError(errno.EINVAL, "is not a regular file", path)
    with open(place, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def take(host: ChangeableHost, images: Images, path: str) -> tuple[dict[str, Json], bytes | None]:
    """The before-image of a path as the journal keeps it, and its content where it goes into the journal itself.

    A large file's content is durable in `images` when this returns.
    """
    found = fingerprint(host, path)
    if found is GONE or found.startswith("link:"):
        return {"sha256": found}, None
    attributes = host.attributes(path)
    record: dict[str, Json] = {
        "sha256": found,
        "mode": attributes.mode,
        "uid": attributes.uid,
        "gid": attributes.gid,
        "xattrs": {name: base64.b64encode(value).decode() for name, value in attributes.xattrs.items()},
    }
    place = host.local(path)
    if place.stat().st_size > BLOB_LIMIT:
        # An image is kept once: the step that announces a file and the action that changes it speak of the same one.
        # Relied on only when it is what its name says.
        kept = found if sound(images, {"sha256": found, "where": Where.IMAGE.value}) else images.keep(place)
        record |= {"sha256": kept, "where": "image"}
        return record, None
    content = place.read_bytes()
    record |= {"sha256": hashlib.sha256(content).hexdigest(), "where": "blob"}
    return record, content


def sound(images: Images, record: Mapping[str, Any]) -> bool:
    """Whether a before-image is there to be put back: read and hashed where it is an image."""
    if record.get("where") != Where.IMAGE.value:
        return True  # a blob is checked when the journal is opened for writing
    try:
        images.check(record["sha256"])
    except JournalDamagedError:
        return False
    return True


def attributes_of(record: Mapping[str, Any]) -> Attributes:
    """The attributes that a before-image remembers."""
    xattrs = {name: base64.b64decode(value) for name, value in record["xattrs"].items()}
    return Attributes(record["mode"], record["uid"], record["gid"], xattrs)


def put_back(
    host: ChangeableHost,
    images: Images,
    blob: Callable[[str], bytes],
    path: str,
    record: Mapping[str, Any],
    attributes: Attributes | None = None,
) -> None:
    """Make a path what it was, durably: content, mode, owner, attributes (or these `attributes`), or absent."""
    sha: str | None = record["sha256"]
    if sha is GONE:
        if host.lstat(path) is not None:
            host.remove_file(path)
    elif sha.startswith("link:"):
        restore_link(host.local(path), sha.removeprefix("link:"))
    elif record["where"] == "image":
        images.check(sha)
        host.put_file(path, images.path(sha), attributes or attributes_of(record))
    else:
        host.write_file(path, blob(sha), attributes or attributes_of(record))


def restore_link(place: Path, target: str) -> None:
    """Make a symlink anew, through a temporary name so that a crash shows the old or the new one."""
    temporary = place.with_name(f".vfiostate-{place.name}.link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.rename(place)
    descriptor = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def differences(host: ChangeableHost, path: str, record: Mapping[str, Any]) -> list[str]:
    """In what a path differs from its before-image; empty means byte for byte, with mode and owner."""
    now = fingerprint(host, path)
    if now != record["sha256"]:
        return ["is there" if record["sha256"] is GONE else "is gone" if now is GONE else "content"]
    if now is GONE or now.startswith("link:"):
        return []
    attributes, was = host.attributes(path), attributes_of(record)
    return [name for name in ("mode", "uid", "gid", "xattrs") if getattr(attributes, name) != getattr(was, name)]
