"""What every initramfs generator answers: is it the one, which modules it takes in, how to rebuild, how to look inside.

A generator is one module of this package with `GENERATORS`, a tuple of objects of this shape; nothing else is edited
when one is added. Facts are read by `read`; everything after that is pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from steps.actions import Action
from steps.base import Finding, Host


@dataclass(frozen=True, slots=True)
class InitramfsFacts:
    """What a generator has to say. `listed` are the modules its configuration names (`_` for `-`); `content` is that of
    `path`, None where there is no file; `names` is what lies in the image of the kernel that will boot, None where it
    was not looked into, `trouble` why looking failed; `rebuild` is the command that makes all images anew."""

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

    def has_module(self, module: str) -> bool:
        """Whether the image holds a module, compressed or not."""
        wanted = module.replace("-", "_")
        return any(module_name(name) == wanted for name in self.names or ())

    def has_file(self, path: str) -> bool:
        """Whether the image holds a file of the host."""
        return path.lstrip("/") in (self.names or ())


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

    def edits(self, facts: InitramfsFacts, modules: Sequence[str], setup: str) -> tuple[Action, ...]:
        """The changes of files that put these modules into the images; pure."""
        ...

    def commit(self, facts: InitramfsFacts) -> tuple[Action, ...]:
        """Rebuild the images of all kernels; pure."""
        ...


def module_name(path: str) -> str | None:
    """The module that a file in an image is (`_` for `-`), None for another file."""
    match = re.search(r"lib/modules/[^/]+/(?:.*/)?([^/]+)\.ko(?:\.(?:gz|xz|zst))?$", path)
    return match.group(1).replace("-", "_") if match else None
