"""A file that lists modules to load at boot, and the one marked block of ours in it.

Sources: modules(5), modules-load.d(5): a name per line, `#` and `;` begin comments, /etc/modules may give parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps.actions import EditFile
from steps.base import FileKind, Finding, Host, Severity
from steps.config import Persist
from steps.insertion import appended, new_file
from steps.kmod import normal
from steps.reading import names_there

PATHS = {Persist.ETC_MODULES: "/etc/modules", Persist.MODULES_LOAD_D: "/etc/modules-load.d/vfiostate.conf"}


@dataclass(frozen=True, slots=True)
class ModuleFile:
    """The file as it is. `path` is its own, symlinks followed; `content` is None where it does not exist; `trouble`
    says why it cannot be edited; `read_at_boot` whether something reads it then (None: not known)."""

    path: str
    content: bytes | None
    trouble: str = ""
    read_at_boot: bool | None = None

    @property
    def names(self) -> frozenset[str]:
        """The modules it lists, with `_` for `-`."""
        return names_in(self.content or b"")


def names_in(content: bytes) -> frozenset[str]:
    """The modules a file lists, with `_` for `-`; comments, parameters and carriage returns do not count."""
    # Newlines alone part lines for those who read this file; str.splitlines() knows more.
    lines = (line.strip() for line in content.decode("utf-8", errors="replace").split("\n"))
    return frozenset(normal(line.split()[0]) for line in lines if line and line[0] not in "#;")


def read_module_file(host: Host, persist: Persist) -> ModuleFile:
    """Read the file that this way of persisting writes to."""
    path = PATHS[persist]
    try:
        real = host.resolve(path)
        stat = host.lstat(real)
        if stat is None:
            return ModuleFile(real, None, _no_folder(host, real), _read_at_boot(host, persist))
        if stat.kind is not FileKind.FILE:
            return ModuleFile(real, None, f"{real} is not a file but a {stat.kind.value}")
        content = host.read(real)
    except OSError as error:
        return ModuleFile(path, None, f"{path} cannot be read: {error.strerror or error}")
    binary = f"{real} holds zero bytes: it is no list of modules" if b"\0" in content else ""
    return ModuleFile(real, content, binary, _read_at_boot(host, persist))


def block(setup: str, names: Sequence[str]) -> bytes:
    """Our lines: the modules between two marks that carry the setup's id."""
    marks = (f"# vfiostate {setup}: begin (taken out by `vfiostate rollback`)", f"# vfiostate {setup}: end")
    return "".join(f"{line}\n" for line in (marks[0], *names, marks[1])).encode()


def edit(file: ModuleFile, setup: str, names: Sequence[str]) -> EditFile | None:
    """The edit that adds these modules, None where all are there already."""
    missing = [name for name in names if normal(name) not in file.names]
    if not missing:
        return None
    lines, why = block(setup, missing), f"load {', '.join(missing)} at every boot"
    if file.content is None:
        return new_file(file.path, lines, why)
    return appended(file.path, file.content, lines).action(file.content, why)


def findings(file: ModuleFile) -> tuple[Finding, ...]:
    """Why the file cannot be edited, or whether it would do any good."""
    if file.trouble:
        return (
            Finding(
                "modules-file",
                Severity.REFUSAL,
                f"The modules cannot be written down: {file.trouble}.",
                (file.path,),
                'Put it right, or set persist = "modules-load.d" (or "etc-modules") in the configuration.',
            ),
        )
    if file.read_at_boot is False:
        return (
            Finding(
                "modules-file-not-read",
                Severity.WARNING,
                f"Nothing reads {file.path} at boot on this host.",
                ("no symlink in /etc/modules-load.d leads to it",),
                'Set persist = "modules-load.d" in the configuration.',
            ),
        )
    return ()


def _no_folder(host: Host, path: str) -> str:
    folder = path.rpartition("/")[0]
    return "" if host.lstat(folder) is not None else f"{folder} does not exist"


def _read_at_boot(host: Host, persist: Persist) -> bool | None:
    """systemd reads modules-load.d only; Debian links modules.conf there to /etc/modules."""
    if persist is Persist.MODULES_LOAD_D:
        return True
    if host.lstat("/run/systemd/system") is None:
        return None
    for folder in ("/etc/modules-load.d", "/usr/lib/modules-load.d", "/lib/modules-load.d"):
        if any(
            name.endswith(".conf") and host.resolve(f"{folder}/{name}") == host.resolve(PATHS[persist])
            for name in names_there(host, folder)
        ):
            return True
    return False
