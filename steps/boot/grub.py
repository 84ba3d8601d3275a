"""GRUB as Debian and Ubuntu configure it: /etc/default/grub, then /etc/default/grub.d/*.cfg, made effective by
update-grub (elsewhere grub-mkconfig).

GRUB_CMDLINE_LINUX_DEFAULT is what is edited: it does not reach the recovery entries (GRUB manual, "Simple
configuration handling"), so that recovery mode stays a way out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from steps import cmdline
from steps.actions import Action, Regenerate, RunCommand
from steps.base import Finding, Host, Severity
from steps.boot import grub_cfg, grub_trial
from steps.boot.base import BootFacts, BootLoader, Entry, Trial
from steps.boot.grub_sites import Site, appended_line, sites
from steps.boot.shell_value import Broken, Script, Values, evaluate

DEFAULT = "/etc/default/grub"
DROP_INS = "/etc/default/grub.d"
CFG = "/boot/grub/grub.cfg"
VARIABLE = "GRUB_CMDLINE_LINUX_DEFAULT"
FIXED = "GRUB_CMDLINE_LINUX"
_PROBES = 64


class GrubUnreadable(Exception):
    """The configuration cannot be read; carries the finding that says so."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Grub:
    """The boot loader GRUB 2 with its configuration in /etc/default."""

    name: str = "grub"
    precedence: int = 50
    supported: bool = True
    manual: str = (
        "The command line is GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub; run `update-grub` after a change."
    )

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """Its generated configuration, or its own directory in /boot beside /etc/default/grub."""
        seen = [path for path in (CFG, DEFAULT) if host.lstat(path) is not None]
        if CFG in seen or (seen and host.lstat("/boot/grub") is not None):
            return tuple(f"{path} is there" for path in seen)
        return None

    def read(self, host: Host, setup: str) -> BootFacts:
        """The value that sh computes, the place where more words change it by just those words, and grub.cfg."""
        regenerate = _regenerate(host)
        try:
            scripts = _scripts(host)
            values = _values(host, scripts)
        except GrubUnreadable as unreadable:
            return BootFacts(self.name, DEFAULT, regenerate=regenerate, findings=(unreadable.finding,))
        words, fixed = (cmdline.split(value or b"") for value in values.values[:2])
        site = None if f"{cmdline.SETUP}={setup}" in words else _proved_site(host, scripts, values, setup)
        content = next((script.content for script in scripts if site and script.path == site.path), b"")
        made = _generated(host)
        return BootFacts(
            self.name,
            site.path if site else DEFAULT,
            words,
            fixed,
            site,
            content,
            made.entries,
            made.default,
            made.newest,
            CFG,
            regenerate,
            _complaints(regenerate, made.entries, site, words, setup),
            made.trial,
            made.template,
            tuple(script.path for script in scripts[1:] if _assigns(script.content)),
            "scripts in /etc/grub.d, GRUB_DEFAULT",
            "set GRUB_DEFAULT (or `grub-set-default`) to a normal entry of this system",
        )

    def stage(self, facts: BootFacts, tokens: Sequence[str], setup: str) -> tuple[Action, ...]:
        """A script in /etc/grub.d that prints one more entry. Raises ValueError for a token that needs quoting."""
        return (grub_trial.added(setup, facts.template, tokens),)

    def choose(self, facts: BootFacts) -> tuple[Action, ...]:
        """`next_entry` in the environment block."""
        return (grub_trial.chosen(),)

    def unstage(self, facts: BootFacts) -> tuple[Action, ...]:
        """The script goes; the entry with it when grub.cfg is generated anew."""
        return grub_trial.removed(facts.trial)

    def edits(self, facts: BootFacts, tokens: Sequence[str]) -> tuple[Action, ...]:
        """One insertion of all tokens at the proved place. Raises ValueError for a token that needs quoting."""
        if not tokens or facts.site is None:
            return ()
        unsafe = [token for token in tokens if not cmdline.is_safe(token)]
        if unsafe:
            raise ValueError(f"tokens that need quoting cannot be inserted: {unsafe}")
        why = f"add {' '.join(tokens)} to {VARIABLE}"
        return (facts.site.insertion(tuple(tokens)).action(facts.content, why),)

    def commit(self, facts: BootFacts) -> tuple[Action, ...]:
        """Generate grub.cfg anew; grub-mkconfig leaves `.new` behind when it is cut off."""
        undo = Regenerate(facts.regenerate)
        why = f"write {CFG} with the new kernel command line"
        return (RunCommand(facts.regenerate, why, undo, produces=(CFG, f"{CFG}.new"), timeout=900.0),)


