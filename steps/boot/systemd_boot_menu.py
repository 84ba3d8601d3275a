"""What systemd-boot finds on its partitions: the entries, the settings, the one that is taken, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from steps import cmdline
from steps.base import FileKind, Finding, Host, Severity
from steps.boot import efi, systemd_boot_order
from steps.boot.kernel_release import MODULES, release_of
from steps.boot.pe import PeError, settings, unified
from steps.boot.systemd_boot_entry import ENTRIES, IMAGES, MenuEntry, type1, type2
from steps.reading import Files, content_there, names_there

# In the order in which bootctl(1) and kernel-install(8) look for them.
PLACES = ("/efi", "/boot", "/boot/efi")
_WINDOWS = "EFI/Microsoft/Boot/bootmgfw.efi"


@dataclass(frozen=True, slots=True)
class Identity:
    """By what entries of this system are known: the names that kernel-install gives them, the machine's id, and what
    `root=` its root has."""

    tokens: tuple[str, ...] = ()
    machine_id: str = ""
    roots: frozenset[str] = frozenset()

    def owns(self, entry: MenuEntry) -> bool:
        """Whether an entry is of this system. Its machine-id decides where it has one; then names, then the root."""
        if entry.machine_id is not None:
            return entry.machine_id == self.machine_id
        named = any(
            entry.id.startswith(f"{token.lower()}-") or entry.loader.startswith(f"/{token}/") for token in self.tokens
        )
        return named or not self.roots.isdisjoint(entry.words)


@dataclass(frozen=True, slots=True)
class Menu:
    """`roots` are where the partitions are mounted, the EFI system partition first; `entries` are in the menu's order,
    without our trial; `taken` is the one that is booted by default, or the name of an automatic one. `asked` is whether
    bootctl named the partitions, rather than what lies on them."""

    roots: tuple[str, ...]
    asked: bool = False
    entries: tuple[MenuEntry, ...] = ()
    taken: MenuEntry | str | None = None
    trial: MenuEntry | None = None
    identity: Identity = Identity()
    findings: tuple[Finding, ...] = ()

    @property
    def own(self) -> tuple[MenuEntry, ...]:
        """The entries of this system."""
        return tuple(entry for entry in self.entries if self.identity.owns(entry))

    @property
    def default(self) -> MenuEntry | None:
        """The entry that is taken, where it is one with a file."""
        return self.taken if isinstance(self.taken, MenuEntry) else None


def read(host: Host, trial: str) -> Menu:
    """Read the menu; `trial` is the id of our own entry, which counts for nothing here."""
    named = _named(host)
    roots = named or _seen(host)
    found, complaints = entries(host, roots)
    everything = systemd_boot_order.ordered(found)
    listed = tuple(entry for entry in everything if entry.id != trial)
    taken = choice(host, roots, listed)
    own = next((entry for entry in everything if entry.id == trial), None)
    return Menu(roots, bool(named), listed, taken, own, identity(host), complaints)


def entries(host: Files, roots: Sequence[str]) -> tuple[tuple[MenuEntry, ...], tuple[Finding, ...]]:
    """Every entry that the loader finds on these partitions, in no order, and what it would stumble over."""
    found = [each for root in roots for each in (*_type1(host, root), *_type2(host, root))]
    listed = tuple(each for each in found if isinstance(each, MenuEntry))
    return listed, tuple(each for each in found if isinstance(each, Finding))


def choice(host: Files, roots: Sequence[str], listed: Sequence[MenuEntry]) -> MenuEntry | str | None:
    """Which of these, in the menu's order, is taken when nobody touches the menu and nothing is chosen for once."""
    conf = systemd_boot_order.loader_conf(content_there(host, f"{roots[0]}/loader/loader.conf") if roots else b"")
    variables = {name: efi.variable(host, name) for name in ("LoaderEntryDefault", "LoaderEntryLastBooted")}
    automatic = ["auto-windows"] if any(host.lstat(f"{root}/{_WINDOWS}") is not None for root in roots) else []
    return systemd_boot_order.default(listed, conf, variables, automatic=automatic)


def _named(host: Host) -> tuple[str, ...]:
    """The EFI system partition and, where it is another, the extended boot loader partition, as bootctl knows them."""
    said = (_asked(host, option) for option in ("--print-esp-path", "--print-boot-path"))
    return tuple(dict.fromkeys(path for path in said if path))


