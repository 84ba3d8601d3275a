"""systemd-boot on the simulated machine: bootctl, kernel-install, its menu, and the entry that is taken.

Sources: bootctl(1), src/boot/bootctl*.c and src/boot/efi/boot.c of systemd.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.hosts.simulated import firmware, kernel_install
from engine.hosts.simulated.doubles.base import Double, answer
from engine.hosts.simulated.loaders import Item, Loader
from engine.hosts.simulated.machine import Machine, kernels_in_boot
from engine.hosts.simulated.modelled import Place
from engine.hosts.simulated.parts import TextFile
from steps import cmdline
from steps.base import Completed
from steps.boot import efi, systemd_boot_menu, systemd_boot_order
from steps.boot.pe import sections
from steps.boot.systemd_boot_entry import MenuEntry

VERSION = "systemd-boot 252.39-1~deb12u2"
HOOK = "/etc/initramfs/post-update.d/systemd-boot"
HOOKS = (HOOK, "/etc/kernel/postinst.d/zz-systemd-boot", "/etc/kernel/postrm.d/zz-systemd-boot")
# EFI_LOADER_FEATURE_…: all that 252 can.
_FEATURES = (0x3FFF).to_bytes(8, "little")


def partition(machine: Machine) -> str | None:
    """Where the EFI system partition is mounted: a FAT at one of the places where bootctl looks."""
    mounted = {one.target for one in machine.description.mounts if one.type == "vfat"}
    return next((place for place in systemd_boot_menu.PLACES if place in mounted), None)


def listed(machine: Machine) -> tuple[MenuEntry, ...]:
    """The entries in the menu's order."""
    root = partition(machine)
    found, _ = systemd_boot_menu.entries(machine.tree, (root,) if root else ())
    return systemd_boot_order.ordered(found)


def taken(machine: Machine, entries: Sequence[MenuEntry]) -> MenuEntry | None:
    """The entry that is taken when nobody touches the menu: chosen for once, or the default."""
    once = firmware.text(machine, "LoaderEntryOneShot").lower()
    found = next((entry for entry in entries if once and fnmatch.fnmatchcase(entry.id, once)), None)
    root = partition(machine)
    chosen = found or systemd_boot_menu.choice(machine.tree, (root,) if root else (), entries)
    return chosen if isinstance(chosen, MenuEntry) else None


