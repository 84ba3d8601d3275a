"""A decision about the way back of one deed, and the files as they will be on that way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from engine import images
from engine.setup import Deed
from steps.actions import Action, RunCommand

if TYPE_CHECKING:
    from engine.session import Session


class Way(StrEnum):
    """How a deed is undone."""

    RESTORE = "restore"
    MERGE = "merge"
    ALREADY_GONE = "already_gone"
    KEEP = "kept"
    INVERSE = "inverse"
    REGENERATE = "regenerate"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Decision:
    """What will be done about a deed, and why; `content` is the merged file, `action` what undoes a runtime effect.
    `commands` make files anew: those of `restore` are put back after them, `came` are what others have made since.
    `seen` is what files that are written back will be until then: who changes one meanwhile is not written over."""

    deed: Deed
    way: Way
    detail: str = ""
    content: bytes = b""
    action: Action | None = None
    diff: Sequence[str] = ()
    hint: str = ""
    commands: tuple[RunCommand, ...] = ()
    restore: tuple[str, ...] = ()
    came: tuple[str, ...] = ()
    seen: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(slots=True)
class View:
    """Files as they will be when the decisions so far are carried out: path -> content, None for absent; of what
    commands produced path -> sha256.

    What is made anew is made when all the rest is back: `on_the_way` is what such a file is until then, of those that
    the decisions so far write. What one of `unforeseen` will be is known when its command has run."""

    session: Session
    files: dict[str, bytes | None] = field(default_factory=dict)
    products: dict[str, str | None] = field(default_factory=dict)
    on_the_way: dict[str, str | None] = field(default_factory=dict)
    unforeseen: set[str] = field(default_factory=set)

    def content(self, path: str) -> bytes | None:
        """What the file holds at this point of the way back."""
        if path not in self.files:
            if images.fingerprint(self.session.host, path) is None:
                return None
            return self.session.host.local(path).read_bytes()
        return self.files[path]

    def prints(self, deed: Deed) -> dict[str, str | None]:
        """The sha256 of what a command produced, at this point of the way back."""
        return self._known(self.products, deed)

    def put_back(self, deed: Deed, detail: str) -> Decision:
        """What a command produced will be as it was before."""
        met = self._known(self.on_the_way, deed)
        seen = {path: sha for path, sha in met.items() if path not in self.unforeseen}
        self.back(deed)
        return Decision(deed, Way.RESTORE, detail, seen=seen)

    def back(self, deed: Deed) -> None:
        """From here on its files are as they were before it."""
        self.products |= was(deed)
        self.on_the_way |= was(deed)

    def _known(self, known: Mapping[str, str | None], deed: Deed) -> dict[str, str | None]:
        host = self.session.host
        return {path: known[path] if path in known else images.fingerprint(host, path) for path in deed.before}


def was(deed: Deed) -> dict[str, str | None]:
    """The sha256 of what a deed's files were before it."""
    return {path: record["sha256"] for path, record in deed.before.items()}
