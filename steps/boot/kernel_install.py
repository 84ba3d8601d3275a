"""kernel-install: what it makes boot entries of, which entries are its own, and the commands that make them anew.

It takes the command line from /etc/kernel/cmdline, else from /usr/lib/kernel/cmdline, else from the running kernel
(kernel-install(8); src/kernel-install/90-loaderentry.install.in, 60-ukify.install.in). Of the running kernel it would
take our words, and those of a trial, for every kernel that comes, on the way back too: so a file has to be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from steps import cmdline
from steps.actions import Action, EditFile, Regenerate, RunCommand
from steps.base import Finding, Host, Severity
from steps.boot.grub_sites import Site
from steps.boot.systemd_boot_entry import ENTRIES, IMAGES, MenuEntry, uncounted
from steps.boot.systemd_boot_menu import Identity
from steps.insertion import new_file
from steps.reading import matching

CMDLINE, VENDOR = "/etc/kernel/cmdline", "/usr/lib/kernel/cmdline"
TRIES = "/etc/kernel/tries"
# Debian's package systemd-boot: whenever an initramfs is written, kernel-install copies it to where the loader looks.
HOOK = "/etc/initramfs/post-update.d/systemd-boot"
UPDATE_ALL = ("update-initramfs", "-u", "-k", "all")


@dataclass(frozen=True, slots=True)
class Made:
    """An entry that a command makes: for which kernel, by which one, what that writes, and what undoes it. `token` is
    what kernel-install names it after; `hooked` is whether a rebuild of the initramfs makes it anew by itself."""

    entry: MenuEntry
    release: str
    argv: tuple[str, ...]
    products: tuple[str, ...]
    undo: Regenerate
    token: str = ""
    hooked: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """The command line that entries are made of: the words in it, and where more are put. `content` is None where the
    file to be edited is not there yet, and `base` what it begins with then."""

    words: tuple[str, ...] = ()
    site: Site | None = None
    content: bytes | None = None
    base: bytes = b""
    findings: tuple[Finding, ...] = ()

    def edit(self, tokens: Sequence[str]) -> Action | None:
        """The edit that adds words, None where there is no place for them."""
        if self.site is None:
            return None
        why = f"add {' '.join(tokens)} to the command line that boot entries are made of"
        insertion = self.site.insertion(tuple(tokens))
        if self.content is not None:
            return insertion.action(self.content, why)
        made: EditFile = new_file(self.site.path, insertion.apply(self.base), why)
        return made


def made(host: Host, entries: Sequence[MenuEntry], identity: Identity) -> tuple[Made, ...]:
    """Which of these entries kernel-install makes. One whose kernel is not installed any more is not made again."""
    if host.which("kernel-install") is None:
        return ()
    found = [each for entry in entries for token in identity.tokens if (each := _made(host, entry, token)) is not None]
    ours = {each.entry.path for each in found}
    return tuple(replace(each, undo=_undo(host, each, ours)) for each in found)


def _made(host: Host, entry: MenuEntry, token: str) -> Made | None:
    if not entry.id.startswith(f"{token.lower()}-"):
        return None
    suffix = ".efi" if entry.unified else ".conf"
    stem = uncounted(entry.path.rpartition("/")[2]).removesuffix(suffix)
    release = stem[len(token) + 1 :]
    if not entry.unified and entry.loader.rpartition(f"/{token}/")[2] != f"{release}/linux":
        return None
    # A name that is no release, such as Arch's /boot/vmlinuz-linux, has no modules.
    modules = [path for path in (f"/usr/lib/modules/{release}", f"/lib/modules/{release}") if host.lstat(path)]
    kernels = (*(f"{folder}/vmlinuz" for folder in modules), f"/boot/vmlinuz-{release}")
    kernel = next((path for path in kernels if host.lstat(path) is not None), None)
    if kernel is None or not modules:
        return None
    initrd = f"/boot/initrd.img-{release}"
    argv = ("kernel-install", "add", release, kernel, *((initrd,) if host.lstat(initrd) is not None else ()))
    products = _products(entry)
    undo = Regenerate(argv, made_of=dict.fromkeys(products, kernel))
    return Made(entry, release, argv, products, undo, token, hooked(host))


def _products(entry: MenuEntry) -> tuple[str, ...]:
    if entry.unified:
        return (entry.path,)
    return tuple(dict.fromkeys((entry.path, *(f"{entry.root}{path}" for path in (entry.loader, *entry.initrds)))))


def source(host: Host) -> Source:
    """Read the command line that entries are made of."""
    path = CMDLINE if host.lstat(CMDLINE) is not None else VENDOR
    try:
        content = host.read(path)
    except FileNotFoundError:
        return Source(findings=(_missing(host),))
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}."
        hint = f"Make {path} a readable text file of one line, then try again."
        return Source(findings=(_refusal("kernel-cmdline-unreadable", message, (str(error),), hint),))
    if b"\0" in content:
        at = f"first NUL byte at offset {content.index(0)}"
        hint = f"Look at it with `file {path}`; put back a text file of one line, then try again."
        return Source(findings=(_refusal("kernel-cmdline-binary", f"{path} is not a text file.", (at,), hint),))
    words = cmdline.split(content)
    end = len(content.rstrip())
    at_end = Site(host.resolve(CMDLINE), end, b" " if words else b"", b"")
    return Source(words, at_end, content if path == CMDLINE else None, content, _counted(host))


def expected(words: Sequence[str], token: str, machine_id: str) -> tuple[str, ...]:
    """The words of an entry that is made of these: its machine's id comes last where the entry is named after it."""
    named = token == machine_id and not any(word.startswith("systemd.machine_id=") for word in words)
    return (*words, *((f"systemd.machine_id={machine_id}",) if named else ()))


