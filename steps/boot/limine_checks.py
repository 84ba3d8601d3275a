"""What stands against editing limine.conf: said before any change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from steps.base import Finding, Host, Severity
from steps.boot import limine_places
from steps.boot.limine_conf import Conf, MenuEntry
from steps.boot.limine_places import Place
from steps.boot.recognised import ESP

# What makes the entries of limine.conf anew by itself: limine-entry-tool, limine-mkinitcpio-hook.
_MAKERS = ("limine-entry-tool", "limine-mkinitcpio", "limine-update")
_HERE = "boot():/"


def place(host: Host) -> tuple[Place | None, tuple[Finding, ...]]:
    """The one limine.conf that Limine reads, or why there is no such. Raises OSError."""
    found = limine_places.configurations(host)
    if len(found) == 1:
        return found[0], ()
    if not found and (old := limine_places.configurations(host, limine_places.CFG)):
        message = f"{old[0].path} is the configuration of a Limine before 8.0, which vfiostate does not edit."
        hint = "Install a newer Limine and write the file anew as limine.conf (CONFIG.md of Limine), then try again."
        return None, (_refusal("limine-cfg", message, tuple(f"{each.path} is there" for each in old), hint),)
    if not found:
        message = "No limine.conf was found where Limine looks for it."
        hint = f"Mount the partition that holds it at {' or '.join(ESP)}, then try again."
        return None, (_refusal("limine-conf-missing", message, (f"looked below {', '.join(ESP)}",), hint),)
    message = "There is more than one limine.conf, and versions of Limine differ in which they read."
    hint = "Move all of them away but the one that Limine reads, then try again."
    return None, (_refusal("limine-conf-ambiguous", message, tuple(f"{each.path} is there" for each in found), hint),)


def unreadable(error: Exception) -> Finding:
    """The file, or what lies beside it, cannot be read or is not understood."""
    hint = "Mend the file, or write that line in another way (CONFIG.md of Limine), then try again."
    message = f"Limine's configuration is not understood: {error}."
    return _refusal("limine-conf-unreadable", message, (str(error),), hint)


def unclear(path: str, why: str) -> Finding:
    """It is not known which entry boots next."""
    hint = (
        f"Name it in a line `default_entry:` of {path}, by its number in the menu, and take `remember_last_entry` out; "
        "then try again."
    )
    return _refusal("limine-default-unclear", f"{path} does not say which entry boots next.", (why,), hint)


def complaints(host: Host, place: Place, conf: Conf, normal: Sequence[MenuEntry]) -> Iterator[Finding]:
    """Everything that stops us, each with what was found and what to do next. Raises OSError."""
    yield from _made_by_others(host, place)
    yield from _about_executables(host, place)
    if not normal:
        message = f"None of the {len(conf.entries)} entries in {place.path} is known to boot this system."
        hint = "Give the entry `protocol: linux` and the root= of /proc/cmdline in its `cmdline:`, then try again."
        evidence = tuple(each.title for each in conf.entries) or ("it has no line that begins with /",)
        yield _refusal("limine-entry-missing", message, evidence, hint)
    for entry in normal:
        yield from _about_entry(host, place, entry)


def _made_by_others(host: Host, place: Place) -> Iterator[Finding]:
    there = [name for name in _MAKERS if host.which(name) is not None]
    if there:
        message = f"{there[0]} makes the entries of {place.path} anew: what is put there would not last."
        hint = (
            'Write the words into /etc/default/limine by hand (`KERNEL_CMDLINE[default]+=" WORDS"`), or remove that '
            "tool; then try again."
        )
        yield _refusal("limine-conf-generated", message, tuple(f"{name} is there" for name in there), hint)


def _about_executables(host: Host, place: Place) -> Iterator[Finding]:
    found = limine_places.executables(host)
    if not found:
        message = "Limine itself was not found: whether a checksum of its configuration is enrolled is not known."
        hint = (
            f"Mount the partition that holds it (its .efi, or limine-bios.sys) at {' or '.join(ESP)}, then try again."
        )
        evidence = (f"looked below {', '.join(ESP)} for a file that holds {limine_places.MARKER.decode()}",)
        yield _refusal("limine-missing", message, evidence, hint)
    for each in found:
        if not each.current:
            message = f"{each.path} is a Limine that does not read limine.conf."
            hint = "Install a newer Limine (8.0 or later) there, with a limine.conf, or remove it; then try again."
            yield _refusal("limine-too-old", message, (f"{each.path} does not name limine.conf",), hint)
        elif each.enrolled:
            message = f"{each.path} holds a checksum of its configuration: with another content it does not boot."
            hint = (
                f"Take it out (`limine enroll-config --reset {each.path}`; sign it anew under Secure Boot), or add the "
                f"words to {place.path} by hand and enroll it again. Then try again."
            )
            evidence = (f"{each.path}: not only zeros behind {limine_places.MARKER.decode()}",)
            yield _refusal("limine-config-enrolled", message, evidence, hint)


def _about_entry(host: Host, place: Place, entry: MenuEntry) -> Iterator[Finding]:
    if entry.option("cmdline", "kernel_cmdline") is None:
        message = f"The entry {entry.title!r} of {place.path} has no `cmdline:`: there is no place for words."
        hint = "Give it a line `cmdline:`, empty or not, then try again."
        yield _refusal("limine-entry-without-cmdline", message, (f"{place.path}: {entry.title}",), hint)
    for module in entry.values("module_path"):
        path, pinned, _ = module.partition("#")
        if pinned:
            message = f"The entry {entry.title!r} of {place.path} boots only the initramfs that it has the checksum of."
            hint = f"Take the checksum, from the # on, out of that `module_path:` of {place.path}, then try again."
            yield _refusal("limine-module-pinned", message, (f"module_path: {module}",), hint)
        name = path.rpartition("/")[2]
        copied = path.startswith(_HERE) and place.root != "/boot" and place.root != "/"
        if copied and host.lstat(f"/boot/{name}") is not None:
            message = (
                f"{place.root}/{path.removeprefix(_HERE)} is a copy of /boot/{name}, which a rebuild does not reach."
            )
            hint = f"Mount {place.root} at /boot, so that the initramfs is made where it boots from, then try again."
            yield _refusal("limine-initramfs-copied", message, (f"module_path: {module}",), hint)


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)
