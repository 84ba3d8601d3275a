"""The address of a unix socket whose path may be longer than an address holds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """Where to bind or connect for this path: an address holds 107 bytes (unix(7)); through the descriptor of its
    directory any path fits. Raises OSError where the directory cannot be entered."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