def commands(making: Sequence[Made]) -> tuple[RunCommand, ...]:
    """What makes the entries anew, each command once.

    Every one names the products of all, so that what came since is told from what another of them made.
    """
    products = tuple(dict.fromkeys(path for each in making for path in each.products))
    found = []
    for each in {one.argv: one for one in making}.values():
        why = f"make the boot entry of {each.release} anew, with its kernel and initramfs"
        found.append(RunCommand(each.argv, why, each.undo, products, timeout=900.0))
    return tuple(found)


def _undo(host: Host, made: Made, ours: set[str]) -> Regenerate:
    """What makes an entry anew; and with it those of kernels that came since, of the line that had our words.

    `ours` are the entries that are made now: another of the same kind is of a kernel that is not installed any more.
    """
    folder, suffix = (IMAGES, ".efi") if made.entry.unified else (ENTRIES, ".conf")
    kin = f"{made.entry.root}/{folder}/{made.token}-*{suffix}"
    there = tuple(path for path in matching(host, kin) if path not in ours)
    if hooked(host) and host.which(UPDATE_ALL[0]) is not None:
        # The hook makes every kernel's entry anew.
        return replace(made.undo, argv=UPDATE_ALL, kin=kin, there=there)
    each = tuple(word.replace(made.release, "{}") for word in made.argv)
    return replace(made.undo, kin=kin, there=there, each=each)


def hooked(host: Host) -> bool:
    """Whether a rebuild of an initramfs makes the boot entries anew by itself: Debian's dracut runs these hooks too."""
    return host.lstat(HOOK) is not None and any(host.which(name) is not None for name in (UPDATE_ALL[0], "dracut"))


def _missing(host: Host) -> Finding:
    try:
        running = cmdline.split(host.read("/proc/cmdline"))
    except OSError:
        running = ()
    words = cmdline.shown(
        word for word in running if not word.startswith(("BOOT_IMAGE=", "initrd=", "systemd.machine_id="))
    )
    return _refusal(
        "kernel-cmdline-missing",
        f"{CMDLINE} is not there: kernel-install gives the running kernel's command line to every kernel that comes.",
        (f"looked for: {CMDLINE}, {VENDOR}", f"/proc/cmdline: {words}"),
        f"So ours would stay on after the way back. Write the one line you want into {CMDLINE}, such as "
        f"`{words or 'root=… ro'}`; then try again.",
    )


def _counted(host: Host) -> tuple[Finding, ...]:
    if host.lstat(TRIES) is None:
        return ()
    return (
        _refusal(
            "boot-counting",
            f"{TRIES} is there: every entry made anew is counted, and renamed at boot.",
            (f"{TRIES} is there",),
            f"Move {TRIES} away as long as the set-up stands, then try again.",
        ),
    )


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)
