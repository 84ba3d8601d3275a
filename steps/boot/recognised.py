"""Boot set-ups whose command line does not live in /etc/default/grub: known by their traces, never edited by mistake.

Each becomes a module of its own when it is supported.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from steps.actions import Action
from steps.base import Host
from steps.boot.base import BootFacts, BootLoader

ESP = ("/boot", "/boot/efi", "/efi")
# Where a loader that follows the Boot Loader Interface says its name: systemd.io/BOOT_LOADER_INTERFACE.
LOADER_INFO = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
GRUB_CFGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")


@dataclass(frozen=True, slots=True)
class Trace:
    """A sign of a boot set-up: a path (its last part may be a pattern), and, where `holds` is not empty, one of those
    texts in it."""

    path: str
    holds: tuple[bytes, ...] = ()

    def seen(self, host: Host) -> str | None:
        """What was seen, as evidence."""
        for path in _matching(host, self.path):
            if not self.holds:
                return f"{path} is there"
            content = _content(host, path)
            held = next((text for text in self.holds if text in content), None)
            if held is not None:
                return f"{path} holds {held.replace(bytes(1), b'').decode(errors='replace')!r}"
        return None


@dataclass(frozen=True, slots=True)
class Recognised:
    """A boot set-up known by traces: any one of `traces`, and none of `unless`."""

    name: str
    precedence: int
    traces: tuple[Trace, ...]
    manual: str
    unless: tuple[Trace, ...] = ()
    supported: bool = False

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """What was seen of it."""
        if any(trace.seen(host) for trace in self.unless):
            return None
        found = tuple(seen for trace in self.traces if (seen := trace.seen(host)) is not None)
        return found or None

    def read(self, host: Host, setup: str) -> BootFacts:
        """Nothing but its name: it is refused before anything is planned."""
        return BootFacts(self.name, self.name)

    def stage(self, facts: BootFacts, tokens: Sequence[str], setup: str) -> tuple[Action, ...]:
        """No change: it is refused."""
        return ()

    def choose(self, facts: BootFacts) -> tuple[Action, ...]:
        """No change: it is refused."""
        return ()

    def unstage(self, facts: BootFacts) -> tuple[Action, ...]:
        """No change: it is refused."""
        return ()

    def edits(self, facts: BootFacts, tokens: Sequence[str]) -> tuple[Action, ...]:
        """No change: it is refused."""
        return ()

    def commit(self, facts: BootFacts) -> tuple[Action, ...]:
        """No change: it is refused."""
        return ()


def _matching(host: Host, path: str) -> tuple[str, ...]:
    folder, _, name = path.rpartition("/")
    if "*" not in name:
        return (path,) if host.lstat(path) is not None else ()
    try:
        return tuple(f"{folder}/{each}" for each in host.list(folder) if fnmatch.fnmatchcase(each, name))
    except OSError:
        return ()


def _content(host: Host, path: str) -> bytes:
    try:
        return host.read(path)
    except OSError:
        return b""


def utf16(text: str) -> bytes:
    """A text as EFI variables hold it."""
    return text.encode("utf-16-le")


GRUB_SPOKE = Trace(LOADER_INFO, (utf16("GRUB "),))
GRUB_CONFIGURED = tuple(Trace(path, (b"menuentry ",)) for path in GRUB_CFGS)

LOADERS: tuple[BootLoader, ...] = (
    Recognised(
        "nixos",
        10,
        (Trace("/etc/NIXOS"), Trace("/etc/os-release", (b"\nID=nixos", b'\nID="nixos"'))),
        "NixOS is declarative: add the words of `vfiostate plan` to boot.kernelParams in configuration.nix yourself.",
    ),
    Recognised(
        "ostree",
        11,
        (Trace("/run/ostree-booted"), Trace("/ostree/deploy")),
        "The command line belongs to the deployment: `rpm-ostree kargs --append-if-missing=WORD` adds to it.",
    ),
    Recognised(
        "proxmox-boot-tool",
        12,
        (Trace("/etc/kernel/proxmox-boot-uuids"),),
        "The command line is the one line of /etc/kernel/cmdline; `proxmox-boot-tool refresh` makes it effective.",
    ),
    Recognised(
        "kernelstub",
        13,
        (Trace("/etc/kernelstub/configuration"),),
        "kernelstub keeps the command line: `kernelstub -a WORDS` adds to it, `kernelstub -d WORDS` takes away.",
    ),
    Recognised(
        "bls",
        20,
        (
            *(Trace(path, (b"\nblscfg", b"\tblscfg", b" blscfg")) for path in GRUB_CFGS),
            Trace("/etc/default/grub", (b"\nGRUB_ENABLE_BLSCFG=true", b'\nGRUB_ENABLE_BLSCFG="true"')),
        ),
        "GRUB takes its entries from /boot/loader/entries: `grubby --update-kernel=ALL --args=WORDS` changes them.",
    ),
    Recognised(
        "grub2",
        61,
        (Trace("/boot/grub2/grub.cfg"),),
        "This GRUB is configured by grub2-mkconfig, which vfiostate does not drive yet.",
        unless=(Trace("/boot/grub/grub.cfg"),),
    ),
)
