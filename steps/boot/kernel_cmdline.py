"""/etc/kernel/cmdline: the kernel command line as one line of a file that tools make effective.

It is no shell script and knows no comments. kernel-install(8) takes all of it with white space squeezed (systemd,
90-loaderentry.install), proxmox-boot-tool its first line (proxmox-kernel-helper, `get_first_line`): that line counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from steps import cmdline
from steps.base import FileKind, Finding, Host, Severity
from steps.boot.grub_sites import Site

PATH = "/etc/kernel/cmdline"


@dataclass(frozen=True, slots=True)
class Line:
    """The line's words, the place at its end where more can be put with the content of the file, and what is amiss.
    `path` is the file's own, not a symlink's."""

    path: str = PATH
    words: tuple[str, ...] = ()
    site: Site | None = None
    content: bytes = b""
    findings: tuple[Finding, ...] = ()


def read(host: Host, setup: str, *, command: str) -> Line:
    """The line that `command` makes effective."""
    path = host.resolve(PATH)
    found = host.lstat(path)
    if found is None:
        return Line(path, findings=(_missing(path, command),))
    try:
        content = host.read(PATH) if found.kind is FileKind.FILE else None
    except OSError as error:
        return Line(path, findings=(_unreadable(path, str(error)),))
    if content is None or path.startswith(("/proc/", "/sys/")):
        return Line(
            path, findings=(_unreadable(path, f"it is a {found.kind.value} of the kernel's or of no use here"),)
        )
    if b"\0" in content:
        return Line(path, findings=(_binary(path, content),))
    first = content.partition(b"\n")[0]
    words = cmdline.split(first)
    findings = tuple(_complaints(path, content, words, command))
    ours = f"{cmdline.SETUP}={setup}" in words
    site = None if findings or ours else Site(path, len(first.rstrip()), b" ", b"")
    return Line(path, words, site, content, findings)


def _complaints(path: str, content: bytes, words: tuple[str, ...], command: str) -> Iterator[Finding]:
    first = content.partition(b"\n")[0]
    shown = cmdline.shown((cmdline.text(first),))
    if not words:
        hint = f"Put the command line there, as one line (`cat /proc/cmdline` shows the present one); {_then(command)}"
        yield _refusal("kernel-cmdline-empty", f"The first line of {path} is empty.", (f"{len(content)} bytes",), hint)
        return
    if first.lstrip().startswith(b"#"):
        message = f"{path} begins with a comment, and knows none: it would be taken for the kernel's command line."
        yield _refusal("kernel-cmdline-comment", message, (shown,), f"Take the comment out; {_then(command)}")
    if first.count(b'"') % 2:
        hint = f"Close the quote; {_then(command)}"
        yield _refusal(
            "kernel-cmdline-quote", f"A quote in {path} is not closed: words put behind it are one.", (shown,), hint
        )


def _then(command: str) -> str:
    return f"run `{command}`, then try again."


def _missing(path: str, command: str) -> Finding:
    hint = (
        "Write the command line there as one line: that of /proc/cmdline without BOOT_IMAGE= and initrd=, and without "
        f"what only this boot was told; {_then(command)}"
    )
    message = f"{path} is not there: `{command}` would take the command line of whatever boot it is run in."
    return _refusal("kernel-cmdline-missing", message, (f"{path}: no such file",), hint)


def _unreadable(path: str, why: str) -> Finding:
    hint = f"Make {path} a readable text file of one line, then try again."
    return _refusal("kernel-cmdline-unreadable", f"{path} cannot be read as a file.", (why,), hint)


def _binary(path: str, content: bytes) -> Finding:
    hint = f"Look at it with `file {path}`; write the command line there as one line, then try again."
    at = f"first NUL byte at offset {content.index(0)}"
    return _refusal("kernel-cmdline-binary", f"{path} is not a text file.", (at,), hint)


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)
