"""openSUSE's sdbootutil on the simulated machine, over systemd-boot or GRUB (grub2-bls): its entries, and bootctl.

The root is snapshot 1, snapshot 2 an older one that is read only. Sources: openSUSE/sdbootutil, sdbootutil
(`sedrootflags`, `update_entries_for_subvol`, `update_entry_conf`, `entry_conf_file`, `reuse_initrd`, `install_kernel`);
systemd, src/bootctl/bootctl-cleanup.c. With `dracut --reproducible` an image depends on nothing but what goes in.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from engine.hosts.simulated import firmware, generators, initramfs, kmod
from engine.hosts.simulated.doubles.base import Double, answer
from engine.hosts.simulated.initramfs import FORMAT, Archive
from engine.hosts.simulated.loaders import Item, Loader, systemd_boot
from engine.hosts.simulated.machine import Machine, kernels_in_boot
from engine.hosts.simulated.modelled import Place
from engine.hosts.simulated.parts import TextFile
from engine.hosts.simulated.sourced import SourceError
from steps.base import Completed
from steps.boot import sdbootutil_entries, systemd_boot_menu
from steps.boot.bls_entry import Version
from steps.boot.pe import settings
from steps.boot.systemd_boot_entry import ENTRIES, MenuEntry

CMDLINE = "/etc/kernel/cmdline"
GRUB_BLS = "/usr/share/grub2/x86_64-efi/grubbls.efi"
SUBVOLUME = "@/.snapshots/{}/snapshot"
RUNNING, OLDER = 1, 2
_GRUB = "GRUB 2.12"


class FailedError(Exception):
    """It ends with status 1; the text is what it says."""


def root_of(machine: Machine) -> str:
    """Where the EFI system partition is mounted."""
    return systemd_boot.partition(machine) or "/boot/efi"


def by_grub(machine: Machine) -> bool:
    """Whether it is grub2-bls."""
    return machine.exists(GRUB_BLS)


def destination(machine: Machine) -> str:
    """The boot loader's folder (boot_dst)."""
    name = settings(machine.text("/etc/os-release").encode()).get("NAME", "linux").lower().split()[0]
    return f"{root_of(machine)}/EFI/{name if by_grub(machine) else 'systemd'}"


def listed(machine: Machine) -> tuple[MenuEntry, ...]:
    """The entries in the order of the menu."""
    if not by_grub(machine):
        entries = systemd_boot.listed(machine)
    else:
        found, _ = systemd_boot_menu.entries(machine.tree, (root_of(machine),))
        entries = tuple(sorted(found, key=lambda entry: Version(entry.id), reverse=True))
    return tuple(map(sdbootutil_entries.with_release, entries))


def _token(machine: Machine) -> str:
    return machine.text("/etc/kernel/entry-token").strip() or machine.text("/etc/machine-id").strip()


def _options(machine: Machine, snapshot: int) -> str:
    """What goes into an entry of the line (create_boot_options)."""
    places = (CMDLINE, "/usr/lib/kernel/cmdline", "/proc/cmdline")
    text = machine.text(next(path for path in places if machine.exists(path)))
    return "\n".join(_line(machine, line, snapshot) for line in text.rstrip("\n").split("\n"))


def _line(machine: Machine, line: str, snapshot: int) -> str:
    line = re.sub(r"[ \t]+", " ", line)
    line = re.sub(r"^.*(initrd=[^ ]*|BOOT_IMAGE=[^ ]*)\s*", r"\1 ", line, count=1)
    line = re.sub(r"\b(?:BOOT_IMAGE|initrd)=[^ ]* ?", "", line, count=1)
    for key, value in (
        ("root=", machine.description.root),
        ("rootflags=subvol=", SUBVOLUME.format(snapshot)),
        ("systemd.machine_id=", machine.text("/etc/machine-id").strip()),
    ):
        there = re.search(rf"\b{re.escape(key)}[^ ]*", line)
        line = f"{line[: there.start()]}{key}{value}{line[there.end() :]}" if there else f"{line} {key}{value}"
    return line


def _of_snapshot(machine: Machine, snapshot: int) -> tuple[MenuEntry, ...]:
    pattern = rf"root={re.escape(machine.description.root)} .*rootflags=subvol={SUBVOLUME.format(snapshot)}"
    return tuple(entry for entry in listed(machine) if re.search(pattern, " ".join(entry.words)))


