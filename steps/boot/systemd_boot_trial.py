"""A trial boot through systemd-boot: one more entry with the new command line, chosen for the next boot only.

That it is taken once is the work of the EFI variable LoaderEntryOneShot, which the loader deletes as soon as it has
read it, and which `default @saved` does not remember (boot.c: config_load_defaults, save_selected_entry).

The entry must never be the default by itself. It has no sort-key, so that it comes after all that have one, and among
the others its name is the oldest version there is for a name of letters: `a-` is older than `a.`, `a1` and `arch`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from steps import cmdline
from steps.actions import EditFile, Inverse, RemoveFile, RunCommand
from steps.base import FileKind, Host
from steps.boot import efi, systemd_boot_menu, systemd_boot_order
from steps.boot.base import PANIC, Curable, Trial
from steps.boot.systemd_boot_entry import ENTRIES, MenuEntry, type1
from steps.boot.systemd_boot_menu import Menu
from steps.insertion import new_file, sha256

ID = "a-vfiostate-trial.conf"
# What the copy of the default entry leaves out: what places it in the menu, and what is written anew.
_OWN = re.compile(r"\s*(title|sort-key|machine-id|options)(\s|$)|\s*(#|$)")


def read(host: Host, menu: Menu) -> Trial:
    """What there is of a trial now, and what stands against one."""
    root = menu.default.root if menu.default is not None else (*menu.roots, "")[0]
    place = f"{root}/{ENTRIES}/{ID}"
    found = host.lstat(place)
    chosen = efi.variable(host, "LoaderEntryOneShot")
    return Trial(
        obstacles=(*_firmware(host, chosen), *_partition(host, root), *_entry(host, menu)),
        words=menu.trial.words if menu.trial is not None else None,
        pending=chosen.lower() == ID,
        place=place,
        file=sha256(host.read(place)) if found is not None and found.kind is FileKind.FILE else None,
        in_the_way=found is not None,
    )


def _firmware(host: Host, chosen: str) -> tuple[str, ...]:
    """Why no choice for one boot could be left to the loader (bootctl(1), `set-oneshot`; bootctl-set-efivar.c)."""
    found: list[str] = []
    if host.lstat(efi.EFIVARS) is None:
        found.append("there are no EFI variables: the host was not booted through UEFI, or efivarfs is not mounted")
    elif not (said := efi.variable(host, "LoaderInfo")).startswith("systemd-boot"):
        found.append(f"the host was not booted through systemd-boot: the EFI variable LoaderInfo says {said!r}")
    elif not (efi.ONESHOT if (can := efi.features(host)) is None else can & efi.ONESHOT):
        found.append("this systemd-boot cannot boot an entry once (LoaderFeatures)")
    if _read_only(host, efi.EFIVARS):
        said = f"{efi.EFIVARS} is mounted read-only: nothing can be chosen for the next boot"
        found.append(Curable(said, f"`mount -o remount,rw {efi.EFIVARS}`"))
    if chosen.lower() not in ("", ID):
        said = f"the EFI variable LoaderEntryOneShot says already that {chosen!r} is to be booted next"
        found.append(Curable(said, "boot it first"))
    if host.which("bootctl") is None:
        found.append(Curable("bootctl not found", "install the package of systemd that brings it"))
    return tuple(found)


def _partition(host: Host, root: str) -> tuple[str, ...]:
    if _read_only(host, root):
        return (Curable(f"{root} is mounted read-only", f"`mount -o remount,rw {root}`"),)
    folder = f"{root}/{ENTRIES}"
    return () if host.lstat(folder) is not None else (f"{folder} is not there (`bootctl install` makes it)",)


def _entry(host: Host, menu: Menu) -> tuple[str, ...]:
    """Why an entry that is made of the default one would not be what it should be."""
    default = menu.default
    if default is None:
        return ("there is no default entry of which the trial's could be made",)
    if default.unified and efi.secure_boot(host):
        return ("Secure Boot is on: a unified kernel image takes no other command line than its own then",)
    content = "\n".join(script("0", template(default), ("x=y",)).decode(errors="replace").splitlines())
    trial = type1(default.root, ID, content.encode())
    if trial is None:
        return (f"no entry can be made of {default.path}",)
    listed = systemd_boot_order.ordered((*menu.entries, trial))
    taken = systemd_boot_menu.choice(host, menu.roots, listed)
    if isinstance(taken, MenuEntry) and taken.id == ID:
        return (f"its entry would be the default by itself, before {default.id}: the menu sorts it so",)
    return ()


def _read_only(host: Host, path: str) -> bool:
    try:
        lines = host.read("/proc/self/mounts").decode("utf-8", "replace").splitlines()
    except OSError:
        return False
    mounts = (line.split() for line in lines)
    options = [fields[3].split(",") for fields in mounts if len(fields) > 3 and fields[1] == path]
    return bool(options) and "ro" in options[-1]


def template(default: MenuEntry) -> tuple[str, ...]:
    """The lines of the default entry, of which the trial's are made.

    A unified kernel image takes the command line that an entry of type 1 hands to it, in the place of the one in it,
    while Secure Boot is off (systemd-stub(7); use_load_options in stub.c).
    """
    if not default.unified:
        return default.lines
    words = cmdline.text(" ".join(default.words).encode("utf-8", "surrogateescape"))
    version = (f"version {default.version}",) if default.version else ()
    return (f"title {default.title}", *version, f"efi {default.loader}", f"options {words}")


def script(setup: str, lines: Sequence[str], tokens: Sequence[str]) -> bytes:
    """The trial's entry: the default one's lines with our words at the end of its command line.

    Raises ValueError for a token that needs quoting, and for lines that start nothing.
    """
    unsafe = [token for token in tokens if not cmdline.is_safe(token)]
    source = type1("", ID, "\n".join(lines).encode("utf-8", "surrogateescape"))
    if unsafe or source is None:
        raise ValueError(f"no entry for a trial boot can be made with {unsafe or lines}")
    words = " ".join((*source.words, *tokens, PANIC))
    kept = [line for line in lines if not _OWN.match(line)]
    head = (
        f"# vfiostate.setup={setup}: an entry that is booted once, to see whether the new command line works;",
        "# then it is removed.",
        f"title vfiostate: trial boot of setup {setup}",
    )
    return "".join(f"{line}\n" for line in (*head, *kept, f"options {words}")).encode("utf-8", "surrogateescape")


def added(place: str, setup: str, lines: Sequence[str], tokens: Sequence[str], mode: int) -> EditFile:
    """The edit that makes the entry. Raises ValueError as `script` does."""
    return new_file(place, script(setup, lines, tokens), "add an entry for one trial boot", mode=mode)


def removed(trial: Trial) -> tuple[RemoveFile, ...]:
    """What takes the entry away again; nothing where there is none."""
    why = "the trial boot has proved itself: its entry is not needed any more"
    return (RemoveFile(trial.place, trial.file, why),) if trial.file is not None else ()


def chosen() -> RunCommand:
    """The command that chooses the entry for the next boot.

    The variable is no file to be kept: only bootctl may take it away (efivarfs makes it immutable), and the next boot
    does.
    """
    argv = ("bootctl", "set-oneshot", ID)
    undo = Inverse(("bootctl", "set-oneshot", ""))
    return RunCommand(argv, "choose the trial entry for the next boot, and for that one only", undo, timeout=120.0)
