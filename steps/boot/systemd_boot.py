"""systemd-boot: entries of type 1 in loader/entries, and unified kernel images in EFI/Linux, on the partition that the
firmware reads.

Who makes an entry decides how it is changed. What kernel-install makes, it makes of /etc/kernel/cmdline: that line is
edited, and the entries are made anew with their kernels and initramfs, so that kernels to come have our words too. What
a person wrote is edited where it lies: the end of its `options`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps import cmdline
from steps.actions import Action, RunCommand
from steps.base import Host
from steps.boot import kernel_install, mkinitcpio_images, systemd_boot_checks, systemd_boot_menu, systemd_boot_trial
from steps.boot.base import BootFacts, BootLoader, Entry
from steps.boot.grub_default import DEFAULT
from steps.boot.grub_sites import Site
from steps.boot.kernel_install import Made, Source
from steps.boot.recognised import ESP, GRUB_CONFIGURED, GRUB_SPOKE, SYSTEMD_BOOT_SPOKE, Trace, evidence
from steps.boot.systemd_boot_entry import ENTRIES, IMAGES, MenuEntry
from steps.boot.systemd_boot_menu import Menu


@dataclass(frozen=True, slots=True)
class SystemdBootFacts(BootFacts):
    """`written` are the places in entries that a person wrote, each with the content of its file; `source` is the line
    that the others are made of (None: there are none), `made` what makes them; `mode` is that of the entries' files."""

    written: tuple[tuple[Site, bytes], ...] = ()
    source: Source | None = None
    made: tuple[RunCommand, ...] = ()
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class SystemdBoot:
    """systemd-boot, known by any of these traces and by none of `unless`."""

    precedence: int
    traces: tuple[Trace, ...]
    unless: tuple[Trace, ...] = ()
    name: str = "systemd-boot"
    supported: bool = True
    manual: str = (
        "The command line is in /etc/kernel/cmdline (then `kernel-install add` for every kernel), or in the entries of "
        "loader/entries on the EFI system partition."
    )

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """What was seen of it; and, where it says itself that it boots this host, what else is there to no effect."""
        seen = evidence(host, self.traces, self.unless)
        return (*seen, *_of_no_effect(host)) if seen and SYSTEMD_BOOT_SPOKE in self.traces else seen

    def read(self, host: Host, setup: str) -> BootFacts:
        """The entries of this system, how each is made, and where our words go."""
        menu = systemd_boot_menu.read(host, systemd_boot_trial.ID)
        normal = tuple(entry for entry in menu.own if not entry.way_out and entry.tries_left != 0)
        making = _making(host, menu, normal)
        source = _source(host, making) if making else None
        by_hand = tuple(entry for entry in normal if entry not in {each.entry for each in making})
        first = _first(menu, by_hand, f"{cmdline.SETUP}={setup}")
        words = source.words if source is not None else (first.words if first is not None else ())
        written = tuple((_site(entry), entry.content) for entry in by_hand if entry.end is not None)
        commands = kernel_install.commands(making)
        trial = systemd_boot_trial.read(host, menu)
        where = source.site.path if source is not None and source.site is not None else _where(menu, first)
        found = host.lstat(menu.default.path) if menu.default is not None else None
        return SystemdBootFacts(
            self.name,
            kernel_install.CMDLINE if source is not None and source.site is None else where,
            words,
            _fixed(menu, making, words),
            entries=tuple(_entry(menu, entry) for entry in menu.entries),
            default=_default(menu),
            generated=_where(menu, None),
            regenerate=_command(menu, making),
            findings=systemd_boot_checks.complaints(menu, by_hand, making, source, setup),
            trial=trial,
            template=systemd_boot_trial.template(menu.default) if menu.default is not None else (),
            copies=_copies(making),
            initrds=_initrds(menu),
            besides="loader.conf, `bootctl list`",
            defaulting="`bootctl set-default ID`, with an ID of `bootctl list`",
            written=written,
            source=source,
            made=commands,
            mode=found.mode if found is not None else 0o644,
        )

    def stage(self, facts: BootFacts, tokens: Sequence[str], setup: str) -> tuple[Action, ...]:
        """One more file in loader/entries. Raises ValueError for a token that needs quoting."""
        mode = facts.mode if isinstance(facts, SystemdBootFacts) else 0o644
        return (systemd_boot_trial.added(facts.trial.place, setup, facts.template, tokens, mode),)

    def choose(self, facts: BootFacts) -> tuple[Action, ...]:
        """`bootctl set-oneshot`."""
        return (systemd_boot_trial.chosen(),)

    def unstage(self, facts: BootFacts) -> tuple[Action, ...]:
        """The file goes, and the entry with it."""
        return systemd_boot_trial.removed(facts.trial)

    def edits(self, facts: BootFacts, tokens: Sequence[str]) -> tuple[Action, ...]:
        """The line that entries are made of, and every entry that a person wrote.

        Raises ValueError for a token that needs quoting.
        """
        if not tokens or not isinstance(facts, SystemdBootFacts):
            return ()
        unsafe = [token for token in tokens if not cmdline.is_safe(token)]
        if unsafe:
            raise ValueError(f"tokens that need quoting cannot be inserted: {unsafe}")
        ours = facts.source is None or tokens[0] in facts.source.words
        edit = facts.source.edit(tokens) if facts.source is not None and not ours else None
        why = f"add {' '.join(tokens)} to the command line of this entry"
        missing = [(site, content) for site, content in facts.written if tokens[0].encode() not in content]
        texts = (site.insertion(tuple(tokens)).action(content, why) for site, content in missing)
        return (*((edit,) if edit is not None else ()), *texts)

    def commit(self, facts: BootFacts) -> tuple[Action, ...]:
        """Make anew what kernel-install makes; an entry that a person wrote is in force as it stands."""
        return facts.made if isinstance(facts, SystemdBootFacts) else ()


