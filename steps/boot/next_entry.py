"""GRUB's `next_entry`: the entry that is booted once, named in the environment block; GRUB empties it as it boots."""

from __future__ import annotations

from steps.actions import Inverse, RunCommand
from steps.base import Completed, FileKind, Host
from steps.boot.base import Curable
from steps.boot.grub_names import GrubNames

VARIABLE = "next_entry"
# File systems, as grub-probe calls them, in which GRUB writes a block where it lies; with checksums or copies on write
# it cannot (grub-core/commands/loadenv.c; the lists in util/grub.d/00_header.in of Debian and Ubuntu).
WRITABLE = frozenset({"ext2", "xfs", "fat", "jfs", "reiserfs", "ufs1", "ufs2", "minix"})


def obstacles(host: Host, content: bytes, chosen: str, ident: str, names: GrubNames) -> tuple[str, ...]:
    """Why the entry `ident` cannot be booted once: `content` is grub.cfg, `chosen` what is to be booted next now."""
    found: list[str] = []
    if VARIABLE.encode() not in content:
        found.append(f"grub.cfg does not look at {VARIABLE}: this GRUB cannot boot an entry once")
    if chosen not in ("", ident):
        said = f"{names.env} says already that {chosen!r} is to be booted next"
        found.append(Curable(said, f"boot it first, or withdraw it: `{names.editenv} {names.env} unset {VARIABLE}`"))
    stat = host.lstat(names.env)
    if stat is not None and stat.kind is FileKind.SYMLINK:
        found.append(f"{names.env} is a symbolic link: what is behind it would not be put back")
    missing = [name for name in (names.editenv, names.probe) if host.which(name) is None]
    if missing:
        said = f"{' and '.join(missing)} not found"
        return (*found, Curable(said, "install the package of GRUB that brings what was not found"))
    return (*found, *_unwritable(host, names))


def _unwritable(host: Host, names: GrubNames) -> tuple[str, ...]:
    """Why GRUB could not write its environment block at boot: GRUB's own tool is asked."""
    folder = names.folder
    below = _probe(host, names, "abstraction", folder)
    kind = _probe(host, names, "fs", folder)
    failed = next((each for each in (below, kind) if not each.ok), None)
    if failed is not None:
        said = failed.stderr.decode(errors="replace").strip().splitlines()
        return (f"`{' '.join(failed.argv)}`: {said[-1] if said else f'exit status {failed.status}'}",)
    found = []
    if below.text.split():
        found.append(f"{folder} lies on {', '.join(below.text.split())}: GRUB cannot write to it at boot")
    if kind.text.strip() not in WRITABLE:
        found.append(f"{folder} is on {kind.text.strip() or 'an unknown file system'}: GRUB cannot write there at boot")
    return tuple(found)


def _probe(host: Host, names: GrubNames, target: str, path: str) -> Completed:
    return host.query((names.probe, f"--target={target}", path))


def chosen(ident: str, names: GrubNames) -> RunCommand:
    """The command that chooses the entry for the next boot.

    grub-editenv writes the block in place. A crash within it may leave a block that GRUB does not take: it then boots
    the default entry, and the next run puts the block back.
    """
    undo = Inverse((names.editenv, names.env, "unset", VARIABLE), lines=(f"{VARIABLE}=", f"{VARIABLE}={ident}"))
    argv = (names.editenv, names.env, "set", f"{VARIABLE}={ident}")
    return RunCommand(argv, "choose the trial entry for the next boot, and for that one only", undo, (names.env,))