def _update(machine: Machine) -> None:
    options = _options(machine, RUNNING)
    if "\n" in options or "|" in options:
        raise FailedError("sed: -e expression #1, char 0: unterminated `s' command\n")
    for entry in _of_snapshot(machine, RUNNING):
        text = re.sub(
            r"^options\s*.*$", lambda _: f"options    {options}", machine.text(entry.path), flags=re.MULTILINE
        )
        machine.path(entry.path).write_text(text)


def _entry_path(machine: Machine, release: str, snapshot: int) -> str:
    lead = ("system-" if snapshot == RUNNING else "snapper-") if by_grub(machine) else ""
    return f"{root_of(machine)}/{ENTRIES}/{lead}{_token(machine)}-{release}-{snapshot}.conf"


def _packed(machine: Machine, release: str) -> bytes:
    """What dracut makes for a kernel. Raises FailedError."""
    index = kmod.read_index(machine, release)
    if index is None:
        raise FailedError(f"dracut[F]: Cannot find module directory /lib/modules/{release}/\n")
    try:
        return _reproducible(generators.of(machine).generate(machine, index))
    except SourceError as error:
        raise FailedError(str(error)) from None


def _reproducible(archive: Archive) -> bytes:
    found = {"format": FORMAT, "release": archive.release, "files": dict(archive.files)}
    return json.dumps(found, indent=1).encode()


def _install(machine: Machine, release: str, snapshot: int, image: bytes | None) -> None:
    """A kernel, its image (None: that of the entry is taken again) and its entry (install_kernel)."""
    kernel = machine.text(f"/usr/lib/modules/{release}/vmlinuz")
    if not kernel:
        raise FailedError(f"Error: Can't find /lib/modules/{release}/vmlinuz\n")
    folder = f"/{_token(machine)}/{release}"
    path = _entry_path(machine, release, snapshot)
    reused = () if image is not None else _initrds(machine, release, snapshot)
    content = image if image is not None or reused else _packed(machine, release)
    initrds = reused if content is None else (f"{folder}/initrd-{hashlib.sha1(content).hexdigest()}",)
    if content is not None:
        _put(machine, f"{root_of(machine)}{initrds[0]}", content)
    linux = f"{folder}/linux-{hashlib.sha1(kernel.encode()).hexdigest()}"
    _put(machine, f"{root_of(machine)}{linux}", kernel.encode())
    system = settings(machine.text("/etc/os-release").encode())
    title, key = system.get("PRETTY_NAME", f"Linux {release}"), system.get("ID", "linux")
    if snapshot != RUNNING:
        title, key = f"Snapper: {title} ({snapshot},{release},2026-01-01 00:00:00)", f"snapper-{key}"
    lines = (
        "# Boot Loader Specification type#1 entry",
        f"title      {title}",
        f"version    {snapshot}@{release}",
        f"sort-key   {key}",
        f"options    {_options(machine, snapshot)}",
        f"linux      {linux}",
        *(f"initrd     {each}" for each in initrds),
    )
    _put(machine, path, "".join(f"{line}\n" for line in lines).encode())
    _cleanup(machine)


def _initrds(machine: Machine, release: str, snapshot: int) -> tuple[str, ...]:
    path = _entry_path(machine, release, snapshot)
    return next((entry.initrds for entry in _of_snapshot(machine, snapshot) if entry.path == path), ())


def _put(machine: Machine, path: str, content: bytes) -> None:
    place = machine.path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists() or place.read_bytes() != content:
        place.write_bytes(content)
        place.chmod(0o644)


def _unnamed(machine: Machine) -> tuple[str, ...]:
    """The files below the token's folder that no entry names."""
    top = f"{root_of(machine)}/{_token(machine)}"
    named = {f"{each.root}{path}" for each in listed(machine) for path in (each.loader, *each.initrds)}
    files = (f"{top}/{release}/{name}" for release in machine.names(top) for name in machine.names(f"{top}/{release}"))
    return tuple(path for path in files if path not in named)


def _cleanup(machine: Machine) -> None:
    for path in _unnamed(machine):
        machine.unlink(path)


