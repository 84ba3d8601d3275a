"""The processes that outlive us, of a host whose files lie below a root: they are kept in its /run/vfiostate."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.guests import launch
from engine.hosts.files import FileTree

if TYPE_CHECKING:
    from steps.actions import StartProcess
    from steps.base import Json

RUN_DIR = "/run/vfiostate"


class ProcessTree(FileTree):
    """A file tree whose host starts processes, finds them again by name and asks guests among them over QMP."""

    def start(self, process: StartProcess) -> int:
        """Start a process in a session of its own; its files are those of engine.guests.launch."""
        return launch.launch(process, self.local(RUN_DIR))

    def set_affinity(self, thread: int, cpus: tuple[int, ...]) -> None:
        """By the kernel: it asks root, or the thread's own account (sched_setaffinity(2))."""
        os.sched_setaffinity(thread, cpus)

    def alive(self, name: str) -> int | None:
        """The pid of a process started under that name, None where it does not run (any more)."""
        return launch.alive(name, self.local(RUN_DIR))

    def kill(self, name: str, *, timeout: float) -> None:
        """End a process started under that name."""
        launch.end(name, self.local(RUN_DIR), timeout=timeout)

    def qmp(
        self, name: str, command: str, arguments: Mapping[str, Json] | None = None, *, timeout: float = 10.0
    ) -> Json:
        """What the guest of that name answers over QMP."""
        from engine.guests.qmp import query_qmp  # qemu.qmp and asyncio are needed only where a guest is spoken to

        return query_qmp(self.local(f"{RUN_DIR}/{name}.qmp"), command, arguments, timeout=timeout)
