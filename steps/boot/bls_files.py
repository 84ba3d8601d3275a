"""The files that a command line lives in where GRUB takes its entries from files: read, and the places for words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from steps import cmdline
from steps.actions import Keep, RunCommand
from steps.base import Finding, Host, Severity
from steps.boot import bls_entry, grub_cfg
from steps.boot.bls_entry import EntryFile
from steps.boot.grub_names import GRUB2
from steps.boot.grub_sites import Site, appended_line, sites
from steps.boot.recognised import GRUB_CFGS
from steps.boot.shell_value import Broken, Script, Values, evaluate
from steps.reading import NOT_THERE

ENTRIES = "/boot/loader/entries"
CMDLINE, VENDOR = "/etc/kernel/cmdline", "/usr/lib/kernel/cmdline"
DEFAULT = "/etc/default/grub"
VARIABLE = "GRUB_CMDLINE_LINUX"


class Unreadable(Exception):
    """A file that counts cannot be read; carries the finding that says so."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Place:
    """A place for our words, the content of its file now, what the file is, for people, and whether it is an entry."""

    site: Site
    content: bytes
    what: str
    entry: bool = False


def refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    """A finding that stops the step."""
    return Finding(code, Severity.REFUSAL, message, evidence, hint)


def entries(host: Host) -> tuple[EntryFile, ...]:
    """Every entry there is. Raises Unreadable where one cannot be read or is no text."""
    try:
        found = bls_entry.listed(host, ENTRIES)
    except FileNotFoundError:
        return ()
    except OSError as error:
        message = f"The boot entries in {ENTRIES} cannot be read: {error.strerror or error}."
        raise Unreadable(refusal("bls-entry-unreadable", message, (str(error),), _READABLE)) from error
    for each in found:
        _text(each.path, each.content)
    return found


