"""booster: modules_force_load in /etc/booster.yaml, rebuilt by its own script.

Sources: booster(1) (docs/manpage.md), packaging/arch/regenerate_images, generator/kmod.go, init/main.go. Its init
begins to load these modules before it looks at the devices, but waits for none of them, and it heeds no softdep of
modprobe.d: a native driver that is in the image may still come first, which is said before anything is changed.
The script's exit status says nothing of the images, so what counts is a look into one. Each is written beside its place
and renamed; a rebuild that is cut off leaves a file with a random name in /boot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steps.actions import Action
from steps.base import Finding, Host, Severity
from steps.initramfs.base import Generator, InitramfsFacts, rebuilt, unlisted, with_kin
from steps.initramfs.block import added
from steps.insertion import Insertion
from steps.reading import names_in, text_of

CONFIG = "/etc/booster.yaml"
SCRIPT = "/usr/lib/booster/regenerate_images"
MODULES = "/usr/lib/modules"
KEY = "modules_force_load"
# The key at the beginning of a line, and where its value begins: a plain or a quoted scalar, on the same line.
_VALUE = re.compile(rb"^modules_force_load[ \t]*:(?:[ \t]+([\"']?)|(?=\r?$))", re.MULTILINE)
_LINES = re.compile(rb"^modules_force_load[ \t]*:(.*(?:\r?\n[ \t]+\S.*)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Booster:
    """The generator that has no shell in its images."""

    name: str = "booster"
    supported: bool = True
    manual: str = f"Put the modules first in {KEY} of {CONFIG}, then run {SCRIPT}."

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """Its command and its configuration or its script."""
        command = host.which("booster")
        place = next((path for path in (CONFIG, SCRIPT) if host.lstat(path) is not None), None)
        return (f"{command} is there", f"{place} is there") if command and place else None

    def read(self, host: Host, release: str, *, look: bool) -> InitramfsFacts:
        """Its configuration, the images of all kernels and, when asked, what lies in one."""
        path = host.resolve(CONFIG)
        content, findings = _content(host, path)
        image, made_of = _image(host, release), _made_of(host)
        names, trouble = _look(host, image, release) if look else (None, "")
        if host.lstat(SCRIPT) is None:
            findings += (_no_script(),)
        facts = InitramfsFacts(
            self.name,
            path,
            content,
            listed(content or b""),
            image,
            names,
            trouble,
            tuple(made_of),
            (*findings, _race(path)),
            (SCRIPT,),
            made_of=made_of,
            takes_conf=False,
            no_early="booster's images have no shell to run a script with",
        )
        return with_kin(host, facts, "/boot/booster-*.img")

    def edits(
        self, facts: InitramfsFacts, modules: Sequence[str], setup: str, script: bytes = b""
    ) -> tuple[Action, ...]:
        """Our modules in front of those that are forced already; a line of its own where there is no such key."""
        missing = unlisted(facts, modules)
        if not missing:
            return ()
        why = f"load {', '.join(missing)} first of all in the initramfs"
        found = _VALUE.search(facts.content) if facts.content is not None else None
        if facts.content is None or found is None:
            return (added(facts, (f"{KEY}: {','.join(missing)}",), setup, why),)
        there = _words(facts.content)
        run = ",".join(missing) + ("," if there else "")
        lead = "" if found.group(1) is not None else " "
        run += " " if facts.content[found.end() :].startswith(b"#") else ""
        return (Insertion(facts.path, found.end(), f"{lead}{run}".encode()).action(facts.content, why),)

    def commit(self, facts: InitramfsFacts) -> tuple[Action, ...]:
        """Its own script."""
        return rebuilt(facts)


GENERATORS: tuple[Generator, ...] = (Booster(),)


def listed(content: bytes) -> frozenset[str]:
    """The modules that a configuration forces, with `_` for `-`."""
    return frozenset(word.replace("-", "_") for word in _words(content))


def _words(content: bytes) -> tuple[str, ...]:
    match = _LINES.search(content)
    if match is None:
        return ()
    lines = (re.sub(rb"(^|\s)#.*", b"", line) for line in match.group(1).splitlines())
    value = b" ".join(line.strip() for line in lines).strip().strip(b"\"'")
    return tuple(word.strip() for word in value.decode(errors="replace").split(",") if word.strip())


def _content(host: Host, path: str) -> tuple[bytes | None, tuple[Finding, ...]]:
    try:
        content = host.read(path)
    except FileNotFoundError:
        return None, ()
    except OSError as error:
        return None, (_unreadable(path, f"it cannot be read: {error.strerror}"),)
    trouble = _trouble(content)
    return content, (_unreadable(path, trouble),) if trouble else ()


def _trouble(content: bytes) -> str:
    """Why a line put into this YAML would not mean what it says: only a plain block mapping is edited."""
    if b"\0" in content:
        return "it holds NUL bytes: it is not a text file"
    lines = [line for line in content.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
    if any(line.lstrip()[:1] in (b"{", b"[") for line in lines[:1]) or any(line.startswith(b"...") for line in lines):
        return "it is not one plain block of `key: value` lines"
    if sum(line.startswith(b"---") for line in lines) > (1 if lines[:1] and lines[0].startswith(b"---") else 0):
        return "it holds several YAML documents"
    values = [match.group(1).strip() for match in _LINES.finditer(content)]
    if len(values) > 1:
        return f"{KEY} is in it {len(values)} times"
    if values and values[0][:1] in (b"|", b">", b"[", b"{", b"&", b"*", b"!", b"-"):
        return f"the value of {KEY} is not one line of names with commas"
    return ""


def _releases(host: Host) -> tuple[str, ...]:
    """The kernels that the script makes an image for: those of a package."""
    return tuple(each for each in names_in(host, MODULES) if _package(host, each))


def _package(host: Host, release: str) -> str:
    return text_of(host, f"{MODULES}/{release}/pkgbase").strip()


def _image(host: Host, release: str) -> str:
    package = _package(host, release)
    return f"/boot/booster-{package}.img" if package else ""


def _made_of(host: Host) -> Mapping[str, str]:
    """The images, and the kernels that the script copies anew beside them, which stay where a kernel is upgraded."""
    found: dict[str, str] = {}
    for release in _releases(host):
        package = _package(host, release)
        kernel = f"/boot/vmlinuz-{package}"
        found |= {f"/boot/booster-{package}.img": kernel, kernel: f"{MODULES}/{release}/pkgbase"}
    return found


def _look(host: Host, image: str, release: str) -> tuple[frozenset[str] | None, str]:
    """The names in an image; a folder ends in a slash, a link is shown with where it leads."""
    if not image:
        return None, f"{MODULES}/{release}/pkgbase does not name a package: no image is made for {release}"
    try:
        done = host.query(("booster", "ls", image), timeout=600.0)
    except TimeoutError:
        return None, f"booster ls {image} did not end within 600 seconds"
    if not done.ok:
        last = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        return None, f"booster ls {image} ended with status {done.status}: {last[-1] if last else 'no message'}"
    lines = (line.strip().partition(" -> ")[0] for line in done.text.splitlines())
    return frozenset(line.lstrip("/") for line in lines if line), ""


def _unreadable(path: str, what: str) -> Finding:
    message = f"{path} cannot be edited: {what}."
    hint = f"Give {path} one line `{KEY}: NAME,NAME` at most, then try again."
    return Finding("initramfs-conf-unreadable", Severity.REFUSAL, message, (path,), hint)


def _no_script() -> Finding:
    message = f"{SCRIPT} is not there: what rebuilds booster's images on this host is not known."
    hint = "Install booster's package of the distribution with its script, or use another generator, then try again."
    return Finding("initramfs-no-rebuild", Severity.REFUSAL, message, (f"{SCRIPT}: nothing there",), hint)


def _race(path: str) -> Finding:
    return Finding(
        "initramfs-heeds-no-softdep",
        Severity.WARNING,
        "booster heeds no softdep: a native driver that is in the image too may take a device before the stub driver.",
        (f"{path}: {KEY} is loaded first, and nothing waits for it",),
        "It is seen after the reboot. `modules: -NAME` takes such a driver out of the image, if the host can boot so.",
    )
