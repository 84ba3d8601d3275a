"""initramfs-tools (Debian; Ubuntu to 25.04): modules in /etc/initramfs-tools/modules, rebuilt by update-initramfs.

It copies /etc/modprobe.d whole into the image (mkinitramfs), so softdeps there hold in early boot too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps.actions import Action
from steps.base import Finding, Host, Severity
from steps.early_script import CALL
from steps.initramfs.base import (
    EarlyFile,
    Generator,
    InitramfsFacts,
    early_edits,
    read_early,
    rebuilt,
    unlisted,
    with_kin,
)
from steps.initramfs.block import added
from steps.reading import content_there, names_there

FOLDER = "/etc/initramfs-tools"
MODULES = f"{FOLDER}/modules"
UPDATES = f"{FOLDER}/update-initramfs.conf"
REBUILD = ("update-initramfs", "-u", "-k", "all")
# Scripts without prerequisites are run in the order of their names (cache_run_scripts, tsort): this one before udev.
EARLY = f"{FOLDER}/scripts/init-top/00-vfiostate"
# Versions before 0.142 keep a checksum of each image there; a rebuild writes both.
STATE = "/var/lib/initramfs-tools"


@dataclass(frozen=True, slots=True)
class InitramfsTools:
    """The generator of Debian and Ubuntu."""

    name: str = "initramfs-tools"
    supported: bool = True
    manual: str = f"Put the modules into {MODULES}, then `update-initramfs -u -k all`."

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """Its directory and its command; dracut brings an update-initramfs of its own, but no mkinitramfs."""
        command = host.which("update-initramfs")
        if command is None or host.lstat(FOLDER) is None:
            return None
        if host.which("dracut") is not None and host.which("mkinitramfs") is None:
            return None
        return (f"{command} is there", f"{FOLDER} is there")

    def read(self, host: Host, release: str, *, look: bool) -> InitramfsFacts:
        """The module list, the images of all kernels and, when asked, what lies in the one that boots."""
        path = host.resolve(MODULES)
        content, findings = _content(host, path)
        image = f"/boot/initrd.img-{release}"
        names, trouble = _look(host, image) if look else (None, "")
        findings += _complaints(host)
        facts = InitramfsFacts(
            self.name,
            path,
            content,
            _listed(content or b""),
            image,
            names,
            trouble,
            _products(host),
            findings,
            REBUILD,
            early=EARLY.removeprefix(f"{FOLDER}/"),
        )
        return read_early(host, with_kin(host, facts, "/boot/initrd.img-*"), EARLY)

    def edits(
        self, facts: InitramfsFacts, modules: Sequence[str], setup: str, script: bytes = b""
    ) -> tuple[Action, ...]:
        """One marked block at the end of the module list, with those that are not in it yet."""
        missing = unlisted(facts, modules)
        early = early_edits(facts, [EarlyFile(EARLY, _early(script), 0o755)]) if script else ()
        if not missing:
            return early
        return (added(facts, missing, setup, f"take {', '.join(missing)} into the initramfs"), *early)

    def commit(self, facts: InitramfsFacts) -> tuple[Action, ...]:
        """update-initramfs for every kernel."""
        return rebuilt(facts)


GENERATORS: tuple[Generator, ...] = (InitramfsTools(),)


def _early(script: bytes) -> bytes:
    """A script that can be asked for its prerequisites when the image is made (initramfs-tools(7))."""
    head = b"#!/bin/sh\ncase ${1:-} in prereqs)\n    exit 0\n    ;;\nesac\n\n"
    return head + script + b"\n" + CALL


def _content(host: Host, path: str) -> tuple[bytes | None, tuple[Finding, ...]]:
    try:
        content = host.read(path)
    except FileNotFoundError:
        return None, ()
    except OSError as error:
        return None, (_refusal("initramfs-modules-unreadable", f"{path} cannot be read: {error.strerror}.", path),)
    if b"\0" in content:
        return None, (_refusal("initramfs-modules-binary", f"{path} holds NUL bytes: it is not a text file.", path),)
    return content, ()


def _refusal(code: str, message: str, path: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, (), f"Make {path} a readable text file, then try again.")


def _listed(content: bytes) -> frozenset[str]:
    """The modules in the list; a line is a module and its options, `#` begins a comment (initramfs-tools(7))."""
    lines = (line.partition("#")[0].split() for line in content.decode(errors="replace").splitlines())
    return frozenset(words[0].replace("-", "_") for words in lines if words)


def _look(host: Host, image: str) -> tuple[frozenset[str] | None, str]:
    try:
        done = host.query(("lsinitramfs", image), timeout=600.0)
    except TimeoutError:
        return None, f"lsinitramfs {image} did not end within 600 seconds"
    if not done.ok:
        last = done.stderr.decode(errors="replace").strip().splitlines()
        return None, f"lsinitramfs {image} ended with status {done.status}: {last[-1] if last else 'no message'}"
    return frozenset(line.strip().removeprefix("./") for line in done.text.splitlines() if line.strip()), ""


def _products(host: Host) -> tuple[str, ...]:
    """What a rebuild writes; `.new` is what it leaves behind when it is cut off."""
    names = [name for name in names_there(host, "/boot") if name.startswith("initrd.img-")]
    images = [name for name in names if not name.endswith((".new", ".bak", ".dpkg-bak", ".old"))]
    backups = [f"/boot/{name}.bak" for name in images] if _setting(host, b"backup_initramfs") == b"yes" else []
    written = [path for name in images for path in (f"/boot/{name}", f"/boot/{name}.new")]
    return (*written, *backups, *(f"{STATE}/{name}" for name in names_there(host, STATE)))


def _setting(host: Host, name: bytes) -> bytes:
    lines = content_there(host, UPDATES).splitlines()
    found = [line.partition(b"=")[2].strip(b" \t\"'") for line in lines if line.strip().startswith(name + b"=")]
    return found[-1] if found else b""


def _complaints(host: Host) -> tuple[Finding, ...]:
    if _setting(host, b"update_initramfs") != b"no":
        return ()
    message = f"{UPDATES} says update_initramfs=no: update-initramfs would do nothing and report success."
    hint = f"Set update_initramfs=yes in {UPDATES}, then try again."
    return (Finding("initramfs-updates-off", Severity.REFUSAL, message, (f"{UPDATES}: update_initramfs=no",), hint),)
