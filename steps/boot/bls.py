"""GRUB with an entry for each kernel in /boot/loader/entries, as Fedora, RHEL 8 and later and their clones have it.

grubby changes such entries, and is not made to here: `--args=vfio-pci.ids=…` takes every word of that name out before
it adds its own, the user's too; `--update-kernel=ALL` changes the rescue entry, which is the way out; and
/etc/kernel/cmdline is written where it lies (grubby-bls, update_args and update_bls_fragment). So the words go, each as
one insertion, into the files that grubby would change: the normal entries, /etc/kernel/cmdline, of which the entries of
new kernels are made (20-grub.install), and GRUB_CMDLINE_LINUX in /etc/default/grub, of which grub2-mkconfig makes that
one anew. grubby reads them once they are written, and takes our words out of entries that came since on the way back.

With `$kernelopts` of the environment block (RHEL 8) the words stand behind it, in the entries alone: what is in the
block is in the rescue entry too. Nothing writes a grub.cfg: the one on the EFI system partition only leads to another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steps import cmdline
from steps.actions import Action, Regenerate, RunCommand
from steps.base import Finding, Host
from steps.boot import bls_files, bls_trial, grub_cfg
from steps.boot.base import DRACUT_REBOOTS, PANIC, BootFacts, BootLoader, Entry
from steps.boot.bls_entry import EntryFile, menu_key
from steps.boot.bls_files import ENTRIES, Place, Unreadable, refusal
from steps.boot.recognised import GRUB_CFGS, LIMINE_SPOKE, SYSTEMD_BOOT_SPOKE, Trace, evidence

_KERNELOPTS = "$kernelopts"


@dataclass(frozen=True, slots=True)
class BlsFacts(BootFacts):
    """What is read beside the common: where our words go, with what is there now, all entries there are, and the file
    of the default one."""

    places: tuple[Place, ...] = ()
    there: tuple[str, ...] = ()
    model: EntryFile | None = None


@dataclass(frozen=True, slots=True)
class Bls:
    """GRUB with the blscfg module."""

    name: str = "bls"
    precedence: int = 20
    supported: bool = True
    manual: str = (
        "GRUB takes its entries from /boot/loader/entries: `grubby --update-kernel=ALL --args=WORDS` changes them."
    )

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """A grub.cfg that calls blscfg, or settings that will make one; both may be left over from before the loader
        that says it booted this host."""
        settings = Trace("/etc/default/grub", (b"\nGRUB_ENABLE_BLSCFG=true", b'\nGRUB_ENABLE_BLSCFG="true"'))
        calls = (Trace(path, (b"\nblscfg", b"\tblscfg", b" blscfg")) for path in GRUB_CFGS)
        return evidence(host, (*calls, settings), (SYSTEMD_BOOT_SPOKE, LIMINE_SPOKE))

    def read(self, host: Host, setup: str) -> BootFacts:
        """The entries as GRUB will show them, and the places in the files that our words go to."""
        try:
            return _read(host, self.name, setup)
        except Unreadable as unreadable:
            return BlsFacts(self.name, ENTRIES, generated=ENTRIES, findings=(unreadable.finding,))

    def stage(self, facts: BootFacts, tokens: Sequence[str], setup: str) -> tuple[Action, ...]:
        """One more entry, a copy of the default one's file; then grubby reads them, and is to clean those that come in
        the trial boot. Raises ValueError for a token that needs quoting."""
        assert isinstance(facts, BlsFacts) and facts.model is not None
        return bls_trial.added(setup, facts.model, tokens), _looked_at(tokens, (*facts.there, bls_trial.PATH))

    def choose(self, facts: BootFacts) -> tuple[Action, ...]:
        """`next_entry` in the environment block."""
        return (bls_trial.chosen(),)

    def unstage(self, facts: BootFacts) -> tuple[Action, ...]:
        """Its file goes, and the entry with it."""
        return bls_trial.removed(facts.trial)

    def edits(self, facts: BootFacts, tokens: Sequence[str]) -> tuple[Action, ...]:
        """One insertion into each file; then grubby reads them. Raises ValueError for a token that needs quoting."""
        assert isinstance(facts, BlsFacts)
        if not tokens:
            return ()
        unsafe = [token for token in tokens if not cmdline.is_safe(token)]
        if unsafe:
            raise ValueError(f"tokens that need quoting cannot be inserted: {unsafe}")
        why = f"add {' '.join(tokens)} to"
        edits = [each.site.insertion(tuple(tokens)).action(each.content, f"{why} {each.what}") for each in facts.places]
        return (*edits, *bls_files.renewed(facts.places), _looked_at(tokens, facts.there))

    def commit(self, facts: BootFacts) -> tuple[Action, ...]:
        """Nothing: GRUB reads the entries at boot."""
        return ()


LOADERS: tuple[BootLoader, ...] = (Bls(),)


def _looked_at(tokens: Sequence[str], there: tuple[str, ...]) -> RunCommand:
    """grubby's reading of all entries: it stops at what it cannot take. Its undo is for entries that came since."""
    # Ours is what stands right behind our token, and the ids; a user's own word of the same name stays where it stands
    # elsewhere. What was made of the trial's own command line has its words behind ours. grubby takes each word for an
    # expression, in which `.` stands for the blanks in between.
    ours = [each for each in tokens if each not in DRACUT_REBOOTS]
    runs = [(*ours, *DRACUT_REBOOTS, PANIC), (*ours, PANIC), *(ours[:end] for end in range(len(ours), 0, -1))]
    words = [".".join(run) for run in runs] + [each for each in ours if ".ids=" in each]
    # The last option eats the one behind it (grubby-bls).
    argv = ("grubby", "--update-kernel=ALL", f"--remove-args={' '.join(words)}", "--no-etc-grub-update")
    undo = Regenerate(argv, timeout=600.0, kin=f"{ENTRIES}/*.conf", there=there)
    return RunCommand(("grubby", "--info=ALL"), "have grubby read the entries as they are now", undo)