_FILES = tuple(
    Trace(f"{esp}/{name}")
    for name in (f"{ENTRIES}/*.conf", "EFI/systemd/systemd-boot*.efi", f"{IMAGES}/*.efi")
    for esp in ESP
)
# What the loader says of itself decides; files alone may be left over from another time.
LOADERS: tuple[BootLoader, ...] = (
    SystemdBoot(21, (SYSTEMD_BOOT_SPOKE,)),
    SystemdBoot(60, _FILES, (GRUB_SPOKE, *GRUB_CONFIGURED)),
)


def _of_no_effect(host: Host) -> tuple[str, ...]:
    """People change GRUB's settings, and wonder why nothing comes of it."""
    if host.lstat(DEFAULT) is None:
        return ()
    return (f"{DEFAULT} is there too: GRUB did not boot this host, and what is changed there has no effect",)


def _making(host: Host, menu: Menu, entries: Sequence[MenuEntry]) -> tuple[Made, ...]:
    """Each entry is made by one of them: what a preset names is mkinitcpio's, whatever it is called."""
    images = mkinitcpio_images.made(host, entries)
    named = {each.entry for each in images}
    left = [entry for entry in entries if entry not in named]
    return (*kernel_install.made(host, left, menu.identity), *images)


def _source(host: Host, making: Sequence[Made]) -> Source:
    elsewhere = mkinitcpio_images.elsewhere(host, making)
    return Source(findings=elsewhere) if elsewhere else kernel_install.source(host)


def _first(menu: Menu, by_hand: Sequence[MenuEntry], token: str) -> MenuEntry | None:
    """The entry whose words stand for all: one that lacks our token, the default before others."""
    own = sorted(by_hand, key=lambda entry: entry is not menu.default)
    return next((entry for entry in own if token not in entry.words), own[0] if own else None)


def _where(menu: Menu, entry: MenuEntry | None) -> str:
    if entry is not None:
        return entry.path
    default = menu.default
    root = default.root if default is not None else (*menu.roots, "/boot")[0]
    return f"{root}/{IMAGES if default is not None and default.unified else ENTRIES}"


def _site(entry: MenuEntry) -> Site:
    return Site(entry.path, entry.end or 0, b" ", b"")


def _fixed(menu: Menu, making: Sequence[Made], words: Sequence[str]) -> tuple[str, ...]:
    """What kernel-install adds to every entry that is named after the machine."""
    if not making:
        return ()
    return kernel_install.expected(words, making[0].token, menu.identity.machine_id)[len(words) :]


def _entry(menu: Menu, entry: MenuEntry) -> Entry:
    # One that has no tries left is never taken by itself.
    ours = menu.identity.owns(entry) and entry.tries_left != 0
    return Entry(entry.title, entry.release, entry.words, entry.way_out, ours)


def _default(menu: Menu) -> Entry | None:
    if isinstance(menu.taken, str):
        return Entry(menu.taken, None, (), False, False)
    return _entry(menu, menu.taken) if menu.taken is not None else None


def _command(menu: Menu, making: Sequence[Made]) -> tuple[str, ...]:
    """What makes the default entry anew, or any other."""
    found = sorted(making, key=lambda each: each.entry is not menu.default)
    return found[0].argv if found else ()


def _initrds(menu: Menu) -> tuple[str, ...]:
    default = menu.default
    if default is None or default not in menu.own:
        return ()
    return tuple(f"{default.root}/{path.lstrip('/')}" for path in default.initrds)


def _copies(making: Sequence[Made]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for each in making if each.hooked for path in each.products))