def _seen(host: Host) -> tuple[str, ...]:
    """Where there is something of the loader's."""
    signs = ("loader/loader.conf", ENTRIES, IMAGES)
    return tuple(place for place in PLACES if any(host.lstat(f"{place}/{sign}") is not None for sign in signs))


def _asked(host: Host, option: str) -> str:
    if host.which("bootctl") is None:
        return ""
    try:
        done = host.query(("bootctl", option))
    except TimeoutError:
        return ""
    path = done.text.strip()
    return path if done.ok and path.startswith("/") and host.lstat(path) is not None else ""


def identity(host: Host) -> Identity:
    """Read by what this system's entries are known."""
    release = settings(content_there(host, "/etc/os-release") or content_there(host, "/usr/lib/os-release"))
    info = settings(content_there(host, "/etc/machine-info"))
    machine_id = info.get("KERNEL_INSTALL_MACHINE_ID") or content_there(host, "/etc/machine-id").decode(
        errors="replace"
    )
    token = content_there(host, "/etc/kernel/entry-token").decode(errors="replace").strip()
    # kernel-install(8), "--entry-token": the first of these for which there is a directory, when none is configured.
    guessed = (machine_id.strip(), release.get("IMAGE_ID", ""), release.get("ID", ""), "Default")
    tokens = (token,) if token else tuple(filter(None, guessed))
    running = (word for word in cmdline.split(content_there(host, "/proc/cmdline")) if word.startswith("root="))
    return Identity(tokens, machine_id.strip(), frozenset((*running, *_fstab_root(host))))


def _fstab_root(host: Host) -> Iterator[str]:
    for line in content_there(host, "/etc/fstab").decode("utf-8", "replace").splitlines():
        fields = line.split()
        if len(fields) > 1 and not line.lstrip().startswith("#") and fields[1] == "/":
            yield f"root={fields[0]}"


def _type1(host: Files, root: str) -> Iterator[MenuEntry | Finding]:
    folder = f"{root}/{ENTRIES}"
    for name in names_there(host, folder):
        if not name.lower().endswith(".conf") or name.startswith((".", "auto-")):
            continue
        path = f"{folder}/{name}"
        found = host.lstat(path)
        if found is None or found.kind is FileKind.DIRECTORY:
            continue
        try:
            content = host.read(path)
        except OSError as error:
            yield _unreadable(path, error)
            continue
        if b"\0" in content:
            at = f"first NUL byte at offset {content.index(0)}"
            yield _refusal("boot-entry-binary", f"{path} is not a text file.", at, path)
            continue
        entry = type1(root, name, content)
        # The loader passes over an entry whose file to start is not there.
        if entry is not None and host.lstat(f"{root}{entry.loader}") is not None:
            yield replace(entry, release=_release(host, entry))


def _release(host: Files, entry: MenuEntry) -> str | None:
    """The release by the name of the kernel's file, which may be its package's, where there are modules of it here;
    else what the entry says."""
    named = entry.loader.rpartition("/vmlinuz-")
    names = (named[2] if named[1] else None, entry.release)
    found = (release_of(host, name) for name in names if name)
    return next((each for each in found if host.lstat(f"{MODULES}/{each}") is not None), entry.release)


def _type2(host: Files, root: str) -> Iterator[MenuEntry | Finding]:
    folder = f"{root}/{IMAGES}"
    for name in names_there(host, folder):
        path = f"{folder}/{name}"
        found = host.lstat(path)
        if not name.lower().endswith(".efi") or name.startswith((".", "auto-")) or found is None:
            continue
        if found.kind is FileKind.DIRECTORY:
            continue
        try:
            yield type2(root, name, unified(host.read(path)))
        except PeError as error:
            yield _refusal("boot-image-damaged", f"{path} is no unified kernel image: {error}.", str(error), path)
        except OSError as error:
            yield _unreadable(path, error)


def _unreadable(path: str, error: OSError) -> Finding:
    return _refusal("boot-entry-unreadable", f"{path} cannot be read: {error.strerror or error}.", str(error), path)


def _refusal(code: str, message: str, evidence: str, path: str) -> Finding:
    hint = f"Put {path} back from a backup, or move it away if it is not needed; then try again."
    return Finding(code, Severity.REFUSAL, message, (evidence,), hint)
