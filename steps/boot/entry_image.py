"""Whether the initramfs that the default entry loads is one that a rebuild makes, or a copy that lies elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from steps.actions import RunCommand
from steps.base import Finding, Host, Severity
from steps.boot.base import BootFacts, BootLoader
from steps.initramfs.base import InitramfsFacts


def elsewhere(host: Host, loader: BootLoader, boot: BootFacts, image: InitramfsFacts) -> tuple[Finding, ...]:
    """What is to be said where a rebuild reaches nothing of what the entry loads; microcode comes beside it."""
    if not boot.initrds or not image.image:
        return ()
    commands = (each for each in loader.commit(boot) if isinstance(each, RunCommand))
    made = (image.image, *image.products, *boot.copies, *(path for each in commands for path in each.produces))
    reached = not _files(host, made).isdisjoint(_files(host, boot.initrds))
    return () if reached else (_finding(boot.initrds, image),)


def _files(host: Host, paths: Iterable[str]) -> set[object]:
    """What the files are known by, whatever way leads to them: a symlink, or a directory that is mounted twice."""
    found: set[object] = set()
    for path in filter(None, paths):
        real = host.resolve(path)
        stat = host.lstat(real)
        found |= {real, stat.file} if stat is not None and stat.file is not None else {real}
    return found


def _finding(initrds: Sequence[str], image: InitramfsFacts) -> Finding:
    loaded, (folder, _, name) = initrds[-1], image.image.rpartition("/")
    there = loaded.rpartition("/")[0]
    how = f"let the entry load {name}"
    if there != folder:
        how = f"`mount --bind {there} {folder}`, with a line in /etc/fstab, or let {image.generator} write it there"
    return Finding(
        "initramfs-elsewhere",
        Severity.REFUSAL,
        f"The default entry loads {loaded}, which a rebuild of the initramfs does not reach.",
        (f"the entry loads {', '.join(initrds)}", f"{image.generator} makes {image.image}"),
        f"Have it made where it boots from: {how}; then try again.",
    )
