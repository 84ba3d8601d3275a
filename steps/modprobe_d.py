"""modprobe's configuration as far as it matters to a stub driver: options and softdeps of modules in modprobe.d.

Source: modprobe.d(5): files of all directories in the order of their names, one in an earlier directory hides one of
the same name in a later; options of all lines are joined, and those of the kernel's command line come last (kmod's
libkmod-config.c). Of a module's softdeps the first counts alone (kmod_module_get_softdeps), and depmod's
modules.softdep is read among the files, by its name (kmod_config_new).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from steps.base import Host
from steps.reading import NOT_THERE, names_there

DIRECTORIES = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)


@dataclass(frozen=True, slots=True)
class Softdep:
    """The modules that one softdep has loaded before and after another, and the file that says so."""

    path: str
    pre: tuple[str, ...] = ()
    post: tuple[str, ...] = ()


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
        for value in _values(host, path, module, name):
            last = (value, path)
    return last


def softdep(host: Host, module: str, release: str, *, besides: Sequence[str] = ()) -> Softdep | None:
    """The softdep of a module (`_` for `-`) that modprobe heeds in the kernel `release`; None where it has none."""
    paths = (*files(host), f"/lib/modules/{release}/modules.softdep")
    for path in sorted(paths, key=lambda path: path.rpartition("/")[2]):
        for words in _lines(host, path) if path not in besides else ():
            if len(words) > 2 and words[0] == "softdep" and fnmatchcase(module, words[1].replace("-", "_")):
                return Softdep(path, tuple(_listed(words, "pre:")), tuple(_listed(words, "post:")))
    return None


def _listed(words: Sequence[str], wanted: str) -> Iterator[str]:
    where = ""
    for word in words:
        if word in ("pre:", "post:"):
            where = word
        elif where == wanted:
            yield word


def _lines(host: Host, path: str) -> Iterator[list[str]]:
    try:
        content = host.read(path)
    except (*NOT_THERE, IsADirectoryError, PermissionError):
        return
    text = content.decode("utf-8", "surrogateescape").replace("\\\n", " ")
    yield from (line.split() for line in text.splitlines())


def _values(host: Host, path: str, module: str, name: str) -> Iterator[str]:
    for words in _lines(host, path):
        if len(words) > 2 and words[0] == "options" and _same(words[1], module):
            pairs = (word.partition("=") for word in words[2:])
            yield from (value.strip('"') for key, sign, value in pairs if sign and _same(key, name))


def _same(one: str, other: str) -> bool:
    return one.replace("-", "_") == other.replace("-", "_")
