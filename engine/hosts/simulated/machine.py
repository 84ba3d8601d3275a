"""A simulated machine's directory: where its things lie, and the few that every part of the model needs.

`DIR/etc`, `DIR/boot`, `DIR/sys`, `DIR/proc`, … are the machine. `DIR/machine.json` is its description. `DIR/.kernel` is
what a kernel keeps in memory and shows nowhere: the dynamic ids of its drivers, the order in which they registered;
`DIR/.nvram` what the firmware keeps over a boot.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import stat
from functools import cached_property
from pathlib import Path

from engine.hosts.files import FileTree
from engine.hosts.simulated import description
from engine.hosts.simulated.parts import Description, Kernel
from journal.errors import VfiostateError

DESCRIPTION = "machine.json"
STUBS = frozenset({"vfio-pci", "pci-stub"})


class Machine:
    """The directory of one machine. Everything that changes is read from the directory each time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.tree = FileTree(self.directory)
        # While it boots, what depends on all bindings together is worked out once, at the end.
        self.booting = False

    @cached_property
    def description(self) -> Description:
        """What the machine is made of. Raises ConfigurationError where machine.json is missing or wrong."""
        return description.load(self.directory / DESCRIPTION)

    def describe(self, found: Description) -> None:
        """Replace the description."""
        self.tree.tidy(f"/{DESCRIPTION}")
        (self.directory / DESCRIPTION).write_text(description.render(found), encoding="utf-8")
        self.__dict__.pop("description", None)

    # --- files of the machine, by the path the machine knows them by

    def path(self, path: str) -> Path:
        """Where a path of the machine lies, symlinks followed."""
        return self.directory / self.tree.resolve(path).lstrip("/")

    def text(self, path: str, default: str = "") -> str:
        """The content of a file as text, or the default where it is not there or is no file."""
        try:
            return self.path(path).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return default

    def names(self, path: str) -> tuple[str, ...]:
        """The names in a directory, sorted; none where there is no directory."""
        place = self.path(path)
        return tuple(sorted(one.name for one in place.iterdir())) if place.is_dir() else ()

    def exists(self, path: str) -> bool:
        """Whether there is something, symlinks followed."""
        return self.path(path).exists()

    def put(self, path: str, content: str, mode: int = 0o644) -> None:
        """Write a file that only the model writes; not durable, for nothing depends on it over a crash."""
        place = self.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists() and not os.access(place, os.W_OK):
            place.chmod(0o600)
        place.write_text(content, encoding="utf-8")
        # Write-only attributes (0200) stay readable for their owner, who may want to copy the machine.
        if stat.S_IMODE(place.stat().st_mode) != mode | 0o400:
            place.chmod(mode | 0o400)

    def link(self, path: str, target: str) -> None:
        """Make a symlink at `path` with the text `target`, in the place of what is there."""
        place = self.tree.local(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target)

    def link_to(self, path: str, target: str) -> None:
        """Make a relative symlink at `path` that leads to the path `target`, as sysfs does."""
        self.link(path, posixpath.relpath(self.tree.resolve(target), self.tree.resolve(path.rpartition("/")[0])))

    def unlink(self, path: str) -> None:
        """Remove a file or symlink, if it is there."""
        self.tree.local(path).unlink(missing_ok=True)

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all below it, if it is there; symlinks in it are not followed."""
        place = self.tree.local(path)
        if place.is_symlink():
            place.unlink()
        else:
            shutil.rmtree(place, ignore_errors=True)

    # --- the running kernel

    @property
    def release(self) -> str:
        """The running kernel's release."""
        return self.text("/proc/sys/kernel/osrelease").strip()

    @property
    def cmdline(self) -> tuple[str, ...]:
        """The words of the running kernel's command line."""
        return tuple(self.text("/proc/cmdline").split())

    @property
    def kernel(self) -> Kernel:
        """The running kernel. Raises VfiostateError where its description is gone."""
        found = self.description.kernel(self.release)
        if found is None:
            raise VfiostateError(
                f"The simulated machine runs kernel {self.release!r}, which its machine.json does not describe.",
                hint="Reboot it into a kernel it has: `vfiostate --simulate DIR machine reboot`.",
            )
        return found

    def at_least(self, major: int, minor: int) -> bool:
        """Whether the running kernel is of that version or later."""
        return version(self.release) >= (major, minor)

    def log(self, line: str, at: float | None = None) -> None:
        """Add a line to the kernel's log, `at` seconds after the boot (None: a moment after the line before)."""
        place = self.path("/var/log/kern.log")
        place.parent.mkdir(parents=True, exist_ok=True)
        before = place.read_text(encoding="utf-8", errors="replace") if place.exists() else ""
        last = re.findall(r"^\[ *(\d+\.\d+)\]", before, re.MULTILINE)
        after = float(last[-1]) + 0.000012 if last else 0.0
        place.write_text(f"{before}[{max(at or 0.0, after):12.6f}] {line}\n", encoding="utf-8")


def version(release: str) -> tuple[int, int]:
    """Major and minor version of a kernel release."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def kernels_in_boot(machine: Machine) -> tuple[str, ...]:
    """The releases of the kernels in /boot, the newest first; another flavour of the same version by its name."""
    found = [name.removeprefix("vmlinuz-") for name in machine.names("/boot") if name.startswith("vmlinuz-")]
    return tuple(sorted(found, key=_parts, reverse=True))


def _parts(release: str) -> list[tuple[int, str]]:
    """Numbers and what is between them, as `sort -V` compares them (version_sort in grub-mkconfig_lib)."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", release)]