LOADERS: tuple[BootLoader, ...] = (Grub(),)


def _regenerate(host: Host) -> tuple[str, ...]:
    if host.which("update-grub") is not None:
        return ("update-grub",)
    return ("grub-mkconfig", "-o", CFG) if host.which("grub-mkconfig") is not None else ()


def _scripts(host: Host) -> tuple[Script, ...]:
    """The files in the order grub-mkconfig sources them, each under its own path. Raises GrubUnreadable."""
    paths = [DEFAULT]
    if _reads_drop_ins(host) and host.lstat(DROP_INS) is not None:
        names = (name for name in host.list(DROP_INS) if name.endswith(".cfg") and not name.startswith("."))
        # `[ -e ]` in grub-mkconfig passes over a dangling symlink.
        found = (f"{DROP_INS}/{name}" for name in names)
        paths += [path for path in found if host.lstat(host.resolve(path)) is not None]
    return tuple(Script(host.resolve(path), _read(host, path)) for path in paths)


def _reads_drop_ins(host: Host) -> bool:
    """Whether this grub-mkconfig reads grub.d: Debian's does, upstream's does not."""
    command = host.which("grub-mkconfig")
    try:
        source = host.read(command) if command else b""
    except OSError:
        source = b""
    return b"default/grub" not in source or b"default/grub.d" in source


def _read(host: Host, path: str) -> bytes:
    try:
        content = host.read(path)
    except FileNotFoundError as error:
        hint = "Reinstall the configuration of the package grub-pc or grub-efi-amd64, or make the file, then try again."
        raise GrubUnreadable(_refusal("grub-default-missing", f"{path} is not there.", (str(error),), hint)) from error
    except OSError as error:
        hint = f"Make {path} a readable text file, then try again."
        message = f"{path} cannot be read: {error.strerror or error}."
        raise GrubUnreadable(_refusal("grub-default-unreadable", message, (str(error),), hint)) from error
    if b"\0" in content:
        hint = f"Look at it with `file {path}`; put back a text file from a backup or the package, then try again."
        at = f"first NUL byte at offset {content.index(0)}"
        raise GrubUnreadable(_refusal("grub-default-binary", f"{path} is not a text file.", (at,), hint))
    return content


def _values(host: Host, scripts: Sequence[Script]) -> Values:
    values = evaluate(host, scripts, (VARIABLE, FIXED))
    if isinstance(values, Values):
        return values
    evidence = [f"sh: {values.says}", f"exit status {values.status}"]
    content = next((script.content for script in scripts if script.path == values.path), b"")
    if b"\r\n" in content:
        evidence.append(f"{values.path} has CRLF line ends, which a shell takes as part of words")
    raise GrubUnreadable(
        _refusal(
            "grub-default-broken",
            f"{values.path or DEFAULT} is a shell script that sh does not get through, so update-grub would fail too.",
            tuple(evidence),
            f"Correct it (`sh -n {values.path or DEFAULT}` shows where), then try again.",
        )
    )


def _assigns(content: bytes) -> bool:
    return any(line.lstrip().startswith(FIXED.encode()) for line in content.splitlines())


def _proved_site(host: Host, scripts: Sequence[Script], values: Values, setup: str) -> Site | None:
    """The first place at which a marker word becomes the last word of the value, and nothing else changes."""
    marker = f"vfiostate.probe={setup}"
    found = (site for script in reversed(scripts) for site in sites(script.path, script.content, VARIABLE))
    lines = [appended_line(script.path, script.content, VARIABLE) for script in scripts]
    for site in itertools.chain(itertools.islice(found, _PROBES), lines):
        if _changes_just(host, scripts, values, site, marker):
            return site
    return None


