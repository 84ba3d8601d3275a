"""The release of a kernel whose file in /boot is called after something else, as Arch's /boot/vmlinuz-linux is."""

from __future__ import annotations

from steps.reading import Files, names_in, text_of

MODULES = "/lib/modules"
# What lies beside the modules and says a kernel's other names: Arch's package, after which mkinitcpio's install script
# names the file, and Manjaro's name of the file itself (6.6-x86_64 of the package linux66).
_NAMES = ("pkgbase", "kernelbase")


def release_of(host: Files, name: str | None) -> str | None:
    """The release of the kernel that is called `name` in /boot: the name itself where it has modules, otherwise the
    release whose modules say that name, or the only one that ends so (Alpine's vmlinuz-lts is 6.12.31-0-lts); the name
    where none do."""
    if name is None or host.lstat(f"{MODULES}/{name}") is not None:
        return name
    releases = names_in(host, MODULES)
    ending = [each for each in releases if each.endswith(f"-{name}")]
    return next((each for each in releases if name in names_of(host, each)), ending[0] if len(ending) == 1 else name)


def names_of(host: Files, release: str) -> tuple[str, ...]:
    """What else the kernel of a release may be called in /boot, by what lies beside its modules."""
    found = (text_of(host, f"{MODULES}/{release}/{name}").strip() for name in _NAMES)
    return tuple(name for name in found if name)
