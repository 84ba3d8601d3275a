"""modprobe's configuration as far as it matters to a stub driver: which ids modules are given in modprobe.d.

Source: modprobe.d(5): files of all directories in the order of their names, one in an earlier directory hides one of
the same name in a later; options of all lines are joined, and those of the kernel's command line come last (kmod's
libkmod-config.c).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from steps.base import Host
from steps.reading import NOT_THERE, names_there

DIRECTORIES = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)


def files(host: Host) -> tuple[str, ...]:
    """The paths modprobe reads, in its order."""
    found: dict[str, str] = {}
    for directory in DIRECTORIES:
        for name in names_there(host, directory):
            if name.endswith(".conf"):
                found.setdefault(name, f"{directory}/{name}")
    return tuple(found[name] for name in sorted(found))


def option(host: Host, module: str, name: str, *, besides: Sequence[str] = ()) -> tuple[str, str] | None:
    """The value that modprobe.d gives a module's option and the file that says so: the last one wins. None for none."""
    last: tuple[str, str] | None = None
    for path in files(host):
        if path in besides:
            continue
        try:
            content = host.read(path)
        except (*NOT_THERE, IsADirectoryError, PermissionError):
            continue
        for value in _values(content, module, name):
            last = (value, path)
    return last


def _values(content: bytes, module: str, name: str) -> Iterator[str]:
    text = content.decode("utf-8", "surrogateescape").replace("\\\n", " ")
    for line in text.splitlines():
        words = line.split()
        if len(words) > 2 and words[0] == "options" and _same(words[1], module):
            pairs = (word.partition("=") for word in words[2:])
            yield from (value.strip('"') for key, sign, value in pairs if sign and _same(key, name))


def _same(one: str, other: str) -> bool:
    return one.replace("-", "_") == other.replace("-", "_")
