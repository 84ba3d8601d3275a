"""A file system that is not mounted, read by GRUB's own tool: `grub-fstest DEVICE cat FILE` and `ls FOLDER`.

It opens the device like any file and mounts nothing, so that the EFI system partitions that a tool mounts only while it
writes to them can be looked into. Names in FAT are found whatever their case; short ones are listed in lower case.
"""

from __future__ import annotations

from dataclasses import dataclass

from steps.base import Host

COMMAND = "grub-fstest"


class EspUnreadable(Exception):
    """The device cannot be looked into; the text says why."""


@dataclass(frozen=True, slots=True)
class EspImage:
    """The file system on a device of the host."""

    host: Host
    device: str

    def names(self, folder: str) -> tuple[str, ...]:
        """The names in a folder, sorted, directories with a `/` behind; none where there is no such folder. Raises
        EspUnreadable."""
        done = self.host.query((COMMAND, self.device, "ls", f"{folder.rstrip('/')}/"))
        if not done.ok:
            raise EspUnreadable(_said(done.stderr, done.status))
        return tuple(sorted(done.text.split()))

    def read(self, path: str) -> bytes | None:
        """The content of a file, None where there is none. Raises EspUnreadable."""
        done = self.host.query((COMMAND, self.device, "cat", path))
        if done.ok:
            return done.stdout
        if b"not found" in done.stderr:
            return None
        raise EspUnreadable(_said(done.stderr, done.status))


def _said(stderr: bytes, status: int) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"{COMMAND}: exit status {status}"
