"""Boot set-ups whose command line does not live in /etc/default/grub: known by their traces, never edited by mistake.

Each becomes a module of its own when it is supported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps.base import Host
from steps.boot.base import BootFacts, BootLoader
from steps.boot.untried import Unchanged
from steps.reading import content_of, matching, names_in

ESP = ("/boot", "/boot/efi", "/efi")
# Where a loader that follows the Boot Loader Interface says its name: systemd.io/BOOT_LOADER_INTERFACE.
LOADER_INFO = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
# What limine-entry-tool reads, the later over the earlier (limine-common-functions, `load_config`).
LIMINE_SETTINGS = ("/etc/limine-entry-tool.conf", "/etc/limine-entry-tool.d/*.conf", "/etc/default/limine")
GRUB_CFGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")


@dataclass(frozen=True, slots=True)
class Trace:
    """A sign of a boot set-up: a path (any part may be a pattern), and, where `holds` is not empty, one of those
    texts in it."""

    path: str
    holds: tuple[bytes, ...] = ()

    def seen(self, host: Host) -> str | None:
        """What was seen, as evidence."""
        for path in matching(host, self.path, names_in):
            if not self.holds:
                return f"{path} is there"
            content = content_of(host, path)
            held = next((text for text in self.holds if text in content), None)
            if held is not None:
                return f"{path} holds {held.replace(bytes(1), b'').decode(errors='replace')!r}"
        return None


def evidence(host: Host, traces: Sequence[Trace], unless: Sequence[Trace] = ()) -> tuple[str, ...] | None:
    """What was seen of a boot set-up; None where there is nothing, or any sign of what it must not be."""
    if any(trace.seen(host) for trace in unless):
        return None
    return tuple(seen for trace in traces if (seen := trace.seen(host)) is not None) or None


@dataclass(frozen=True, slots=True)
class Recognised(Unchanged):
    """A boot set-up known by any one of its traces."""

    name: str
    precedence: int
    traces: tuple[Trace, ...]
    manual: str
    supported: bool = False

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """What was seen of it."""
        return evidence(host, self.traces)

    def read(self, host: Host, setup: str) -> BootFacts:
        """Nothing but its name: it is refused before anything is planned."""
        return BootFacts(self.name, self.name)


def utf16(text: str) -> bytes:
    """A text as EFI variables hold it."""
    return text.encode("utf-16-le")


GRUB_SPOKE = Trace(LOADER_INFO, (utf16("GRUB "),))
SYSTEMD_BOOT_SPOKE = Trace(LOADER_INFO, (utf16("systemd-boot"),))
LIMINE_SPOKE = Trace(LOADER_INFO, (utf16("Limine "),))
GRUB_CONFIGURED = tuple(Trace(path, (b"menuentry ",)) for path in GRUB_CFGS)

LOADERS: tuple[BootLoader, ...] = (
    Recognised(
        "limine-entry-tool",
        15,
        tuple(Trace(path, (b"KERNEL_CMDLINE",)) for path in LIMINE_SETTINGS),
        'Limine\'s entries are made of /etc/default/limine: `KERNEL_CMDLINE[default]+=" WORDS"` there adds to the '
        "command line, `limine-update` makes the entries and their initramfs anew.",
    ),
)
