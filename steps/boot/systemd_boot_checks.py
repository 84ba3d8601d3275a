"""What stands against editing the command line of a host that boots through systemd-boot: said before any change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from steps import cmdline
from steps.base import Finding, Severity
from steps.boot import kernel_install
from steps.boot.kernel_install import Made, Source
from steps.boot.systemd_boot_entry import MenuEntry
from steps.boot.systemd_boot_menu import Menu


def complaints(
    menu: Menu, by_hand: Sequence[MenuEntry], making: Sequence[Made], source: Source | None, setup: str
) -> tuple[Finding, ...]:
    """Everything that stops us, each with what was found and what to do next."""
    found = [*menu.findings, *_about_places(menu), *(source.findings if source is not None else ())]
    found += _about_counters((*by_hand, *(each.entry for each in making)))
    found += _about_images(entry for entry in by_hand if entry.unified)
    found += _about_profiles(each.entry for each in making)
    found += _without_options(entry for entry in by_hand if not entry.unified and entry.end is None)
    if source is not None and source.site is not None and menu.trial is None:
        found += _differing(menu, making, source, setup)
    return tuple(found)


def _about_places(menu: Menu) -> Iterator[Finding]:
    if not menu.roots:
        yield _refusal(
            "boot-partition-not-found",
            "The partition that systemd-boot boots from was not found.",
            ("looked in /efi, /boot and /boot/efi",),
            "Is it mounted? Mount the EFI system partition, then try again.",
        )
    elif not menu.asked and len(menu.roots) > 1:
        yield _refusal(
            "boot-partition-ambiguous",
            f"There is something of a boot loader in {' and '.join(menu.roots)}; bootctl does not tell which counts.",
            tuple(f"{root}: loader or EFI/Linux is there" for root in menu.roots),
            "Install bootctl (Debian: the package systemd-boot), or unmount the one that is not used; then try again.",
        )
    elif not menu.own and not menu.findings:
        listed = tuple(f"{entry.id}: {cmdline.shown(entry.words)}" for entry in menu.entries)
        yield _refusal(
            "no-boot-entry-of-this-system",
            f"None of the {len(menu.entries)} boot entries is known to be of this system.",
            (*listed, f"known by: {', '.join((*menu.identity.tokens, *sorted(menu.identity.roots)))}"),
            "Give the entry a line `machine-id` with the content of /etc/machine-id, or make it with `kernel-install "
            "add`; then try again.",
        )


def _about_counters(entries: Sequence[MenuEntry]) -> Iterator[Finding]:
    counted = [entry for entry in entries if entry.tries_left]
    if counted:
        yield _refusal(
            "boot-counting",
            f"{counted[0].path.rpartition('/')[2]} is still counted: the boot loader renames it at every boot.",
            tuple(entry.path for entry in counted),
            "Reboot, so that systemd-bless-boot marks it good, or take the counter out of the name; then try again.",
        )


def _about_images(entries: Iterator[MenuEntry]) -> Iterator[Finding]:
    for entry in entries:
        yield _refusal(
            "boot-image-maker-unknown",
            f"{entry.path} is a unified kernel image, and nothing is known that makes it anew.",
            (f"its command line: {cmdline.shown(entry.words)}",),
            "kernel-install makes images named TOKEN-RELEASE.efi (layout=uki in /etc/kernel/install.conf), mkinitcpio "
            "those that its presets name. Let one of them make this, or move it away; then try again.",
        )


def _about_profiles(entries: Iterator[MenuEntry]) -> Iterator[Finding]:
    for entry in entries:
        if entry.profiles:
            yield _refusal(
                "boot-image-profiles",
                f"{entry.path} has {entry.profiles} profiles, each with a command line of its own.",
                (f"its first command line: {cmdline.shown(entry.words)}",),
                "vfiostate edits images with one command line only: make it without profiles (ukify, `Profile=`), then "
                "try again.",
            )


def _without_options(entries: Iterator[MenuEntry]) -> Iterator[Finding]:
    for entry in entries:
        hint = f"Add a line `options` with its command line to {entry.path}, then try again."
        message = f"{entry.path} has no `options`: there is no place for words."
        yield _refusal("boot-entry-without-options", message, (f"it starts {entry.loader}",), hint)


def _differing(menu: Menu, making: Sequence[Made], source: Source, setup: str) -> Iterator[Finding]:
    """An entry that says something else than what it is made of would lose that when it is made anew."""
    token = f"{cmdline.SETUP}={setup}"
    for each in making:
        wanted = kernel_install.expected(source.words, each.token, menu.identity.machine_id)
        if each.entry.words == wanted or token in (*each.entry.words, *source.words):
            continue
        path = source.site.path if source.site is not None else kernel_install.CMDLINE
        yield _refusal(
            "entry-not-from-cmdline",
            f"{each.entry.path} has another command line than {path}, of which it is made anew with every update.",
            (f"{path}: {cmdline.shown(wanted)}", f"{each.entry.path}: {cmdline.shown(each.entry.words)}"),
            f"Put the words you want into {path}, run `{' '.join(each.argv)}`, then try again.",
        )


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)