def _read(host: Host, name: str, setup: str) -> BlsFacts:
    files = bls_files.entries(host)
    content = bls_files.grub_cfg_content(host)
    env = bls_files.environment(host)
    trial = bls_trial.read(host, content, env, files, _expanded)
    standing = {key: value for key, value in env.items() if not (trial.pending and key == bls_trial.VARIABLE)}
    normal = [each for each in files if each.id != bls_trial.ID]
    listed = {each.path: _entry(each, standing) for each in normal}
    model, default = _default(content, standing, normal, listed)
    words = default.words if default is not None else ()
    inserted = f"{cmdline.SETUP}={setup}" in words
    ours = [each for each in normal if listed[each.path].ours]
    shared = any(_KERNELOPTS in each.options for each in ours)
    places = () if inserted else bls_files.places(host, ours, setup, beside=not shared)
    # On RHEL 8 kernels to come get the block's words, by its variable's name.
    template = () if inserted or shared else bls_files.template_missing(host, _literal(model, words))
    return BlsFacts(
        name,
        model.path if model is not None else ENTRIES,
        words,
        entries=tuple(listed.values()),
        default=default,
        generated=ENTRIES,
        findings=(*_complaints(host, ours, default), *template),
        trial=trial,
        besides="saved_entry in the environment block",
        defaulting="`grubby --set-default=/boot/vmlinuz-RELEASE`",
        places=places,
        there=tuple(each.path for each in files),
        model=model,
    )


def _literal(model: EntryFile | None, words: tuple[str, ...]) -> tuple[str, ...]:
    """The words of an entry without GRUB's variables, which those who use them add to each entry themselves."""
    return words if model is None else tuple(word for word in model.options if not word.startswith("$"))


def _entry(file: EntryFile, env: Mapping[str, str]) -> Entry:
    ours = bool(file.linux) and not file.rescue
    return Entry(file.title or file.id, file.release, _expanded(file, env), file.rescue, ours)


def _expanded(file: EntryFile, env: Mapping[str, str]) -> tuple[str, ...]:
    """The words with GRUB's variables replaced; one that is not set leaves nothing."""
    found: list[str] = []
    for word in file.options:
        found += cmdline.split(env.get(word[1:], "").encode("utf-8", "surrogateescape")) if word[0] == "$" else [word]
    return tuple(found)


def _default(
    content: bytes, env: Mapping[str, str], files: Sequence[EntryFile], listed: Mapping[str, Entry]
) -> tuple[EntryFile | None, Entry | None]:
    """The entry that boots next: by id, title or number in the menu; the first one for what is not there."""
    menu = sorted(files, key=menu_key, reverse=True)
    chosen = env.get(bls_trial.VARIABLE) or grub_cfg.default_name(content, env)
    found = next((each for each in menu if chosen in (each.id, each.title)), None)
    if found is None and chosen.isdecimal() and int(chosen) < len(menu):
        found = menu[int(chosen)]
    if found is None:
        for other in grub_cfg.entries(content):
            if chosen in (other.ids[-1], other.titles[-1]):
                return None, Entry(other.title, other.release, other.arguments, other.recovery, ours=False)
    found = found or (menu[0] if menu else None)
    return found, listed[found.path] if found is not None else None


def _complaints(host: Host, ours: Sequence[EntryFile], default: Entry | None) -> tuple[Finding, ...]:
    found = []
    if host.which("grubby") is None:
        hint = "Install the package grubby, then try again."
        evidence = ("looked for the command grubby",)
        message = "grubby was not found, which changes the entries here."
        found.append(refusal("grubby-missing", message, evidence, hint))
    if not ours or default is None:
        message = f"{ENTRIES} has no entry that boots a kernel of this system."
        hint = "Is /boot mounted? Mount it, or make the entries with `kernel-install add`, then try again."
        evidence = (f"{ENTRIES}: {len(ours)} such entries",)
        found.append(refusal("bls-entries-missing", message, evidence, hint))
    return tuple(found)
