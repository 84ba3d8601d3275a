"""kmod's view of a kernel's modules: what depmod wrote below /lib/modules and what modprobe.d says.

The files are the truth, as they are to modprobe; the same reading serves the root and an initramfs, which carries
copies of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from engine.hosts.simulated.machine import Machine

# Where modprobe looks for configuration; of two files with one name, the directory named first counts (modprobe.d(5)).
CONFIG_DIRECTORIES = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)


def normal(name: str) -> str:
    """A module's name as the kernel spells it."""
    return name.replace("-", "_")


def name_of(file: str) -> str:
    """The module that a file holds."""
    return normal(file.rpartition("/")[2].partition(".")[0])


@dataclass(frozen=True, slots=True)
class Softdep:
    """One line `softdep`: the name of the file it is in, the module it is for, the modules before and after it."""

    file: str
    module: str
    pre: tuple[str, ...]
    post: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """The modules of one kernel release: files by name, dependencies in loading order, aliases in their order."""

    release: str
    files: Mapping[str, str]
    depends: Mapping[str, tuple[str, ...]]
    builtin: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...]
    builtin_aliases: tuple[tuple[str, str], ...]
    softdeps: tuple[Softdep, ...]

    def matches(self, alias: str, *, builtin: bool = False) -> tuple[str, ...]:
        """The modules whose patterns match an alias, each once."""
        pairs = self.builtin_aliases if builtin else self.aliases
        return tuple(dict.fromkeys(name for pattern, name in pairs if fnmatchcase(alias, pattern)))


@dataclass(frozen=True, slots=True)
class Options:
    """What modprobe.d (and the kernel's command line) say."""

    softdeps: tuple[Softdep, ...] = ()
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    aliases: tuple[tuple[str, str], ...] = ()
    blacklist: frozenset[str] = frozenset()
    install: Mapping[str, str] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


def read_index(machine: Machine, release: str) -> Index | None:
    """What depmod wrote for a release, None where there is no such directory."""
    base = f"/lib/modules/{release}"
    if not machine.path(base).is_dir():
        return None
    files: dict[str, str] = {}
    depends: dict[str, tuple[str, ...]] = {}
    for line in machine.text(f"{base}/modules.dep").splitlines():
        file, _, rest = line.partition(":")
        files[name_of(file)] = file
        # modules.dep names the farthest dependency last; it has to be loaded first.
        depends[name_of(file)] = tuple(name_of(one) for one in reversed(rest.split()))
    builtin = tuple(name_of(line) for line in machine.text(f"{base}/modules.builtin").splitlines())
    info = [one.partition("=") for one in machine.text(f"{base}/modules.builtin.modinfo").split("\0") if "=" in one]
    softdeps = read_options({"modules.softdep": machine.text(f"{base}/modules.softdep")}).softdeps
    return Index(
        release,
        files,
        depends,
        builtin,
        tuple(_alias_lines(machine.text(f"{base}/modules.alias"))),
        tuple((value, key.removesuffix(".alias")) for key, _, value in info if key.endswith(".alias")),
        softdeps,
    )


def _alias_lines(text: str) -> Iterable[tuple[str, str]]:
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "alias":
            yield words[1], normal(words[2])


def root_options(machine: Machine) -> Options:
    """What modprobe would read on the running machine."""
    files: dict[str, str] = {}
    for directory in CONFIG_DIRECTORIES:
        for name in machine.names(directory):
            if name.endswith(".conf"):
                files.setdefault(name, machine.text(f"{directory}/{name}"))
    return read_options(files, machine.cmdline)


def read_options(texts: Mapping[str, str], cmdline: Iterable[str] = ()) -> Options:
    """Read modprobe.d's files, by their names, and what the command line says of modules (`MODULE.option=…`)."""
    softdeps: list[Softdep] = []
    options: dict[str, tuple[str, ...]] = {}
    aliases: list[tuple[str, str]] = []
    blacklist: set[str] = set()
    install: dict[str, str] = {}
    lines: list[str] = []
    for file, text in sorted(texts.items()):
        for line in text.replace("\\\n", " ").splitlines():
            words = line.split()
            if len(words) < 2 or words[0].startswith("#"):
                continue
            lines.append(" ".join(words))
            name = normal(words[1])
            if words[0] == "softdep":
                softdeps.append(Softdep(file, name, _after("pre:", words), _after("post:", words)))
            elif words[0] == "options":
                options[name] = options.get(name, ()) + tuple(words[2:])
            elif words[0] == "alias" and len(words) == 3:
                aliases.append((words[1], normal(words[2])))
            elif words[0] == "blacklist":
                blacklist.add(name)
            elif words[0] == "install":
                install[name] = " ".join(words[2:])
    for word in cmdline:
        key, _, value = word.partition("=")
        if key in ("modprobe.blacklist", "module_blacklist"):
            blacklist.update(normal(one) for one in value.split(","))
        elif match := re.fullmatch(r"([\w-]+)\.(\w+)", key):
            name = normal(match[1])
            options[name] = (*options.get(name, ()), f"{match[2]}={value}")
    return Options(tuple(softdeps), options, tuple(aliases), frozenset(blacklist), install, tuple(lines))


def _after(wanted: str, words: Iterable[str]) -> tuple[str, ...]:
    where, found = "", []
    for word in words:
        if word in ("pre:", "post:"):
            where = word
        elif where == wanted:
            found.append(normal(word))
    return tuple(found)


def _softdep(index: Index, options: Options, name: str) -> Softdep:
    """The one that libkmod heeds: the first in the order of the files' names, modules.softdep being one of them."""
    found = [one for one in (*options.softdeps, *index.softdeps) if fnmatchcase(name, one.module)]
    return min(found, key=lambda one: one.file, default=Softdep("", name, (), ()))


def loading_order(index: Index, options: Options, name: str, _above: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The modules that modprobe inserts for a name, in order: soft dependencies, dependencies, itself, soft ones after.

    A module that is not in this kernel is left out, as modprobe does for soft dependencies.
    """
    name = normal(name)
    if name in _above or (name not in index.files and name not in index.builtin):
        return ()
    above = _above | {name}
    found: list[str] = []
    softdep = _softdep(index, options, name)
    for one in (*softdep.pre, *index.depends.get(name, ())):
        found.extend(loading_order(index, options, one, above))
    found.append(name)
    for one in softdep.post:
        found.extend(loading_order(index, options, one, above))
    return tuple(dict.fromkeys(found))


def resolve(index: Index, options: Options, name: str) -> tuple[str, ...]:
    """The modules meant by a name or an alias, the blacklist not applied; none where there is no such thing."""
    plain = normal(name)
    if plain in index.files or plain in index.builtin:
        return (plain,)
    configured = tuple(target for pattern, target in options.aliases if fnmatchcase(plain, normal(pattern)))
    return configured or index.matches(name) or index.matches(plain) or index.matches(name, builtin=True)
