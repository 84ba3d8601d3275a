"""A host that can be changed. Only the engine holds one; steps see the read-only half of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from steps.base import Completed, Host

if TYPE_CHECKING:
    from steps.actions import StartProcess

# Where commands are looked for, whoever calls us: root's places all. NixOS has its commands in the last one, which no
# other system has.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"
# Begins the boot id of a host whose kernel does not run: what was done in its place, was done by a rescue system.
OFFLINE = "offline:"


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a file has besides its content: permission bits, owner, extended attributes."""

    mode: int
    uid: int
    gid: int
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


class OutcomeUnknown(Exception):
    """An effect was begun and it is not known whether it happened, such as a write to sysfs that hangs."""


class ChangeableHost(Host, Protocol):
    """A host with its effects. Each file effect is durable when it returns, and happened whole or not at all."""

    @property
    def label(self) -> str:
        """How to name this host to the user (`this host`, `the system in /mnt`, `the simulated machine in DIR`)."""
        ...

    @property
    def booted(self) -> bool:
        """Whether its kernel runs (False with --root and in a chroot): without one there is no sysfs to write."""
        ...

    def local(self, path: str) -> Path:
        """Where a path of the host lies for us."""
        ...

    def filesystem(self, path: str) -> str:
        """What tells the file system that holds `path` (or its nearest existing parent) from every other: paths for
        which it is the same share the room that `free` tells, subvolumes of one btrfs among them."""
        ...

    def attributes(self, path: str) -> Attributes:
        """Mode, owner and extended attributes of a file."""
        ...

    def write_file(self, path: str, content: bytes, attributes: Attributes) -> None:
        """Replace or make a file: temporary file beside it, fsync, attributes, rename, fsync of the directory."""
        ...

    def put_file(self, path: str, source: Path, attributes: Attributes) -> None:
        """As write_file, with the content of a local file (a before-image too large to be held in memory)."""
        ...

    def remove_file(self, path: str) -> None:
        """Remove a file, durably."""
        ...

    def sync(self, path: str) -> None:
        """Make durable what a command wrote to a path, and its name; nothing where nothing is."""
        ...

    def tidy(self, path: str) -> None:
        """Remove the temporary file that a write of `path` left behind when it was cut short, if there is one."""
        ...

    def run(self, argv: Sequence[str], *, timeout: float, on_line: Callable[[str], None] | None = None) -> Completed:
        """Run a command that changes the host; `on_line` sees its output as it comes, and its last line
        again every second, so that it can be told that it still runs. Status 127: no such command.

        Raises TimeoutError after killing it and its children.
        """
        ...

    def write_attribute(self, path: str, value: str, *, timeout: float) -> None:
        """Write to a kernel attribute. Raises OSError with the kernel's errno, OutcomeUnknown when it hangs."""
        ...

    def start(self, process: StartProcess) -> int:
        """Start a process in a session of its own, with its output in NAME.log, and return its pid."""
        ...

    def set_affinity(self, thread: int, cpus: tuple[int, ...]) -> None:
        """Let a thread run on these CPUs only. Raises OSError: ESRCH (it has ended), EINVAL (none of them is there)."""
        ...

    def kill(self, name: str, *, timeout: float) -> None:
        """End a process started under that name: SIGTERM, then SIGKILL after `timeout` seconds."""
        ...

    def request_reboot(self) -> None:
        """Ask the host to reboot; returns when it was asked."""
        ...

    def system_log(self, text: str, **fields: str) -> None:
        """One line to the system's log, where a cut tail of the journal shows later; never raises. The fields (names in
        capitals) go along where the log keeps such, as systemd's does."""
        ...
