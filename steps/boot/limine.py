"""Limine with a limine.conf that a person or an installer wrote: our words go to the end of each normal entry's command
line, where they are in force as they stand; no command makes anything anew.

Source: limine-bootloader/limine, common/menu.c (boot): `kernel_cmdline` counts before `cmdline`, the first of each.
Newer versions take an entry for one boot (LoaderEntryOneShot; common/lib/bli.c), older ones leave the variable where it
is and boot the default; which one the executable is is not asked, so there is no trial.
What the tools of limine-entry-tool make is theirs to make anew: `recognised` knows them by their settings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from steps import cmdline
from steps.actions import Action, EditFile
from steps.base import Finding, Host
from steps.boot import efi, limine_checks, limine_menu, limine_places
from steps.boot.base import BootFacts, BootLoader, Entry, Trial
from steps.boot.kernel_release import release_of
from steps.boot.limine_conf import Conf, ConfError, MenuEntry, parse
from steps.boot.limine_places import Place
from steps.boot.recognised import ESP, GRUB_CONFIGURED, GRUB_SPOKE, LIMINE_SPOKE, Trace, evidence
from steps.boot.systemd_boot_menu import identity
from steps.boot.untried import Untried
from steps.insertion import sha256

_TRIAL = Trial(
    (
        "Limine takes an entry for one boot only in its newer versions, and which version boots this host is not known",
        "an older one leaves LoaderEntryOneShot standing and boots the default",
    )
)
_WAY_OUT = re.compile(r"fallback|recovery|rescue", re.IGNORECASE)
_KERNEL = ("path", "kernel_path")
_LINE = ("kernel_cmdline", "cmdline")


@dataclass(frozen=True, slots=True)
class LimineFacts(BootFacts):
    """`ends` are the places where the command lines end that are ours to change and lack our words."""

    ends: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Limine(Untried):
    """Limine, known by any of these traces and by none of `unless`."""

    precedence: int
    traces: tuple[Trace, ...]
    unless: tuple[Trace, ...] = ()
    name: str = "limine"
    supported: bool = True
    manual: str = (
        "The command line is the `cmdline:` of each entry in limine.conf; where `limine enroll-config` has put the "
        "file's checksum into Limine, enroll it again after a change, or nothing boots."
    )

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """What was seen of it."""
        return evidence(host, self.traces, self.unless)

    def read(self, host: Host, setup: str) -> BootFacts:
        """The entries of the one limine.conf, and where the command lines of this system's end."""
        try:
            place, findings = limine_checks.place(host)
            if place is None:
                return LimineFacts(self.name, "limine.conf", generated="limine.conf", findings=findings, trial=_TRIAL)
            path = host.resolve(place.path)
            content = host.read(path)
            return _read(host, Place(path, place.root), content, setup)
        except (OSError, ConfError) as error:
            finding = limine_checks.unreadable(error)
            return LimineFacts(self.name, "limine.conf", generated="limine.conf", findings=(finding,), trial=_TRIAL)

    def edits(self, facts: BootFacts, tokens: Sequence[str]) -> tuple[Action, ...]:
        """One edit of the file, with these words in each place. Raises ValueError for a token that needs quoting."""
        assert isinstance(facts, LimineFacts)
        if not tokens or not facts.ends:
            return ()
        unsafe = [token for token in tokens if not cmdline.is_safe(token)]
        if unsafe:
            raise ValueError(f"tokens that need quoting cannot be inserted: {unsafe}")
        run = f" {' '.join(tokens)}".encode()
        content = facts.content
        for end in sorted(facts.ends, reverse=True):
            content = content[:end] + run + content[end:]
        why = f"add {' '.join(tokens)} to the command line of {len(facts.ends)} entries"
        # A user's own word is left where it stands; the setup's is nobody else's, in an entry that was copied too.
        ours = cmdline.name_of(tokens[0]) == cmdline.SETUP
        return (EditFile(facts.where, content, sha256(facts.content), why, inserted=run, anywhere=ours),)

    def commit(self, facts: BootFacts) -> tuple[Action, ...]:
        """Nothing: Limine reads the file at boot."""
        return ()


