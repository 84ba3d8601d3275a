"""/etc/default/grub and its drop-ins: the value that sh computes, and the place where more words become part of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from steps import cmdline
from steps.base import Finding, Host, Severity
from steps.boot.grub_names import GrubNames
from steps.boot.grub_sites import Site, appended_line, sites
from steps.boot.shell_value import Broken, Script, Values, evaluate

DEFAULT = "/etc/default/grub"
DROP_INS = "/etc/default/grub.d"
VARIABLE = "GRUB_CMDLINE_LINUX_DEFAULT"
FIXED = "GRUB_CMDLINE_LINUX"
_PROBES = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """The words of GRUB_CMDLINE_LINUX_DEFAULT, and those of GRUB_CMDLINE_LINUX that come before them on every entry;
    the proved place for ours and the content of its file; the drop-ins that give the fixed value anew; what is amiss,
    and whether it could be read at all."""

    words: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    site: Site | None = None
    content: bytes = b""
    later: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    readable: bool = True

    @property
    def where(self) -> str:
        """The file that is edited."""
        return self.site.path if self.site else DEFAULT


class _Unreadable(Exception):
    """The settings cannot be read; carries the finding that says so."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def read(host: Host, setup: str, names: GrubNames) -> Settings:
    """What sh makes of the settings; where they cannot be read, the finding that says why."""
    try:
        scripts = _scripts(host, names)
        values = _values(host, scripts)
    except _Unreadable as unreadable:
        return Settings(findings=(unreadable.finding,), readable=False)
    words, fixed = (cmdline.split(value or b"") for value in values.values[:2])
    ours = f"{cmdline.SETUP}={setup}" in words
    site = None if ours else _proved_site(host, scripts, values, setup)
    content = next((script.content for script in scripts if site and script.path == site.path), b"")
    later = tuple(script.path for script in scripts[1:] if _assigns(script.content))
    return Settings(words, fixed, site, content, later, () if ours or site else (_not_editable(words),))


def _scripts(host: Host, names: GrubNames) -> tuple[Script, ...]:
    """The files in the order grub-mkconfig sources them, each under its own path. Raises _Unreadable."""
    paths = [DEFAULT]
    if _reads_drop_ins(host, names) and host.lstat(DROP_INS) is not None:
        listed = (name for name in host.list(DROP_INS) if name.endswith(".cfg") and not name.startswith("."))
        # `[ -e ]` in grub-mkconfig passes over a dangling symlink.
        found = (f"{DROP_INS}/{name}" for name in listed)
        paths += [path for path in found if host.lstat(host.resolve(path)) is not None]
    return tuple(Script(host.resolve(path), _read(host, path)) for path in paths)


def _reads_drop_ins(host: Host, names: GrubNames) -> bool:
    """Whether this grub-mkconfig reads grub.d: Debian's does, upstream's does not."""
    command = host.which(names.mkconfig)
    try:
        source = host.read(command) if command else b""
    except OSError:
        source = b""
    return b"default/grub" not in source or b"default/grub.d" in source


def _read(host: Host, path: str) -> bytes:
    try:
        content = host.read(path)
    except FileNotFoundError as error:
        hint = f"Put {path} back from the package or a backup, or make the file, then try again."
        raise _Unreadable(_refusal("grub-default-missing", f"{path} is not there.", (str(error),), hint)) from error
    except OSError as error:
        hint = f"Make {path} a readable text file, then try again."
        message = f"{path} cannot be read: {error.strerror or error}."
        raise _Unreadable(_refusal("grub-default-unreadable", message, (str(error),), hint)) from error
    if b"\0" in content:
        hint = f"Look at it with `file {path}`; put back a text file from a backup or the package, then try again."
        at = f"first NUL byte at offset {content.index(0)}"
        raise _Unreadable(_refusal("grub-default-binary", f"{path} is not a text file.", (at,), hint))
    return content


def _values(host: Host, scripts: Sequence[Script]) -> Values:
    values = evaluate(host, scripts, (VARIABLE, FIXED))
    if isinstance(values, Values):
        return values
    evidence = [f"sh: {values.says}", f"exit status {values.status}"]
    content = next((script.content for script in scripts if script.path == values.path), b"")
    if b"\r\n" in content:
        evidence.append(f"{values.path} has CRLF line ends, which a shell takes as part of words")
    raise _Unreadable(
        _refusal(
            "grub-default-broken",
            f"{values.path or DEFAULT} is a shell script that sh does not get through, so GRUB's tools would fail too.",
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


def _not_editable(words: Sequence[str]) -> Finding:
    return _refusal(
        "grub-default-not-editable",
        f"No place in {DEFAULT} and {DROP_INS} was found where a word becomes part of {VARIABLE}.",
        (f"sh computes {VARIABLE} = {cmdline.shown(words)!r}",),
        f'Add a plain line `{VARIABLE}="…"` that the script comes to, then try again.',
    )


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)
