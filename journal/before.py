"""What an intent says of the files it is about to change: which before-images it names, and where they are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from journal.events import Json


class Where(StrEnum):
    """Where a before-image is kept: in the journal itself, or as a plain file beside it."""

    BLOB = "blob"
    IMAGE = "image"


def named(data: Mapping[str, Json], where: Where) -> Iterator[str]:
    """The sha256 of every before-image that the data of an intent says is kept there, and of an edit's new content.

    A file that did not exist has none. Whatever is not of that shape names nothing.
    """
    action = data.get("action")
    if where is Where.BLOB and isinstance(action, dict) and action.get("type") == "edit_file":
        content = action.get("content")
        if isinstance(content, str):
            yield content
    before = data.get("before")
    for image in before.values() if isinstance(before, dict) else ():
        if isinstance(image, dict) and image.get("where") == where.value:
            digest = image.get("sha256")
            if isinstance(digest, str):
                yield digest
