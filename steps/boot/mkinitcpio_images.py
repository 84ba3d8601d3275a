"""Unified kernel images that mkinitcpio makes: those that a preset in /etc/mkinitcpio.d names.

The command line comes from /etc/kernel/cmdline unless a preset or /etc/cmdline.d says otherwise (mkinitcpio(8),
"--cmdline"); whether it did is seen by what is in the image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from steps import cmdline
from steps.actions import Regenerate
from steps.base import Finding, Host, Severity
from steps.boot.kernel_install import CMDLINE, VENDOR, Made
from steps.boot.systemd_boot_entry import IMAGES, MenuEntry
from steps.reading import matching

PRESETS = "/etc/mkinitcpio.d"
PARTS = "/etc/cmdline.d"
ALL = ("mkinitcpio", "-P")
_IMAGE = re.compile(rb"^\s*\w+_(?:uki|efi_image)=[\"']?([^\"'\s]+)", re.MULTILINE)


def made(host: Host, entries: Sequence[MenuEntry]) -> tuple[Made, ...]:
    """Which of these entries mkinitcpio makes; a rebuild of its initramfs is what makes them."""
    if host.which(ALL[0]) is None:
        return ()
    named = {host.resolve(path) for path in _named(host)}
    ours = [entry for entry in entries if entry.unified and host.resolve(entry.path) in named]
    return tuple(_made(host, entry, {each.path for each in ours}) for entry in ours)


def elsewhere(host: Host, making: Sequence[Made]) -> tuple[Finding, ...]:
    """What stands against images that are made of the parts in /etc/cmdline.d: there is no one line to edit."""
    parts = matching(host, f"{PARTS}/*.conf")
    whole = any(host.lstat(path) is not None for path in (CMDLINE, VENDOR))
    if whole or not parts or any(each.argv != ALL for each in making):
        return ()
    words = cmdline.shown(making[0].entry.words)
    message = f"The command line of the images that mkinitcpio makes is in {PARTS}, which vfiostate does not edit."
    evidence = (*(f"{path} is there" for path in parts), f"{making[0].entry.path}: {words}")
    hint = (
        f"Write it as one line into {CMDLINE}, such as `{words}`; move the files of {PARTS} away, run "
        f"`{' '.join(ALL)}`, then try again."
    )
    return (Finding("kernel-cmdline-in-parts", Severity.REFUSAL, message, evidence, hint),)


def _made(host: Host, entry: MenuEntry, ours: set[str]) -> Made:
    """`ours` are the images that are made now: one that comes later may be of a kernel that comes later."""
    kin = f"{entry.root}/{IMAGES}/*.efi"
    undo = Regenerate(ALL, kin=kin, there=tuple(path for path in matching(host, kin) if path not in ours))
    return Made(entry, entry.release or entry.id, ALL, (entry.path,), undo, hooked=True)


def _named(host: Host) -> Iterator[str]:
    try:
        presets = [name for name in host.list(PRESETS) if name.endswith(".preset")]
    except OSError:
        return
    for name in presets:
        try:
            content = host.read(f"{PRESETS}/{name}")
        except OSError:
            continue
        yield from (path.decode(errors="surrogateescape") for path in _IMAGE.findall(content) if path.startswith(b"/"))
