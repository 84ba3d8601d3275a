"""openSUSE's sdbootutil: an entry for each kernel of each snapshot on the EFI system partition, which systemd-boot or
GRUB (grub2-bls) shows.

The command line is the one line of /etc/kernel/cmdline; `sdbootutil update-all-entries` puts it into the `options` of
the entries of the snapshot that is the root, in place, with `root=`, `rootflags=subvol=` and `systemd.machine_id=` set
(openSUSE/sdbootutil, sdbootutil: `update_all_entries`, `create_boot_options`). Entries of other snapshots keep theirs;
one that snapper makes meanwhile is made of the line, and has our words as its snapshot has our files.
What it cannot find it leaves alone and says nothing: so what it would find is looked for before anything is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps.actions import Action, Regenerate, RunCommand
from steps.base import Host
from steps.boot import kernel_cmdline, sdbootutil_checks, sdbootutil_entries
from steps.boot.base import BootFacts, BootLoader, Entry, Trial
from steps.boot.grub import insertion
from steps.boot.sdbootutil_entries import UPDATE, Kept
from steps.boot.systemd_boot_entry import MenuEntry
from steps.boot.untried import Untried
from steps.reading import matching

_TRIAL = Trial(
    (
        "sdbootutil gives every entry of the running snapshot the same command line, and one that is booted once would "
        "get that too",
    )
)


@dataclass(frozen=True, slots=True)
class SdbootutilFacts(BootFacts):
    """What is read beside the common: the entries that are written in place, a pattern of those of kernels to come, and
    what it names now and is none of them."""

    products: tuple[str, ...] = ()
    kin: str = ""
    there: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sdbootutil(Untried):
    """systemd-boot or GRUB, with sdbootutil before it."""

    name: str = "sdbootutil"
    precedence: int = 14
    supported: bool = True
    manual: str = (
        "The command line is the one line of /etc/kernel/cmdline; `sdbootutil update-all-entries` puts it into the "
        "boot entries of this snapshot, `sdbootutil mkinitrd` makes those and their initramfs anew."
    )

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """The file that it leaves beside the boot loader that it has installed."""
        found = sdbootutil_entries.mark(host)
        return (f"{found} is there",) if found is not None else None

    def read(self, host: Host, setup: str) -> BootFacts:
        """The line, and the entries that were made of it."""
        mark = sdbootutil_entries.mark(host)
        assert mark is not None
        line = kernel_cmdline.read(host, setup, command=" ".join(UPDATE))
        try:
            kept = sdbootutil_entries.read(host, mark)
        except OSError as error:
            findings = (sdbootutil_checks.unreadable(error),)
            return SdbootutilFacts(self.name, line.path, line.words, findings=findings, trial=_TRIAL)
        products = tuple(each.path for each in kept.own)
        return SdbootutilFacts(
            self.name,
            line.path,
            line.words,
            (),
            line.site,
            line.content,
            tuple(_entry(kept, each) for each in kept.listed),
            _default(kept),
            None,
            kept.folder,
            UPDATE,
            sdbootutil_checks.complaints(host, kept, line, setup),
            _TRIAL,
            besides="`sdbootutil list-entries`, `sdbootutil get-default`",
            defaulting="`sdbootutil set-default ID`, with an ID of `sdbootutil list-entries`",
            products=products,
            kin=kept.kin,
            there=tuple(path for path in matching(host, kept.kin) if path not in products),
        )

    def edits(self, facts: BootFacts, tokens: Sequence[str]) -> tuple[Action, ...]:
        """One insertion of all tokens. Raises ValueError for a token that needs quoting."""
        return insertion(facts, tokens, facts.where)

    def commit(self, facts: BootFacts) -> tuple[Action, ...]:
        """Put the line into the entries of this snapshot."""
        assert isinstance(facts, SdbootutilFacts)
        undo = Regenerate(UPDATE, timeout=900.0, kin=facts.kin, there=facts.there)
        why = "put the new kernel command line into the boot entries of this snapshot"
        return (RunCommand(UPDATE, why, undo, produces=facts.products, timeout=900.0),)


LOADERS: tuple[BootLoader, ...] = (Sdbootutil(),)


def _entry(kept: Kept, entry: MenuEntry) -> Entry:
    # What is of another snapshot keeps its command line, and is what one goes back to.
    ours = entry in kept.own
    recovery = not ours and (entry.way_out or any(word.startswith("rootflags=subvol=") for word in entry.words))
    return Entry(f"{entry.title} ({entry.id})", entry.release, entry.words, recovery, ours)


def _default(kept: Kept) -> Entry | None:
    if isinstance(kept.taken, str):
        return Entry(kept.taken, None, (), recovery=False, ours=False)
    return _entry(kept, kept.taken) if kept.taken is not None else None