def bootctl(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """-p, -x, is-installed, list, status, set-oneshot, set-default."""
    words = [word for word in argv[1:] if not word.startswith("-")]
    if "--version" in argv:
        return answer(argv, "systemd 252 (252.39-1~deb12u2)\n")
    root = partition(machine)
    if root is None:
        text = "Couldn't find EFI system partition. It is recommended to mount it to /boot or /efi.\n"
        return answer(argv, stderr=text, status=1)
    if {"-p", "--print-esp-path", "-x", "--print-boot-path"} & set(argv):
        return answer(argv, f"{root}\n")
    verb = words[0] if words else "status"
    if verb == "is-installed":
        there = machine.exists(f"{root}/EFI/systemd/systemd-bootx64.efi")
        said = "" if "--quiet" in argv else "yes\n" if there else "no\n"
        return answer(argv, said, status=0 if there else 1)
    if verb in ("set-oneshot", "set-default"):
        return _choose(machine, argv, verb, words[1:] or list(argv[-1:]))
    if verb in ("list", "status"):
        return _list(machine, argv) if verb == "list" else _status(machine, argv, root)
    return answer(argv, stderr=f"Unknown command verb {verb}.\n", status=1)


def _choose(machine: Machine, argv: Sequence[str], verb: str, rest: Sequence[str]) -> Completed:
    if not machine.description.uefi:
        return answer(argv, stderr="Not booted with UEFI.\n", status=1)
    if not firmware.text(machine, "LoaderInfo"):
        return answer(argv, stderr="Not booted with a supported boot loader.\n", status=1)
    name = "LoaderEntryOneShot" if verb == "set-oneshot" else "LoaderEntryDefault"
    special = {"@oneshot": "LoaderEntryOneShot", "@default": "LoaderEntryDefault", "@current": "LoaderEntrySelected"}
    wanted = rest[0]
    if wanted in special:
        wanted = firmware.text(machine, special[wanted])
        if not wanted:
            text = f"Failed to get EFI variable '{special[rest[0]]}': No such file or directory\n"
            return answer(argv, stderr=text, status=1)
    elif wanted.startswith("@") and wanted != systemd_boot_order.SAVED:
        return answer(argv, stderr=f"Unsupported special entry identifier: {wanted}\n", status=1)
    firmware.set_text(machine, name, wanted)
    return answer(argv)


def _list(machine: Machine, argv: Sequence[str]) -> Completed:
    entries = listed(machine)
    default, selected = taken(machine, entries), firmware.text(machine, "LoaderEntrySelected")
    rows = [
        {
            "type": "type2" if one.unified else "type1",
            "id": one.id,
            "path": one.path,
            "root": one.root,
            "title": one.title,
            "sortKey": one.sort_key,
            "version": one.version,
            "machineId": one.machine_id,
            "options": cmdline.shown(one.words),
            "isDefault": one is default,
            "isSelected": one.id == selected,
        }
        for one in entries
    ]
    if any(word.startswith("--json") and word != "--json=off" for word in argv):
        return answer(argv, json.dumps([{k: v for k, v in row.items() if v is not None} for row in rows]) + "\n")
    text = "".join(f"        title: {row['title']}\n           id: {row['id']}\n" for row in rows)
    return answer(argv, f"Boot Loader Entries:\n{text}")


def _status(machine: Machine, argv: Sequence[str], root: str) -> Completed:
    said = f"Current Boot Loader:\n      Product: {firmware.text(machine, 'LoaderInfo') or 'n/a'}\n"
    return answer(argv, f"{said}\nAvailable Boot Loaders on ESP:\n          ESP: {root}\n")


def hook(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Debian's hook, after an initramfs was written: RELEASE IMAGE."""
    if not bootctl(machine, ("bootctl", "is-installed", "--quiet"), b"").ok:
        return answer(argv)
    release, image = argv[1:3]
    done = kernel_install.run(machine, ("kernel-install", "add", release, f"/boot/vmlinuz-{release}", image), b"")
    said = f"Updating kernel version {release} in systemd-boot...\n"
    return answer(argv, said + done.text, stderr=done.stderr.decode(), status=done.status)


@dataclass(frozen=True, slots=True)
class SystemdBoot:
    """See loaders.Loader."""

    name: str = "systemd-boot"
    captured: tuple[Place, ...] = (
        ("/etc/kernel/cmdline", ""),
        ("/etc/kernel/install.conf", ""),
        ("/etc/kernel/install.conf.d", ".conf"),
        ("/etc/kernel/uki.conf", ""),
    )

    @property
    def doubles(self) -> Mapping[str, Double]:
        """Its commands, and its hook by the path it lies at."""
        return {"bootctl": bootctl, "kernel-install": kernel_install.run, HOOK: hook}

    @property
    def files(self) -> Mapping[str, TextFile]:
        """Nothing that does not depend on the distribution."""
        return {}

    def install(self, machine: Machine) -> None:
        """`bootctl install`, then kernel-install for every kernel, as the postinst of Debian's package does it."""
        root = partition(machine) or "/boot"
        machine.put(f"{root}/EFI/systemd/systemd-bootx64.efi", f"#### LoaderInfo: {VERSION} ####\n")
        if not machine.exists(f"{root}/loader/loader.conf"):
            machine.put(f"{root}/loader/loader.conf", "#timeout 3\n#console-mode keep\n")
        machine.put(f"{root}/loader/entries.srel", "type1\n")
        machine.path(f"{root}/loader/entries").mkdir(parents=True, exist_ok=True)
        machine.path(f"{root}/EFI/Linux").mkdir(parents=True, exist_ok=True)
        if not any(path.endswith("/kernel-install") for path in machine.description.commands):
            return
        for path in HOOKS if machine.description.distribution == "Debian" else ():
            machine.put(path, "#!/bin/sh\n# modelled by the simulated machine\n", 0o755)
        machine.put("/proc/cmdline", f"root={machine.description.root} ro quiet\n")
        for release in kernels_in_boot(machine):
            kernel_install.run(machine, self.kernel_installed(release), b"")

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """As /etc/kernel/postinst.d/zz-systemd-boot does it."""
        return ("kernel-install", "add", release, f"/boot/vmlinuz-{release}")

    def menu(self, machine: Machine) -> tuple[Item, ...]:
        """Every entry, in the menu's order."""
        return tuple(item(machine, one) for one in listed(machine))

    def next(self, machine: Machine) -> Item | None:
        """By LoaderEntryOneShot, LoaderEntryDefault, loader.conf, or the first."""
        found = taken(machine, listed(machine))
        return item(machine, found) if found is not None else None

    def taken(self, machine: Machine) -> None:
        """The choice for one boot is deleted as soon as it has been read; the loader says who it is."""
        found = taken(machine, listed(machine))
        firmware.power_on(machine)
        firmware.set_text(machine, "LoaderEntryOneShot", "")
        firmware.set_text(machine, "LoaderInfo", VERSION, volatile=True)
        firmware.put(machine, "LoaderFeatures", _FEATURES, volatile=True)
        if found is not None:
            firmware.set_text(machine, "LoaderEntrySelected", found.id, volatile=True)


def item(machine: Machine, entry: MenuEntry) -> Item:
    """What an entry starts, with the initramfs as a word of the command line for the kernel's EFI stub."""
    kernel = f"{entry.root}{entry.loader}"
    if entry.unified or entry.loader.lower().endswith(".efi"):
        return _unified(machine, entry, kernel)
    initrds = [f"{entry.root}{path}" for path in entry.initrds]
    added = tuple(f"initrd={path}".replace("/", "\\") for path in entry.initrds)
    return Item(entry.title, kernel, entry.release or "", entry.words, (*initrds, "")[0], entry.way_out, added)


def _unified(machine: Machine, entry: MenuEntry, kernel: str) -> Item:
    """What the stub makes of it: a command line that it is handed counts while Secure Boot is off (systemd-stub(7))."""
    found = dict(sections(machine.path(kernel).read_bytes()))
    if ".linux" not in found:
        return Item(entry.title, None, "", entry.words, "", entry.way_out)
    embedded = cmdline.split(found.get(".cmdline", b"").rstrip(b"\0"))
    words = entry.words if entry.words and not (embedded and efi.secure_boot(machine.tree)) else embedded
    release = found.get(".uname", b"").decode(errors="replace")
    return Item(entry.title, kernel, release, words, kernel, entry.way_out, archive=found.get(".initrd", b""))


LOADER: Loader = SystemdBoot()