LOADERS: tuple[BootLoader, ...] = (
    Limine(22, (LIMINE_SPOKE,)),
    Limine(
        62,
        tuple(Trace(f"{esp}/{name}") for esp in ESP for name in (*limine_places.CONF, *limine_places.CFG)),
        (GRUB_SPOKE, *GRUB_CONFIGURED),
    ),
)


def macros(*, uefi: bool) -> dict[bytes, bytes]:
    """What Limine defines by itself (CONFIG.md, "Built-in macros")."""
    return {b"ARCH": b"x86-64", b"LOADER_ARCH": b"x86-64", b"FW_TYPE": b"UEFI" if uefi else b"BIOS"}


def words_of(entry: MenuEntry) -> tuple[str, ...]:
    """The command line of an entry."""
    line = entry.option(*_LINE)
    return cmdline.split(line.value) if line is not None else ()


def kernel_of(entry: MenuEntry) -> str | None:
    """The kernel that an entry boots as Linux, as the file names it, None where it boots something else."""
    protocol, kernel = entry.option("protocol"), entry.option(*_KERNEL)
    linux = protocol is not None and protocol.text == "linux" and kernel is not None and not entry.directory
    return kernel.text.partition("#")[0] if kernel is not None and linux else None


def way_out(entry: MenuEntry) -> bool:
    """Whether it is meant for when the others do not come up: by its words, or by a name in it."""
    named = _WAY_OUT.search(" ".join((entry.title, *entry.values("module_path")))) is not None
    words = words_of(entry)
    return named or cmdline.says_recovery(words) or "systemd.unit=rescue.target" in words


def _read(host: Host, place: Place, content: bytes, setup: str) -> LimineFacts:
    uefi = host.lstat(limine_places.UEFI) is not None
    conf = parse(content, macros(uefi=uefi))
    roots = identity(host).roots
    listed = {id(each): _entry(host, each, roots) for each in conf.entries if not each.directory}
    normal = [each for each in conf.entries if (one := listed.get(id(each))) and one.ours and not one.recovery]
    lines = [(each, line) for each in normal if (line := each.option(*_LINE)) is not None]
    token = f"{cmdline.SETUP}={setup}"
    lacking = [each for each, _ in lines if token not in words_of(each)]
    found, default = _default(host, conf, place, uefi=uefi)
    standing = lacking or normal
    stands = next((each for each in standing if each is found), standing[0] if standing else None)
    return LimineFacts(
        "limine",
        place.path,
        words_of(stands) if stands is not None else (),
        content=content,
        entries=tuple(listed.values()),
        default=listed.get(id(found)) or (Entry(found.title, None, (), False, False) if found is not None else None),
        generated=place.path,
        findings=(*default, *limine_checks.complaints(host, place, conf, normal)),
        trial=_TRIAL,
        besides="default_entry",
        defaulting=f"name it in a line `default_entry:` of {place.path}",
        ends=tuple(line.end for each, line in lines if each in lacking),
    )


def _entry(host: Host, entry: MenuEntry, roots: frozenset[str]) -> Entry:
    kernel, words = kernel_of(entry), words_of(entry)
    said = {word for word in words if word.startswith("root=")}
    # A root that is found by itself (systemd-gpt-auto-generator) is on no command line.
    ours = kernel is not None and (not said.isdisjoint(roots) if said or roots else True)
    name = kernel.rpartition("/")[2].removeprefix("vmlinuz-") if kernel is not None else None
    return Entry(entry.title, release_of(host, name), words, way_out(entry), ours)


def _default(host: Host, conf: Conf, place: Place, *, uefi: bool) -> tuple[MenuEntry | None, tuple[Finding, ...]]:
    """The entry that boots next, or why that is not known."""
    try:
        found = limine_menu.default(conf, uefi=uefi)
    except limine_menu.UnclearError as error:
        return None, (limine_checks.unclear(place.path, str(error)),)
    if uefi and (conf.value("remember_last_entry") or "").lower() == "yes":
        return found, (limine_checks.unclear(place.path, "remember_last_entry: yes, so it is the one booted last"),)
    if conf.value("default_entry") is None and (named := efi.variable(host, "LoaderEntryDefault")):
        why = f"it has no `default_entry`, and newer versions of Limine take LoaderEntryDefault then: {named!r}"
        return found, (limine_checks.unclear(place.path, why),)
    return found, ()
