"""Pop!_OS: kernelstub keeps the command line, and writes the entries of systemd-boot and copies of kernel and initramfs
to the EFI system partition; it is run by every new kernel and initramfs.

Our words go into its configuration as one insertion and kernelstub is run: `kernelstub -d` would take them out again
through a set, and leave the user's words in another order (application.py), which `console=` does not bear. The entry
of the older kernel has the same words (installer.py, backup_old): only the recovery partition's is a way out.
What kernelstub copies is what the initramfs generator made, so it runs before that, for the sake of what was there, and
after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps import cmdline
from steps.actions import Action, EditFile, Regenerate, RunCommand
from steps.base import Finding, Host, Severity
from steps.boot import bls_entry
from steps.boot.base import BootFacts, BootLoader, Entry, Trial
from steps.boot.bls_entry import EntryFile, Version
from steps.boot.kernelstub_json import Configuration, ConfigurationError, read
from steps.boot.recognised import Trace
from steps.boot.systemd_boot_order import loader_conf
from steps.boot.untried import Untried
from steps.insertion import sha256

PATH = "/etc/kernelstub/configuration"
_TRIAL = Trial(("vfiostate does not choose an entry once beside kernelstub, which makes the entries anew by itself",))
_COMMAND = ("kernelstub",)
# What it writes into its directory on the EFI system partition, and where (installer.py).
_COPIES = ("vmlinuz.efi", "initrd.img", "vmlinuz-previous.efi", "initrd.img-previous", "cmdline")


@dataclass(frozen=True, slots=True)
class KernelstubFacts(BootFacts):
    """What is read beside the common: the configuration (None: it cannot be read), and what kernelstub writes."""

    configuration: Configuration | None = None
    products: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kernelstub(Untried):
    """systemd-boot with kernelstub before it."""

    name: str = "kernelstub"
    precedence: int = 13
    supported: bool = True
    manual: str = (
        "kernelstub keeps the command line: `kernelstub -a WORDS` adds to it, `kernelstub -d WORDS` takes away."
    )

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """Its configuration."""
        seen = Trace(PATH).seen(host)
        return (seen,) if seen is not None else None

    def read(self, host: Host, setup: str) -> BootFacts:
        """The configuration, and the entries that kernelstub made of it."""
        try:
            configuration = read(PATH, host.read(PATH))
        except (OSError, ConfigurationError) as error:
            return KernelstubFacts(self.name, PATH, generated=PATH, findings=(_unreadable(error),), trial=_TRIAL)
        folder = f"{configuration.esp}/loader/entries"
        try:
            files = bls_entry.listed(host, folder)
        except OSError:
            files = ()
        release, previous = _releases(host)
        entries = {each.id: _entry(each, release, previous) for each in files}
        default = entries.get(_default(host, configuration.esp, files))
        current = next((each for each in files if each.id.endswith("-current")), None)
        return KernelstubFacts(
            self.name,
            PATH,
            configuration.words,
            _fixed(current, configuration),
            entries=tuple(entries.values()) if files else None,
            default=default,
            generated=folder,
            regenerate=_COMMAND,
            findings=_complaints(host, configuration, current, folder),
            trial=_TRIAL,
            besides="the default in loader.conf",
            defaulting="`bootctl set-default Pop_OS-current.conf`",
            configuration=configuration,
            products=_products(configuration, current, folder),
        )

    def edits(self, facts: BootFacts, tokens: Sequence[str]) -> tuple[Action, ...]:
        """The configuration with these words, and kernelstub, whose files are as they were until now.

        Raises ValueError for a token that needs quoting.
        """
        assert isinstance(facts, KernelstubFacts)
        if not tokens or facts.configuration is None:
            return ()
        unsafe = [token for token in tokens if not cmdline.is_safe(token)]
        if unsafe:
            raise ValueError(f"tokens that need quoting cannot be inserted: {unsafe}")
        content, run = facts.configuration.with_words(tokens)
        why = f"add {' '.join(tokens)} to what kernelstub gives the kernel"
        edit = EditFile(PATH, content, sha256(facts.configuration.content), why, inserted=run)
        undo = Regenerate(_COMMAND, timeout=600.0)
        return (edit, RunCommand(_COMMAND, "write the boot entries anew", undo, produces=facts.products))

    def commit(self, facts: BootFacts) -> tuple[Action, ...]:
        """kernelstub once more: it copies the initramfs that was made meanwhile."""
        return (RunCommand(_COMMAND, "copy kernel and initramfs to where they are booted from", Regenerate(_COMMAND)),)


LOADERS: tuple[BootLoader, ...] = (Kernelstub(),)


def _entry(file: EntryFile, release: str | None, previous: str | None) -> Entry:
    older = file.id.endswith("-oldkern")
    # Where there is no older kernel any more, its entry is left as it is (installer.py, backup_old).
    ours = file.id.endswith("-current") or (older and previous is not None)
    recovery = file.id.startswith("Recovery-") or (not ours and file.rescue)
    kernel = (previous if older else release) if ours else file.release
    return Entry(file.title or file.id, kernel, file.options, recovery, ours)


def _fixed(current: EntryFile | None, configuration: Configuration) -> tuple[str, ...]:
    """What kernelstub puts before the configured words."""
    words = current.options if current is not None else ()
    count = len(words) - len(configuration.words)
    return words[:count] if count > 0 and words[count:] == configuration.words else ()


def _releases(host: Host) -> tuple[str | None, str | None]:
    """The newest kernel in /boot that has an initramfs, and the one before it (kernel_option.py)."""
    names = set(host.list("/boot"))
    kernels = (name.removeprefix("vmlinuz-") for name in names if name.startswith("vmlinuz-"))
    found = sorted((each for each in kernels if f"initrd.img-{each}" in names), key=Version, reverse=True)
    return (found[0] if found else None), (found[1] if len(found) > 1 else None)


def _default(host: Host, esp: str, files: Sequence[EntryFile]) -> str:
    """The entry that systemd-boot takes: by `default` in loader.conf (loader.conf(5)), the greatest name otherwise."""
    try:
        named = loader_conf(host.read(f"{esp}/loader/loader.conf")).get("default")
    except OSError:
        named = None
    return named.removesuffix(".conf") if named else max((each.id for each in files), default="")


def _products(configuration: Configuration, current: EntryFile | None, folder: str) -> tuple[str, ...]:
    if current is None:
        return ()
    name = current.path.rpartition("/")[2].removesuffix("-current.conf")
    place = configuration.esp + current.linux.rpartition("/")[0]
    entries = (f"{folder}/{name}-current.conf", f"{folder}/{name}-oldkern.conf")
    return (*entries, f"{configuration.esp}/loader/loader.conf", *(f"{place}/{each}" for each in _COPIES))


def _complaints(
    host: Host, configuration: Configuration, current: EntryFile | None, folder: str
) -> tuple[Finding, ...]:
    found = []
    if host.which("kernelstub") is None:
        hint = "Install the package kernelstub, then try again."
        evidence = ("looked for the command kernelstub",)
        found.append(_refusal("kernelstub-missing", "kernelstub was not found.", evidence, hint))
    if configuration.other:
        message = f"kernelstub is set up in a way that vfiostate does not drive: {configuration.other}."
        hint = "Let it keep entries of systemd-boot (`kernelstub --loader`), then try again."
        found.append(_refusal("kernelstub-mode", message, (f"{PATH}: {configuration.other}",), hint))
    elif current is None:
        hint = f"Is {configuration.esp} mounted? Mount it or run `kernelstub`, then try again."
        message = f"{folder} has no entry of kernelstub's."
        found.append(_refusal("kernelstub-entry-missing", message, (f"looked for {folder}/*-current.conf",), hint))
    return tuple(found)


def _unreadable(error: OSError | ConfigurationError) -> Finding:
    message = f"{PATH} cannot be read: {getattr(error, 'strerror', None) or error}."
    hint = "Put it back from a backup, or remove it and run `kernelstub`, which makes it anew; then try again."
    return _refusal("kernelstub-configuration-unreadable", message, (str(error),), hint)


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)
