"""What every initramfs generator answers: is it the one, which modules it takes in, how to rebuild, how to look inside.

A generator is one module of this package with `GENERATORS`, a tuple of objects of this shape; nothing else is edited
when one is added. Facts are read by `read`; everything after that is pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from steps.actions import Action, EditFile, Inverse, Regenerate, RunCommand
from steps.base import Finding, Host
from steps.insertion import new_file, sha256
from steps.reading import NOT_THERE, matching
from steps.softdeps import CONF, FORMER


@dataclass(frozen=True, slots=True)
class InitramfsFacts:
    """What a generator has to say. `listed` are the modules that its configuration names (`_` for `-`), and those files
    of ours that it takes in; `content` is that of `path`, None where there is no file; `names` is what lies in the
    image of the kernel that will boot, None where it was not looked into, `trouble` why looking failed; `rebuild` is
    the command that makes all images anew, or, where `each` makes one by one, that of this kernel's; `kin`, `there`,
    `each` and `made_of` are as in Regenerate. `takes_conf` is whether its init
    heeds modprobe.d: then our file there has to be in the image.
    `early` is how the name of a script of ours ends in an image, one that is run before udev meets the devices; empty
    where none can be run, and `no_early` says why. `early_files` is what lies in the places of the files for that,
    `early_folders` which of their folders are not there yet. `unattended` are the words by which its init reboots where
    the boot cannot go on, instead of waiting at a prompt.
    """

    generator: str
    path: str
    content: bytes | None = None
    listed: frozenset[str] = frozenset()
    image: str = ""
    names: frozenset[str] | None = None
    trouble: str = ""
    products: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    rebuild: tuple[str, ...] = ()
    kin: str = ""
    there: tuple[str, ...] = ()
    each: tuple[str, ...] = ()
    made_of: Mapping[str, str] = field(default_factory=dict)
    takes_conf: bool = True
    early: str = ""
    early_files: Mapping[str, bytes] = field(default_factory=dict)
    early_folders: tuple[str, ...] = ()
    no_early: str = ""
    unattended: tuple[str, ...] = ()

    def has_module(self, module: str) -> bool:
        """Whether the image holds a module, compressed or not."""
        wanted = module.replace("-", "_")
        return any(module_name(name) == wanted for name in self.names or ())

    def has_file(self, path: str) -> bool:
        """Whether the image holds a file of the host."""
        return path.lstrip("/") in (self.names or ())

    def has_conf(self) -> bool:
        """Whether the image holds our file in modprobe.d, under either of its names."""
        return self.has_file(CONF) or self.has_file(FORMER)

    def has_early(self) -> bool:
        """Whether the image holds our script that is run before udev meets the devices."""
        return bool(self.early) and any(name.endswith(self.early) for name in self.names or ())


@dataclass(frozen=True, slots=True)
class EarlyFile:
    """A file that sees to it that a script is run early in the initramfs."""

    path: str
    content: bytes
    mode: int = 0o644


class Generator(Protocol):
    """One initramfs generator."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""
        ...

    @property
    def supported(self) -> bool:
        """Whether it is driven, rather than refused by name."""
        ...

    @property
    def manual(self) -> str:
        """How a person puts modules into the image without us."""
        ...

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """What shows that it makes this host's images, None where nothing does."""
        ...

    def read(self, host: Host, release: str, *, look: bool) -> InitramfsFacts:
        """Its configuration and images; `look` also lists the image of `release`, which takes seconds."""
        ...

    def edits(
        self, facts: InitramfsFacts, modules: Sequence[str], setup: str, script: bytes = b""
    ) -> tuple[Action, ...]:
        """The changes of files that put these modules into the images and, where `script` is given (one made by
        steps.early_script), have it run before udev meets the devices; pure."""
        ...

    def commit(self, facts: InitramfsFacts) -> tuple[Action, ...]:
        """Rebuild the images of all kernels; pure."""
        ...


