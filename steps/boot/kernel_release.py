"""The release of a kernel whose file in /boot is called after something else, as Arch's /boot/vmlinuz-linux is."""

from __future__ import annotations

from steps.base import Host

MODULES = "/lib/modules"


def release_of(host: Host, name: str | None) -> str | None:
    """The release of the kernel that is called `name` in /boot: the name itself where it has modules, otherwise the
    release whose `pkgbase` says that name (Arch: the file that mkinitcpio's install script reads)."""
    if name is None or host.lstat(f"{MODULES}/{name}") is not None:
        return name
    try:
        releases = host.list(MODULES)
    except OSError:
        return name
    return next((each for each in releases if _pkgbase(host, each) == name), name)


def _pkgbase(host: Host, release: str) -> str | None:
    try:
        return host.read(f"{MODULES}/{release}/pkgbase").decode(errors="replace").strip()
    except OSError:
        return None