def grub_cfg_content(host: Host) -> bytes:
    """The grub.cfg that loads them. Raises Unreadable where there is none to read."""
    for path in reversed(GRUB_CFGS):
        try:
            return host.read(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            message = f"{path} cannot be read: {error.strerror or error}."
            raise Unreadable(refusal("grub-cfg-missing", message, (str(error),), _READABLE)) from error
    hint = "Is /boot mounted? Mount it or run `grub2-mkconfig -o /boot/grub2/grub.cfg`, then try again."
    raise Unreadable(refusal("grub-cfg-missing", "There is no grub.cfg.", (f"looked for {GRUB_CFGS}",), hint))


def environment(host: Host) -> Mapping[str, str]:
    """The variables of the environment block; none where there is none. Raises OSError where it cannot be read."""
    try:
        return grub_cfg.environment(host.read(GRUB2.env))
    except NOT_THERE:
        return {}


def places(host: Host, ours: Sequence[EntryFile], setup: str, *, beside: bool) -> tuple[Place, ...]:
    """Where our words go, what new kernels take theirs from first. Without `beside`, into the entries alone.

    20-grub.install makes /etc/kernel/cmdline anew of /etc/default/grub where it is the older one, and what stood in it
    alone is gone. The younger one comes first, so that it is the last one to be put back, and stays the younger one;
    `renewed` sees to that on the way there. Raises Unreadable where one of the files cannot be read.
    """
    found = [*_template(host), *_settings(host, setup)] if beside else []
    found.sort(key=lambda each: _changed(host, each.site.path), reverse=True)
    sites_of = ((each, replace(bls_entry.site(each), path=host.resolve(each.path))) for each in ours)
    return (*found, *(Place(site, each.content, f"the entry {each.id}", entry=True) for each, site in sites_of))


def renewed(places: Sequence[Place]) -> tuple[RunCommand, ...]:
    """What makes the first of two files that decide over kernels to come the younger one again."""
    paths = [each.site.path for each in places if not each.entry]
    if len(paths) < 2:
        return ()
    why = f"leave {paths[0]} younger than {paths[1]}, as it was: the next kernel's entry depends on it"
    return (RunCommand(("touch", "-c", paths[0]), why, Keep("it is put back last")),)


def _changed(host: Host, path: str) -> int:
    found = host.lstat(path)
    return found.changed if found is not None else 0


def template_missing(host: Host, words: Sequence[str]) -> tuple[Finding, ...]:
    """What it takes for kernels to come to get ours, and to get them no more after the way back (20-grub.install):
    a file of its own, with `words` where there is nothing to take it from but the running kernel."""
    if host.lstat(host.resolve(CMDLINE)) is not None:
        return ()
    copied = host.lstat(host.resolve(VENDOR)) is not None
    what = f"that of {VENDOR}, without ours" if copied else "the running kernel's, and so ours on the way back too"
    folder = CMDLINE.rpartition("/")[0]
    first = "" if host.lstat(folder) is not None else f"mkdir -p {folder} && "
    command = f"cp {VENDOR} {CMDLINE}" if copied else f"echo {shlex.quote(cmdline.shown(words))} > {CMDLINE}"
    message = f"{CMDLINE} is not there: a kernel that comes gets another command line, {what}."
    evidence = (f"looked for {CMDLINE}", f"{VENDOR} is {'' if copied else 'not '}there")
    hint = f"Make it, as root: `{first}{command}`; then try again."
    return (refusal("kernel-cmdline-missing", message, evidence, hint),)


def _template(host: Host) -> tuple[Place, ...]:
    content = _read(host, CMDLINE)
    if content is None:
        return ()
    end = len(content.rstrip(b" \t\r\n"))
    end += len(content[end:]) - len(content[end:].lstrip(b" \t"))
    site = bls_entry.end_of_line(host.resolve(CMDLINE), content, end)
    return (Place(site, content, "the words of kernels to come"),)


def _settings(host: Host, setup: str) -> tuple[Place, ...]:
    """The place in /etc/default/grub at which a marker becomes the last word of the value, by sh's own judgement."""
    content = _read(host, DEFAULT)
    if content is None:
        return ()
    path = host.resolve(DEFAULT)
    before = _value(host, Script(path, content))
    marker = f"vfiostate.probe={setup}"
    for site in (*sites(path, content, VARIABLE), appended_line(path, content, VARIABLE)):
        try:
            after = _value(host, Script(path, site.insertion((marker,)).apply(content)))
        except Unreadable:
            continue
        if after == (*before, marker):
            return (Place(site, content, VARIABLE),)
    message = f"No place in {DEFAULT} was found where a word becomes part of {VARIABLE}."
    hint = f'Add a plain line `{VARIABLE}="…"` with the words it has now, then try again.'
    raise Unreadable(refusal("grub-default-not-editable", message, (f"its value is {cmdline.shown(before)!r}",), hint))


def _value(host: Host, script: Script) -> tuple[str, ...]:
    found: Values | Broken = evaluate(host, (script,), (VARIABLE,))
    if isinstance(found, Values):
        return cmdline.split(found.values[0] or b"")
    message = f"{DEFAULT} is a shell script that sh does not get through, so grub2-mkconfig would fail too."
    evidence = (f"sh: {found.says}", f"exit status {found.status}")
    hint = f"Correct it (`sh -n {DEFAULT}` shows where), then try again."
    raise Unreadable(refusal("grub-default-broken", message, evidence, hint))


def _read(host: Host, path: str) -> bytes | None:
    try:
        content = host.read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}."
        hint = f"Make {path} a readable text file, then try again."
        raise Unreadable(refusal("bls-file-unreadable", message, (str(error),), hint)) from error
    _text(path, content)
    return content


def _text(path: str, content: bytes) -> None:
    if b"\0" in content:
        hint = f"Look at it with `file {path}`; put back a text file from a backup, then try again."
        at = f"first NUL byte at offset {content.index(0)}"
        raise Unreadable(refusal("bls-file-binary", f"{path} is not a text file.", (at,), hint))


_READABLE = "Is /boot mounted, and is it whole? Mend that, then try again."