def sdbootutil(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """update-all-entries, mkinitrd, add-kernel RELEASE."""
    verb, *rest = argv[1:] or ("",)
    try:
        if verb == "update-all-entries":
            _update(machine)
        elif verb == "mkinitrd":
            for release in machine.names("/usr/lib/modules"):
                if machine.exists(f"/usr/lib/modules/{release}/vmlinuz"):
                    _install(machine, release, RUNNING, _packed(machine, release))
        elif verb == "add-kernel" and rest:
            _unpacked(machine, rest[0])
            _install(machine, rest[0], RUNNING, None)
        else:
            return answer(argv, stderr=f"Error: unknown command {verb}\n", status=1)
    except FailedError as error:
        return answer(argv, stderr=str(error), status=1)
    return answer(argv)


def _unpacked(machine: Machine, release: str) -> None:
    """The package has the kernel beside its modules, and nothing in /boot (kernelhooks.lua)."""
    if machine.exists(f"/boot/vmlinuz-{release}"):
        machine.put(f"/usr/lib/modules/{release}/vmlinuz", machine.text(f"/boot/vmlinuz-{release}"))


def bootctl(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """As everywhere, and cleanup with --dry-run or without."""
    if "cleanup" not in argv:
        return systemd_boot.bootctl(machine, argv, stdin)
    found, dry = _unnamed(machine), "--dry-run" in argv
    if not dry:
        _cleanup(machine)
    return answer(argv, stderr="".join(f"{'Would remove' if dry else 'Removed'} {path}\n" for path in found))


def btrfs(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """subvolume show /, property get -t s / ro."""
    if "property" in argv:
        return answer(argv, "ro=false\n")
    return answer(argv, f"{SUBVOLUME.format(RUNNING)}\n\tName: \t\t\tsnapshot\n")


@dataclass(frozen=True, slots=True)
class Sdbootutil:
    """See loaders.Loader."""

    name: str = "sdbootutil"
    captured: tuple[Place, ...] = ((CMDLINE, ""), ("/etc/kernel/entry-token", ""))

    @property
    def doubles(self) -> Mapping[str, Double]:
        """Its command, and those that it and we call."""
        return {"sdbootutil": sdbootutil, "bootctl": bootctl, "btrfs": btrfs}

    @property
    def files(self) -> Mapping[str, TextFile]:
        """Where snapper keeps the snapshots."""
        return {"/.snapshots/": TextFile("")}

    def install(self, machine: Machine) -> None:
        """`sdbootutil install`, then the entries of both snapshots, as the installer and snapper's plugin make them."""
        root = root_of(machine)
        machine.put(f"{destination(machine)}/grub.efi", "")
        machine.put(f"{destination(machine)}/installed_by_sdbootutil", f"{_token(machine)}\n")
        if not machine.exists("/etc/kernel/entry-token"):
            machine.put("/etc/kernel/entry-token", f"{_token(machine)}\n")
        if not by_grub(machine):
            machine.put(f"{root}/loader/entries.srel", "type1\n")
            machine.put(f"{root}/loader/loader.conf", "#timeout 3\n#console-mode keep\n\n")
        for release in kernels_in_boot(machine):
            _unpacked(machine, release)
            # Made before there was a place for it.
            staged = generators.of(machine).image(release)
            image = _reproducible(initramfs.parse(machine.path(staged).read_bytes()))
            machine.unlink(staged)
            for snapshot in (RUNNING, OLDER):
                _install(machine, release, snapshot, image)

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """As the kernel's package does it (kernelhooks.lua)."""
        return ("sdbootutil", "add-kernel", release)

    def menu(self, machine: Machine) -> tuple[Item, ...]:
        """Every entry, in the menu's order."""
        return tuple(_item(machine, entry) for entry in listed(machine))

    def next(self, machine: Machine) -> Item | None:
        """By what sdbootutil set as default, or the first."""
        entries = listed(machine)
        if by_grub(machine):
            block = machine.text(f"{destination(machine)}/grubenv").encode()
            found = sdbootutil_entries.grub_default(entries, block)
        else:
            found = systemd_boot.taken(machine, entries)
        return _item(machine, found) if found is not None else None

    def taken(self, machine: Machine) -> None:
        """The loader says who it is; systemd-boot uses up a choice for one boot."""
        if not by_grub(machine):
            systemd_boot.LOADER.taken(machine)
            return
        firmware.power_on(machine)
        firmware.set_text(machine, "LoaderInfo", _GRUB, volatile=True)


def _item(machine: Machine, entry: MenuEntry) -> Item:
    found = systemd_boot.item(machine, entry)
    found = replace(found, recovery=entry.title.startswith("Snapper: "))
    return replace(found, added=(f"BOOT_IMAGE={entry.loader}",)) if by_grub(machine) else found


LOADER: Loader = Sdbootutil()