def unlisted(facts: InitramfsFacts, modules: Sequence[str]) -> list[str]:
    """Those of these modules that the generator's configuration does not name yet."""
    return [module for module in modules if module.replace("-", "_") not in facts.listed]


def with_kin(host: Host, facts: InitramfsFacts, kin: str) -> InitramfsFacts:
    """The facts with a pattern of the images that kernels which come later get. What it names now and no rebuild makes,
    such as a rescue image or a backup, is not made anew for its sake. Where the generator does not say what its images
    are made of, it is the modules of the release that an image is named after."""
    there = tuple(path for path in matching(host, kin) if path not in facts.products)
    made_of = {path: modules for path in facts.products if (modules := _modules(host, _release(kin, path)))}
    return replace(facts, kin=kin, there=there, made_of=facts.made_of or made_of)


def _release(kin: str, path: str) -> str:
    """What stands for the `*`."""
    head, _, tail = kin.partition("*")
    return path[len(head) : len(path) - len(tail)] if path.startswith(head) and path.endswith(tail) else ""


def _modules(host: Host, release: str) -> str:
    """Where a kernel's own modules lie, empty where a name is no release. What others built for a kernel may be left
    behind in its directory when it is removed."""
    folders = (f"/lib/modules/{release}/kernel", f"/lib/modules/{release}") if release else ()
    return next((folder for folder in folders if host.lstat(folder) is not None), "")


def rebuilt(facts: InitramfsFacts) -> tuple[Action, ...]:
    """Rebuild the images of all kernels, so that booting another one is no surprise.

    Every command of several names the products of all: what came since is told from what another of them made.
    """
    if facts.each:
        return tuple(_one(facts, path) for path in facts.products)
    undo = Regenerate(facts.rebuild, kin=facts.kin, there=facts.there, made_of=facts.made_of)
    why = "rebuild the initramfs of every kernel"
    return (RunCommand(facts.rebuild, why, undo, produces=facts.products, timeout=3600.0),)


def _one(facts: InitramfsFacts, path: str) -> RunCommand:
    release = _release(facts.kin, path)
    argv = tuple(word.replace("{}", release) for word in facts.each)
    made_of = {path: facts.made_of[path]} if path in facts.made_of else {}
    undo = Regenerate(argv, kin=facts.kin, there=facts.there, each=facts.each, made_of=made_of)
    return RunCommand(argv, f"rebuild the initramfs of {release}", undo, produces=facts.products, timeout=3600.0)


def module_name(path: str) -> str | None:
    """The module that a file in an image is (`_` for `-`), None for another file."""
    match = re.search(r"lib/modules/(?:.*/)?([^/]+)\.ko(?:\.(?:gz|xz|zst))?$", path)
    return match.group(1).replace("-", "_") if match else None


def read_early(host: Host, facts: InitramfsFacts, *paths: str) -> InitramfsFacts:
    """The facts with what lies in the places of the files that have a script run early."""
    found = {}
    for path in paths:
        try:
            found[path] = host.read(path)
        except NOT_THERE:
            continue
    folders = dict.fromkeys(path.rpartition("/")[0] for path in paths)
    missing = tuple(folder for folder in folders if host.lstat(folder) is None)
    return replace(facts, early_files=found, early_folders=missing)


def early_edits(facts: InitramfsFacts, files: Sequence[EarlyFile]) -> tuple[Action, ...]:
    """Make these files, or give one that is left from an earlier setup the content of this one."""
    found: list[Action] = []
    for folder in facts.early_folders:
        undo = Inverse(("rm", "-df", folder))
        found.append(RunCommand(("mkdir", "-p", folder), f"make {folder}", undo))
    why = "take the devices by their addresses, ahead of udev"
    for file in files:
        there = facts.early_files.get(file.path)
        if there is None:
            found.append(new_file(file.path, file.content, why, mode=file.mode))
        elif there != file.content:
            found.append(EditFile(file.path, file.content, sha256(there), why, mode=file.mode))
    return tuple(found)
