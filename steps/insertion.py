"""Edits that only insert: one contiguous run of bytes, so that taking it out again gives the bytes back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from steps.actions import EditFile


def sha256(content: bytes) -> str:
    """The sha256 of a content, in hex."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class Insertion:
    """A run of bytes to be put into a file before the byte at `offset`. `path` is the file's own, not a symlink's."""

    path: str
    offset: int
    run: bytes

    def apply(self, content: bytes) -> bytes:
        """The content with the run in it. Raises ValueError where the offset is not in the content."""
        if not 0 <= self.offset <= len(content):
            raise ValueError(f"offset {self.offset} is outside of {len(content)} bytes")
        return content[: self.offset] + self.run + content[self.offset :]

    def action(self, content: bytes, why: str) -> EditFile:
        """The edit of a file that has this content now."""
        return EditFile(self.path, self.apply(content), sha256(content), why, inserted=self.run)


def new_file(path: str, content: bytes, why: str, *, mode: int = 0o644) -> EditFile:
    """The edit that makes a file which is not there; all of it is ours."""
    return EditFile(path, content, None, why, inserted=content, mode=mode)


def appended(path: str, content: bytes, lines: bytes) -> Insertion:
    """Whole lines put at the end of a file; a last line without its newline gets one, as part of the run."""
    lead = b"\n" if content and not content.endswith(b"\n") else b""
    return Insertion(path, len(content), lead + lines)


def take_out(content: bytes, run: bytes, *, anywhere: bool = False) -> bytes | None:
    """The content without the run, None where it does not occur exactly once.

    With `anywhere` it goes wherever it is; None where it is nowhere, or where its first word is in another run too.
    """
    if anywhere:
        left = content.replace(run, b"") if run.strip() else content
        return left if left != content and run.split()[0] not in left else None
    at = content.find(run)
    if not run or at < 0 or content.find(run, at + 1) >= 0:
        return None
    return content[:at] + content[at + len(run) :]
