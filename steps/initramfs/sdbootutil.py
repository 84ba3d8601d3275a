"""sdbootutil (openSUSE): dracut's images as files of the EFI system partition, named after what is in them.

`sdbootutil mkinitrd` has dracut make an image for every kernel of the snapshot, puts it beside the kernel as
initrd-SHA1, and writes the entry that names it; what no entry names any more, `bootctl cleanup` takes away
(openSUSE/sdbootutil, sdbootutil: `install_kernel`). `dracut --regenerate-all` would make images that nothing boots.
The configuration is dracut's. What an image will be called is known once it is made: the way back puts back the entries
and the images that they named, and has bootctl take away those that came for ours (systemd, src/bootctl:
bootctl-cleanup.c). What lay there that no entry named goes too, as with every run of sdbootutil.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from steps.actions import Action, Regenerate, RunCommand
from steps.base import Finding, Host, Severity
from steps.boot import sdbootutil_entries
from steps.boot.sdbootutil_entries import MKINITRD, MODULES, Kept
from steps.initramfs.base import Generator, InitramfsFacts, rebuilt
from steps.initramfs.dracut import FOLDERS, Dracut, look_into
from steps.reading import matching, names_in
from steps.softdeps import CONF

TIDY = ("bootctl", "cleanup")
_UNTIDY = ("bootctl", "--dry-run", "cleanup")
# What stands in the place of an image of dracut's (`install_kernel`).
_READY, _PARTS = f"{MODULES}/*/initrd", "/usr/lib/initrd"


@dataclass(frozen=True, slots=True)
class Sdbootutil(Dracut):
    """dracut, called by sdbootutil."""

    name: str = "sdbootutil"
    manual: str = (
        f'Put `force_drivers+=" MODULES "` and `install_items+=" {CONF} "` into {FOLDERS[0]}/vfio.conf, then '
        f"`{' '.join(MKINITRD)}`."
    )

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """dracut's command, and the file that sdbootutil leaves on the partition."""
        command, mark = host.which("dracut"), sdbootutil_entries.mark(host)
        return (f"{command} is there", f"{mark} is there") if command and mark else None

    def read(self, host: Host, release: str, *, look: bool) -> InitramfsFacts:
        """dracut's configuration, the images that the entries of this snapshot name and, when asked, what lies in
        one."""
        facts = replace(Dracut.read(self, host, release, look=False), rebuild=MKINITRD, each=(), products=(), kin="")
        mark = sdbootutil_entries.mark(host)
        try:
            kept = sdbootutil_entries.read(host, mark) if mark is not None else None
        except OSError as error:
            return replace(facts, image="", findings=(*facts.findings, _unreadable(error)))
        if kept is None or kept.number is None:
            # The boot loader says what is amiss.
            return replace(facts, image="", trouble="sdbootutil keeps no entries of this root")
        image = next(iter(kept.images(release)), "")
        names, trouble = None, f"no entry in {kept.folder} names an image of {release}"
        if image:
            names, trouble = look_into(host, image) if look else (None, "")
        products = _products(kept)
        return replace(
            facts,
            image=image,
            names=names,
            trouble=trouble,
            products=products,
            findings=(*facts.findings, *_complaints(host, kept)),
            kin=kept.kin,
            there=tuple(path for path in matching(host, kept.kin) if path not in products),
        )

    def commit(self, facts: InitramfsFacts) -> tuple[Action, ...]:
        """sdbootutil for every kernel of this snapshot; its way back ends with tidying."""
        undo = Regenerate(TIDY, timeout=300.0, unseen=True)
        return (RunCommand(_UNTIDY, "see what no boot entry names", undo, timeout=300.0), *rebuilt(facts))


GENERATORS: tuple[Generator, ...] = (Sdbootutil(),)


def _products(kept: Kept) -> tuple[str, ...]:
    """The entries that are written, and the images that they name until then."""
    found = (path for release, entry in kept.made.items() for path in (entry, *kept.images(release)))
    return tuple(dict.fromkeys(found))


def _complaints(host: Host, kept: Kept) -> tuple[Finding, ...]:
    found = []
    ready = (*matching(host, _READY, names_in), *((_PARTS,) if host.lstat(_PARTS) is not None else ()))
    if ready:
        hint = f"Move {ready[0]} away, so that `{' '.join(MKINITRD)}` makes an image of its own; then try again."
        message = f"{ready[0]} is there: sdbootutil takes it as it is, and no configuration of dracut has a say in it."
        found.append(_refusal("initramfs-ready-made", message, tuple(f"{path} is there" for path in ready), hint))
    sizes = (host.lstat(path) for release in kept.made for path in kept.images(release))
    needed = sum(each.size for each in sizes if each is not None) * 5 // 4
    if (free := host.free(kept.root)) < needed:
        hint = "Remove kernels or snapshots that are not needed (`snapper delete`), then try again."
        message = (
            f"{kept.root} has no room for new images beside the old: sdbootutil would remove entries of snapshots."
        )
        evidence = (f"free: {free >> 20} MiB", f"needed: {needed >> 20} MiB")
        found.append(_refusal("boot-partition-full", message, evidence, hint))
    return tuple(found)


def _unreadable(error: OSError) -> Finding:
    hint = "Is the EFI system partition mounted, and is it whole? Mend that, then try again."
    message = f"The images of sdbootutil cannot be looked for: {error.strerror or error}."
    return _refusal("initramfs-unreadable", message, (str(error),), hint)


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)
