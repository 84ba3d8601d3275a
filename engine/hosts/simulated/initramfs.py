"""The simulated initramfs: a small JSON archive that says what it carries.

Like a real one it depends only on what went in and on the time it was made.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from engine.hosts.simulated import kmod

FORMAT = "simulated initramfs"


@dataclass(frozen=True, slots=True)
class Archive:
    """An initramfs: the files in it that matter (path without the leading slash -> text)."""

    release: str
    files: Mapping[str, str]

    @property
    def modules(self) -> frozenset[str]:
        """The modules in it."""
        return frozenset(kmod.name_of(path) for path in self.files if ".ko" in path.rpartition("/")[2])

    @property
    def wanted(self) -> tuple[str, ...]:
        """The modules its init loads by name, after udev has been started."""
        return module_lines(self.files.get("conf/modules", ""))

    @property
    def modprobe_d(self) -> Mapping[str, str]:
        """The modprobe.d files in it, by their names."""
        found: dict[str, str] = {}
        for folder in kmod.CONFIG_DIRECTORIES:
            paths = (path for path in self.files if path.startswith(f"{folder.lstrip('/')}/"))
            for path in paths:
                found.setdefault(path.rpartition("/")[2], self.files[path])
        return found


def module_lines(text: str) -> tuple[str, ...]:
    """The lines of a file in the manner of /etc/modules: a module and its parameters; comments left out."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith(";"))


def render(archive: Archive) -> bytes:
    """The bytes of the file; the time it was made is part of them."""
    made = time.time_ns()
    return json.dumps(
        {"format": FORMAT, "made": made, "release": archive.release, "files": dict(archive.files)}, indent=1
    ).encode()


def parse(content: bytes) -> Archive:
    """Read an archive. Raises ValueError for what is none."""
    value = json.loads(content)
    if not isinstance(value, dict) or value.get("format") != FORMAT or not isinstance(value.get("files"), dict):
        raise ValueError("not an initramfs")
    return Archive(str(value["release"]), {str(path): str(text) for path, text in value["files"].items()})