def _changes_just(host: Host, scripts: Sequence[Script], values: Values, site: Site, marker: str) -> bool:
    tried = [
        Script(script.path, site.insertion((marker,)).apply(script.content)) if script.path == site.path else script
        for script in scripts
    ]
    after = evaluate(host, tried, (VARIABLE, FIXED))
    if isinstance(after, Broken) or after.values[1] != values.values[1]:
        return False
    return cmdline.split(after.values[0] or b"") == (*cmdline.split(values.values[0] or b""), marker)


_UNREAD = Trial((f"{CFG} cannot be read",))


@dataclass(frozen=True, slots=True)
class _Generated:
    """What grub.cfg says: its entries (None: it cannot be read), the default one and its lines, the release that will
    boot once grub.cfg is generated anew, and our trial."""

    entries: tuple[Entry, ...] | None = None
    default: Entry | None = None
    template: tuple[str, ...] = ()
    newest: str | None = None
    trial: Trial = _UNREAD


def _generated(host: Host) -> _Generated:
    try:
        content = host.read(CFG)
    except OSError:
        return _Generated()
    try:
        env = grub_cfg.environment(host.read(grub_trial.ENV))
    except OSError:
        env = {}
    menu = grub_cfg.entries(content)
    trial = grub_trial.read(host, content, env, menu)
    standing = {key: value for key, value in env.items() if not (trial.pending and key == grub_trial.VARIABLE)}
    default = grub_cfg.default_entry(content, standing, menu)
    listed = {id(entry): _entry(entry) for entry in menu}
    newest = _newest(host, menu) if default is not None and set(default.path) == {0} else None
    chosen = listed[id(default)] if default is not None else None
    return _Generated(tuple(listed.values()), chosen, default.lines if default else (), newest, trial)


def _entry(entry: grub_cfg.MenuEntry) -> Entry:
    ours = entry.generated and entry.kernel is not None
    return Entry(entry.title, entry.release, entry.arguments, entry.recovery, ours)


def _newest(host: Host, menu: Sequence[grub_cfg.MenuEntry]) -> str | None:
    """The newest kernel in /boot, if there is one that grub.cfg does not know yet: it will be the first entry."""
    names = [name.removeprefix("vmlinuz-") for name in host.list("/boot") if name.startswith("vmlinuz-")]
    kernels = [name for name in names if not name.endswith((".old", ".bak", ".dpkg-new", ".dpkg-tmp"))]
    if set(kernels) <= {entry.release for entry in menu}:
        return None
    return max(kernels, key=lambda name: [(int(part), "") if part.isdigit() else (-1, part) for part in _parts(name)])


def _parts(release: str) -> list[str]:
    return [part for part in re.split(r"(\d+)", release) if part]


def _complaints(
    regenerate: tuple[str, ...],
    listed: tuple[Entry, ...] | None,
    site: Site | None,
    words: Sequence[str],
    setup: str,
) -> tuple[Finding, ...]:
    found: list[Finding] = []
    if not regenerate:
        hint = "Install the package grub2-common, then try again."
        found.append(_refusal("grub-tools-missing", "Neither update-grub nor grub-mkconfig was found.", (), hint))
    if listed is None:
        hint = "Is /boot mounted? Mount it or run `update-grub`, then try again."
        found.append(_refusal("grub-cfg-missing", f"{CFG} cannot be read.", (), hint))
    if site is None and f"{cmdline.SETUP}={setup}" not in words:
        found.append(
            _refusal(
                "grub-default-not-editable",
                f"No place in {DEFAULT} and {DROP_INS} was found where a word becomes part of {VARIABLE}.",
                (f"sh computes {VARIABLE} = {cmdline.shown(words)!r}",),
                f'Add a plain line `{VARIABLE}="…"` that the script comes to, then try again.',
            )
        )
    return tuple(found)


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)
