"""What stands against changing the command line by sdbootutil: said before any change.

Source: openSUSE/sdbootutil, sdbootutil: `is_transactional`, `sedrootflags`, `update_entry_conf` (a line that sed takes
for more than text), `update_entries_for_subvol` (which finds nothing without a snapshot), `install_kernel` (the counter
of /etc/kernel/tries), `generate_tpm2_predictions` (what is sealed to the entries).
"""

from __future__ import annotations

from collections.abc import Iterator

from steps import cmdline
from steps.base import Finding, Host, Severity
from steps.boot.kernel_cmdline import Line
from steps.boot.kernel_install import TRIES
from steps.boot.sdbootutil_entries import UPDATE, Kept, plain, shown
from steps.boot.systemd_boot_entry import MenuEntry
from steps.reading import text_of

_CRYPTTAB, _FSTAB = "/etc/crypttab", "/etc/fstab"
# What the replacement in sed's `s|…|…|` does not take as it is.
_SED = "|&\\"
_COMMAND = " ".join(UPDATE)


def complaints(host: Host, kept: Kept, line: Line, setup: str) -> tuple[Finding, ...]:
    """Everything that stops us, each with what was found and what to do next."""
    found = [*_about_the_host(host, kept), *kept.findings, *line.findings]
    if not line.findings:
        found += _about_the_line(line)
    if not found:
        found += _about_entries(host, kept, line, setup)
    return tuple(found)


def unreadable(error: OSError) -> Finding:
    """The entries, or what says which is taken, cannot be read."""
    hint = "Is the EFI system partition mounted, and is it whole? Mend that, then try again."
    message = f"The boot entries of sdbootutil cannot be read: {error.strerror or error}."
    return _refusal("sdbootutil-unreadable", message, (str(error),), hint)


def _about_the_host(host: Host, kept: Kept) -> Iterator[Finding]:
    if host.which(UPDATE[0]) is None:
        hint = "Install the package sdbootutil, then try again."
        message = "The command `sdbootutil` was not found."
        yield _refusal("sdbootutil-missing", message, (f"{kept.mark} is there",), hint)
    overlaid = next((row for row in text_of(host, _FSTAB).splitlines() if row.startswith("overlay /etc")), None)
    if overlaid is not None:
        yield _refusal(
            "sdbootutil-transactional",
            "This is a transactional system: what is changed in /etc belongs to one snapshot, and the next update "
            "boots another.",
            (f"{_FSTAB}: {overlaid}",),
            "vfiostate does not drive those yet. In a `transactional-update shell`, edit /etc/kernel/cmdline and run "
            "`sdbootutil mkinitrd` by hand.",
        )
    elif kept.number is None:
        found = f"`btrfs subvolume show /`: {kept.subvolume}" if kept.subvolume else "`btrfs subvolume show /` failed"
        yield _refusal(
            "sdbootutil-without-snapshots",
            f"The root is no snapshot of snapper's: `{_COMMAND}` would find no entry, and say nothing.",
            (found,),
            "Is btrfs there (the package btrfsprogs)? vfiostate drives sdbootutil on a root with snapshots only; "
            "elsewhere edit /etc/kernel/cmdline and run `sdbootutil mkinitrd` by hand.",
        )
    elif kept.read_only:
        yield _refusal(
            "sdbootutil-read-only",
            f"The snapshot {kept.number}, which is the root, is read only: nothing in /etc can be changed.",
            ("`btrfs property get -t s / ro`: ro=true",),
            "Boot the system itself, or make this snapshot the system (`snapper rollback`, a reboot); then try again.",
        )
    sealed = next((row for row in text_of(host, _CRYPTTAB).splitlines() if "tpm2-device" in row), None)
    if sealed is not None:
        yield _refusal(
            "sdbootutil-predictions",
            "A disk is unlocked by the TPM, for boot entries and images that sdbootutil has foreseen: a change would "
            "ask for the recovery key.",
            (f"{_CRYPTTAB}: {sealed}",),
            "Have that key at hand and take the disk off the TPM (`sdbootutil unenroll --method=tpm2`) as long as the "
            "setup stands, then try again.",
        )
    if host.lstat(TRIES) is not None:
        hint = f"Move {TRIES} away as long as the setup stands, then try again."
        message = f"{TRIES} is there: every entry that is made anew is counted, and renamed at boot."
        yield _refusal("boot-counting", message, (f"{TRIES} is there",), hint)


def _about_the_line(line: Line) -> Iterator[Finding]:
    first, _, rest = line.content.partition(b"\n")
    if rest:
        hint = f"Make it one line; run `{_COMMAND}`, then try again."
        message = f"{line.path} has more than one line, which sdbootutil cannot put into an entry."
        evidence = (f"after the first line: {cmdline.shown((cmdline.text(rest),))}",)
        yield _refusal("kernel-cmdline-lines", message, evidence, hint)
    text = cmdline.text(first)
    special = sorted(set(text) & set(_SED))
    if special:
        hint = f"Take these out, or write the words without them; run `{_COMMAND}`, then try again."
        message = f"{line.path} has {' '.join(special)}, which sdbootutil's sed does not take as it stands."
        yield _refusal("kernel-cmdline-special", message, (cmdline.shown(line.words),), hint)
    cut = next((word for word in line.words if "initrd=" in word or "BOOT_IMAGE=" in word), None)
    if cut is not None:
        hint = f"Take it out; run `{_COMMAND}`, then try again."
        message = f"{line.path} has {cut}: sdbootutil would leave out all that stands before it."
        yield _refusal("kernel-cmdline-cut", message, (cmdline.shown(line.words),), hint)


def _about_entries(host: Host, kept: Kept, line: Line, setup: str) -> Iterator[Finding]:
    if not kept.own:
        listed = tuple(shown(each) for each in kept.listed) or (f"{kept.folder}: no entry",)
        yield _refusal(
            "no-boot-entry-of-this-snapshot",
            f"{kept.folder} has no entry whose root is the snapshot {kept.number}.",
            (*listed, f"its subvolume: {kept.subvolume}"),
            "Is the EFI system partition mounted? Mount it, or make the entries with `sdbootutil add-all-kernels`; "
            "then try again.",
        )
    for entry in kept.own:
        yield from _about_entry(host, kept, entry, line, setup)


def _about_entry(host: Host, kept: Kept, entry: MenuEntry, line: Line, setup: str) -> Iterator[Finding]:
    if entry.tries_left is not None:
        yield _refusal(
            "boot-counting",
            f"{entry.path} is counted: the boot loader renames it at every boot.",
            (entry.path,),
            "Reboot, so that systemd-bless-boot marks it good, or take the counter out of the name; then try again.",
        )
    elif kept.made.get(entry.release or "", entry.path) != entry.path:
        made = kept.made[entry.release or ""]
        yield _refusal(
            "entry-not-of-sdbootutil",
            f"{entry.path} is not named as sdbootutil names the entry of its kernel: that would be made beside it.",
            (f"expected {made}", shown(entry)),
            f"Move {entry.path} away and run `sdbootutil add-all-kernels`, then try again.",
        )
    token = f"{cmdline.SETUP}={setup}"
    if token not in (*entry.words, *line.words) and plain(entry.words) != plain(line.words):
        yield _refusal(
            "entry-not-from-cmdline",
            f"{entry.path} has another command line than {line.path}, of which it is made anew with every update.",
            (f"{line.path}: {cmdline.shown(line.words)}", shown(entry)),
            f"Put the words you want into {line.path}, run `{_COMMAND}`, then try again.",
        )


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)
