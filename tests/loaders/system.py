"""What a system has to say of itself to be held to the contract of the boot loaders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.field.support import LAB, Description


@dataclass(frozen=True, slots=True)
class System:
    """A simulated machine that boots by this loader: the lab's, changed.

    `where` is the file that carries our words once they are the default (below the machine's directory), `edit` what a
    user does to it besides; `trial` is whether a new command line can be booted once, `recovery` whether there are
    entries that must keep the old one. `spoilt` is a content of `where` with which nothing may be attempted, None where
    the loader's own tool reads it and nobody else. `former` is whether what was the default stays in the menu as it
    was, after the way back with our words on it. `init` are the arguments of `init`. `tidy` is a command that
    restore.sh leaves to the system it restored.
    """

    name: str
    change: Callable[[Description], None]
    where: str
    edit: Callable[[bytes], bytes]
    trial: bool = True
    recovery: bool = True
    spoilt: bytes | None = b"\0\0\0"
    former: bool = False
    init: tuple[str, ...] = LAB
    tidy: tuple[str, ...] = ()
