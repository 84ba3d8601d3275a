"""A host seen by somebody who may not read everything: what was refused is remembered, so that it is not called absent.

Most readers take a file that they may not read for one that is not there, which is right for root only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from steps.base import Completed, Host, Json, Stat

P = ParamSpec("P")
T = TypeVar("T")


class WatchedHost:
    """A host, as it is, which notes every path that the system did not let us look at."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._denied: dict[str, None] = {}

    @contextmanager
    def watching(self) -> Iterator[Callable[[], tuple[str, ...]]]:
        """Begin anew; what is given tells the paths refused since."""
        self._denied.clear()
        yield lambda: tuple(self._denied)

    def read(self, path: str) -> bytes:
        """As the host's."""
        return self._noted(path, self._host.read, path)

    def lstat(self, path: str) -> Stat | None:
        """As the host's."""
        return self._noted(path, self._host.lstat, path)

    def list(self, path: str) -> tuple[str, ...]:
        """As the host's."""
        return self._noted(path, self._host.list, path)

    def readlink(self, path: str) -> str:
        """As the host's."""
        return self._noted(path, self._host.readlink, path)

    def resolve(self, path: str) -> str:
        """As the host's."""
        return self._noted(path, self._host.resolve, path)

    def which(self, name: str) -> str | None:
        """As the host's."""
        return self._host.which(name)

    def free(self, path: str) -> int:
        """As the host's."""
        return self._noted(path, self._host.free, path)

    def query(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        """As the host's."""
        return self._host.query(argv, stdin=stdin, timeout=timeout)

    def qmp(
        self, name: str, command: str, arguments: Mapping[str, Json] | None = None, *, timeout: float = 10.0
    ) -> Json:
        """As the host's."""
        return self._host.qmp(name, command, arguments, timeout=timeout)

    def alive(self, name: str) -> int | None:
        """As the host's."""
        return self._host.alive(name)

    @property
    def release(self) -> str:
        """As the host's."""
        return self._host.release

    @property
    def boot_id(self) -> str:
        """As the host's."""
        return self._host.boot_id

    def _noted(self, path: str, look: Callable[P, T], *args: P.args, **words: P.kwargs) -> T:
        try:
            return look(*args, **words)
        except PermissionError:
            self._denied[path] = None
            raise
