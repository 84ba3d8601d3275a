"""The files that a guest opens: its disks, CD images, firmware and ROMs; and what is said of one that is not there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from steps.base import Finding, Host, Severity
from steps.config import Device, Guest
from steps.guest import access
from steps.guest.access import FileFact
from steps.reading import NOT_THERE


def by(guest: Guest, devices: Iterable[Device]) -> Iterator[tuple[str, str, bool]]:
    """What the guest opens: path, what for, whether to write."""
    for disk in guest.disks:
        yield disk.path, "disk", not disk.readonly
    for cdrom in guest.cdroms:
        yield cdrom.path, "CD image", False
    for path, why, write in (
        (guest.firmware, "firmware", False),
        (guest.ovmf_code, "firmware", False),
        (guest.ovmf_vars, "firmware's variables", True),
    ):
        if path is not None:
            yield path, why, write
    for device in devices:
        if device.romfile is not None:
            yield device.romfile, "ROM", False


def absent(host: Host, guest: Guest, devices: Iterable[Device]) -> tuple[FileFact, ...]:
    """Those that are not there now. Of one that cannot be looked at, nothing is said before the guest starts."""
    return tuple(
        access.look(host, None, path, why, write=write)
        for path, why, write in by(guest, devices)
        if _is_absent(host, path)
    )


def _is_absent(host: Host, path: str) -> bool:
    try:
        return host.lstat(host.resolve(path)) is None
    except NOT_THERE:
        return True
    except OSError:
        return False


def missing(file: FileFact, severity: Severity = Severity.REFUSAL) -> Finding:
    """What is said of a file that is not there; as a warning before the step to `running`, until which it may come."""
    return Finding(
        "file-missing",
        severity,
        f"The guest's {file.why} {file.path} does not exist.",
        () if file.resolved == file.path else (f"{file.path} leads to {file.resolved}",),
        "Correct the path in the configuration, or put the file there"
        + ("." if severity is Severity.REFUSAL else ": the step to `running` is refused without it."),
    )
