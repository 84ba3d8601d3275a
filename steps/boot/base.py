"""What every boot loader answers: is it the one, which command lines are in force, how ours are tried once, and how
they become its default.

A boot loader is one module of this package with `LOADERS`, a tuple of objects of this shape; nothing else is edited
when one is added. Facts are read by `read`; everything after that is pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from steps.actions import Action
from steps.base import Finding, Host
from steps.boot.declaration import Declaration
from steps.boot.grub_sites import Site

# The kernel reboots this many seconds after a panic, initramfs-tools after failing to find the root: into the old line.
# dracut knows nothing of it: it has words of its own, of which the second counts only where there is no shell. Others
# may wait at a prompt.
PANIC = "panic=30"
DRACUT_REBOOTS = ("rd.shell=0", "rd.emergency=reboot")


@dataclass(frozen=True, slots=True)
class Entry:
    """A boot entry as the boot loader will use it. `ours` says that the loader makes it from the configuration we edit,
    so that our tokens must be on it; `release` is None where the kernel cannot be told."""

    title: str
    release: str | None
    words: tuple[str, ...]
    recovery: bool
    ours: bool


class Curable(str):
    """An obstacle that the user can take away: `cure` is how, as a clause."""

    cure: str

    def __new__(cls, said: str, cure: str) -> Self:
        """What stands in the way, and how it is taken away."""
        made = super().__new__(cls, said)
        made.cure = cure
        return made


@dataclass(frozen=True, slots=True)
class Trial:
    """What there is of a boot with the new command line that is made once, and not the default.

    `obstacles` are the reasons why none can be made (empty: one can); `words` is the command line of its entry (None:
    there is no entry), `pending` whether the next boot takes it; `place` is where the file of ours goes that makes it,
    `file` its sha256 (None: no such file), `in_the_way` whether anything is in that file's place.
    """

    obstacles: tuple[str, ...] = ()
    words: tuple[str, ...] | None = None
    pending: bool = False
    place: str = ""
    file: str | None = None
    in_the_way: bool = False


@dataclass(frozen=True, slots=True)
class BootFacts:
    """What a boot loader has to say.

    `words` are those of the configuration's value that we edit, `fixed` those that it adds from elsewhere to every
    entry; `site` is the proved place for ours (None: they are there already, or a finding says why there is no place),
    with the content of its file; `later` are files that are read after the first one and give the value anew. `entries`
    is the generated configuration (None where there is none to look into), `default` the entry of the next boot, our
    trial apart; `newest` the release that a regenerated configuration will boot, where that is not yet the default's;
    `template` are the lines of the default entry as they stand there, of which the trial's is made. `besides` says what
    else decides over the entries, `defaulting` how a person chooses the default. `declared` says how a configuration is
    written that is its user's to write (None: we edit it). `copies` are files that a rebuild of the initramfs changes
    too, for this loader's sake: what hooks put where it finds them. `initrds` is what the default entry loads, by its
    paths here (empty: not known).
    """

    loader: str
    where: str
    words: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    site: Site | None = None
    content: bytes = b""
    entries: tuple[Entry, ...] | None = None
    default: Entry | None = None
    newest: str | None = None
    generated: str = ""
    regenerate: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    trial: Trial = Trial(("it cannot boot an entry once",))
    template: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    besides: str = ""
    defaulting: str = ""
    declared: Declaration | None = None
    copies: tuple[str, ...] = ()
    initrds: tuple[str, ...] = ()

    @property
    def remake(self) -> str:
        """What a user does to have the entries made anew, as a part of a sentence."""
        return f"run `{' '.join(self.regenerate)}`" if self.regenerate else "correct the entry"

    @property
    def in_force(self) -> tuple[str, ...]:
        """All words that the configuration gives a normal entry, in the kernel's order."""
        return (*self.fixed, *self.words)

    @property
    def release(self) -> str | None:
        """The release of the kernel that boots next by default."""
        return self.newest or (self.default.release if self.default else None)


class BootLoader(Protocol):
    """One boot loader.

    The more particular precedes the more general where there is evidence for both: the tools of Proxmox sit on top of
    systemd-boot or GRUB. What any of these actions did is taken back by the journal.
    """

    @property
    def name(self) -> str:
        """What the configuration calls it."""
        ...

    @property
    def precedence(self) -> int:
        """Its place among loaders found side by side; the lowest wins."""
        ...

    @property
    def supported(self) -> bool:
        """Whether its command line is edited, rather than refused by name."""
        ...

    @property
    def manual(self) -> str:
        """How a person changes the command line without us."""
        ...

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """What shows that this loader boots the host, None where nothing does."""
        ...

    def read(self, host: Host, setup: str) -> BootFacts:
        """The command lines in force, and the place where words for this setup can be put."""
        ...

    def stage(self, facts: BootFacts, tokens: Sequence[str], setup: str) -> tuple[Action, ...]:
        """The changes of files that make an entry with these tokens, and PANIC last, beside the default; pure."""
        ...

    def choose(self, facts: BootFacts) -> tuple[Action, ...]:
        """What makes the next boot, and only that one, take this entry; pure."""
        ...

    def unstage(self, facts: BootFacts) -> tuple[Action, ...]:
        """The changes of files that take the entry away again; pure."""
        ...

    def edits(self, facts: BootFacts, tokens: Sequence[str]) -> tuple[Action, ...]:
        """The changes of files that make these tokens part of the default; pure."""
        ...

    def commit(self, facts: BootFacts) -> tuple[Action, ...]:
        """What makes the changed files effective (regenerating, refreshing); pure."""
        ...
