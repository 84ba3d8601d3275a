"""proxmox-boot-tool on the simulated machine: EFI system partitions that are mounted only while it writes to them.

They lie in DIR/.esp/UUID, where no path of the machine leads. Source: proxmox-kernel-helper (proxmox-boot-tool,
zz-proxmox-boot, functions): the kernels chosen, what is copied, the entries' text, and how it fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engine.hosts.simulated.doubles.base import Double, answer
from engine.hosts.simulated.generators import initramfs_tools
from engine.hosts.simulated.grub_mkconfig import SettingsError, configuration
from engine.hosts.simulated.loaders import Item, Loader, systemd_boot
from engine.hosts.simulated.loaders.grub import SETTINGS
from engine.hosts.simulated.machine import Machine, kernels_in_boot
from engine.hosts.simulated.modelled import Place
from engine.hosts.simulated.parts import TextFile
from steps.base import Completed
from steps.boot import grub_cfg, systemd_boot_order
from steps.boot.systemd_boot_entry import ENTRIES, MenuEntry, type1

ESP_LIST = "/etc/kernel/proxmox-boot-uuids"
CMDLINE = "/etc/kernel/cmdline"
PINS = ("/etc/kernel/next-boot-pin", "/etc/kernel/proxmox-boot-pin")
SNIPPET = "/etc/default/grub.d/proxmox-kernel-pin.cfg"
LOADER_CONF = "loader/loader.conf"


class RefreshError(Exception):
    """The refresh ends with status 1; the text is what it says."""


def partitions(machine: Machine) -> tuple[str, ...]:
    """Where the partitions of the list lie that are plugged in."""
    uuids = [line.strip() for line in machine.text(ESP_LIST).splitlines() if line.strip()]
    return tuple(f"/.esp/{uuid}" for uuid in uuids if machine.exists(f"/dev/disk/by-uuid/{uuid}"))


def by_grub(machine: Machine, esp: str) -> bool:
    """Whether GRUB boots a partition: its loader of Proxmox lies there, or the machine has no UEFI."""
    return not machine.description.uefi or machine.exists(f"{esp}/EFI/proxmox/grubx64.efi")


def refresh(machine: Machine) -> str:
    """Copy the kernels and write the entries of all partitions; what it says. Raises RefreshError, SettingsError."""
    said = "Running hook script 'zz-proxmox-boot'..\n"
    line = _command_line(machine)
    for esp in partitions(machine):
        said += f"Copying and configuring kernels on /dev/disk/by-uuid/{esp.rpartition('/')[2]}\n"
        (_write_grub if by_grub(machine, esp) else _write_entries)(machine, esp, line)
    return said


def _command_line(machine: Machine) -> str:
    if not machine.exists(CMDLINE):
        return " ".join(word for word in machine.cmdline if not word.startswith("initrd="))
    line = machine.text(CMDLINE).partition("\n")[0]
    if "root=" not in line:
        raise RefreshError(f"No root= parameter in {CMDLINE} found!\n")
    return line


def selected(machine: Machine) -> tuple[str, ...]:
    """The kernels that are copied: the running one, the two newest, and those that are pinned."""
    there = kernels_in_boot(machine)
    wanted = {machine.release, *there[:2], *(pin for pin in map(_first_line(machine), PINS))}
    return tuple(release for release in there if release in wanted)


def _first_line(machine: Machine) -> Callable[[str], str]:
    return lambda path: machine.text(path).partition("\n")[0]


def _pinned(machine: Machine) -> str:
    return next((pin for pin in map(_first_line(machine), PINS) if pin), "")


def _write_entries(machine: Machine, esp: str, line: str) -> None:
    for release in selected(machine):
        folder = f"/EFI/proxmox/{release}"
        _copy(machine, release, f"{esp}{folder}")
        machine.put(
            f"{esp}/{ENTRIES}/proxmox-{release}.conf",
            f"title    Proxmox Virtual Environment\nversion  {release}\noptions  {line}\n"
            f"linux    {folder}/vmlinuz-{release}\ninitrd   {folder}/initrd.img-{release}\n",
        )
    pin = _pinned(machine)
    machine.put(f"{esp}/{LOADER_CONF}", f"timeout 3\ndefault proxmox-{f'{pin}.conf' if pin else '*'}\n")
    for name in machine.names(f"{esp}/{ENTRIES}"):
        release = name.removeprefix("proxmox-").removesuffix(".conf")
        if name.startswith("proxmox-") and release not in selected(machine):
            machine.remove_tree(f"{esp}/EFI/proxmox/{release}")
            machine.unlink(f"{esp}/{ENTRIES}/{name}")


def _write_grub(machine: Machine, esp: str, line: str) -> None:
    """update-grub with the partition mounted at /boot: its kernels, its grub.cfg."""
    for release in selected(machine):
        _copy(machine, release, esp)
    pin = _pinned(machine)
    if pin:
        root = machine.description.root.removeprefix("UUID=")
        entry = f"gnulinux-advanced-{root}>gnulinux-{pin}-advanced-{root}"
        machine.put(SNIPPET, f'GRUB_DEFAULT="{entry}"\n')
    else:
        machine.unlink(SNIPPET)
    machine.put(f"{esp}/grub/grub.cfg", configuration(machine, boot=""), 0o600)


def _copy(machine: Machine, release: str, folder: str) -> None:
    for name in (f"vmlinuz-{release}", f"initrd.img-{release}"):
        machine.put(f"{folder}/{name}", machine.text(f"/boot/{name}"))


def proxmox_boot_tool(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """refresh, status, and kernel list, pin and unpin."""
    words = list(argv[1:])
    if words[:1] == ["refresh"]:
        return _refreshed(machine, argv)
    if not machine.exists(ESP_LIST):
        return answer(argv, stderr=f"E: {ESP_LIST} does not exist.\n", status=2)
    if words[:1] == ["status"]:
        return answer(argv, "" if "--quiet" in words else _status(machine))
    if words[:2] == ["kernel", "list"]:
        return answer(argv, "Automatically selected kernels:\n" + "".join(f"{each}\n" for each in selected(machine)))
    if words[:2] == ["kernel", "pin"] and len(words) > 2:
        pin = PINS[0 if "--next-boot" in words else 1]
        machine.put(pin, f"{words[2]}\n")
        return answer(argv, f"Set kernel '{words[2]}' in {pin}. Use the 'refresh' command to update the ESPs.\n")
    return answer(argv, stderr=f"USAGE: {argv[0]} <commands> [ARGS]\n", status=1)


def _refreshed(machine: Machine, argv: Sequence[str]) -> Completed:
    try:
        return answer(argv, refresh(machine))
    except (RefreshError, SettingsError) as error:
        return answer(argv, stderr=str(error), status=1)


def _status(machine: Machine) -> str:
    said = f"System currently booted with {'uefi' if machine.description.uefi else 'legacy bios'}\n"
    for esp in partitions(machine):
        kind = "grub" if by_grub(machine, esp) else "uefi"
        said += f"{esp.rpartition('/')[2]} is configured with: {kind} (versions: {', '.join(selected(machine))})\n"
    return said


def update_grub(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """The grub.cfg in /boot, which nothing boots by, after a refresh (grub.d/000_proxmox_boot_header)."""
    done = _refreshed(machine, argv)
    if done.ok:
        machine.put("/boot/grub/grub.cfg", configuration(machine), 0o600)
    return done


def update_initramfs(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """As everywhere, and then a refresh (post-update.d/proxmox-boot-sync), unless a kernel package calls it."""
    done = initramfs_tools.update_initramfs(machine, argv, stdin)
    return _refreshed(machine, argv) if done.ok and "-u" in argv else done


def grub_fstest(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """DEVICE ls FOLDER and DEVICE cat FILE, as the real one answers: a folder that is missing lists nothing."""
    device, command, path = argv[1:4]
    if not machine.exists(device):
        text = f"grub-fstest: error: `loopback' command fails: can't open `{device}': No such file or directory.\n"
        return answer(argv, stderr=text, status=1)
    place = f"/.esp/{device.rpartition('/')[2]}{path}"
    if command == "ls":
        names = machine.names(place)
        shown = (f"{name}/" if machine.path(f"{place}/{name}").is_dir() else name for name in names)
        return answer(argv, " ".join(shown) + "\n" if machine.path(place).is_dir() else "")
    if not machine.path(place).is_file():
        text = f"grub-fstest: error: cannot open `{path}': file `{path}' not found.\n"
        return answer(argv, stderr=text, status=1)
    return answer(argv, machine.text(place))


@dataclass(frozen=True, slots=True)
class ProxmoxBootTool:
    """See loaders.Loader."""

    name: str = "proxmox-boot-tool"
    captured: tuple[Place, ...] = (*SETTINGS, ("/etc/kernel/cmdline", ""))

    @property
    def doubles(self) -> Mapping[str, Double]:
        """Its command, and those of others that it hooks into."""
        return {
            "proxmox-boot-tool": proxmox_boot_tool,
            "update-grub": update_grub,
            "update-initramfs": update_initramfs,
            "grub-fstest": grub_fstest,
        }

    @property
    def files(self) -> Mapping[str, TextFile]:
        """One partition in its list, plugged in."""
        script = TextFile("#!/bin/sh\n# modelled by the simulated machine\n", 0o755)
        return {
            ESP_LIST: TextFile("5A3B-09F2\n"),
            "/dev/disk/by-uuid/5A3B-09F2": TextFile(""),
            "/etc/kernel/postinst.d/zz-proxmox-boot": script,
            "/etc/grub.d/10_linux": script,
        }

    def install(self, machine: Machine) -> None:
        """`proxmox-boot-tool init`: the first refresh. What it cannot read is the description's."""
        for esp in partitions(machine):
            machine.path(f"{esp}/grub" if by_grub(machine, esp) else f"{esp}/EFI/proxmox").mkdir(parents=True)
        refresh(machine)
        machine.put("/boot/grub/grub.cfg", configuration(machine), 0o600)

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """As /etc/kernel/postinst.d/zz-proxmox-boot does it."""
        return ("proxmox-boot-tool", "refresh", "--hook", "zz-proxmox-boot")

    def menu(self, machine: Machine) -> tuple[Item, ...]:
        """The entries of all partitions, one after the other."""
        return tuple(item for esp in partitions(machine) for item in _items(machine, esp).values())

    def next(self, machine: Machine) -> Item | None:
        """The default of the first partition, from which the firmware boots."""
        esp = next(iter(partitions(machine)), None)
        if esp is None:
            return None
        items = _items(machine, esp)
        if by_grub(machine, esp):
            text = machine.text(f"{esp}/grub/grub.cfg").encode()
            found = grub_cfg.default_entry(text, {}, grub_cfg.entries(text))
            return items[repr(found.path)] if found is not None else None
        conf = systemd_boot_order.loader_conf(machine.text(f"{esp}/{LOADER_CONF}").encode())
        chosen = systemd_boot_order.default(_listed(machine, esp), conf, {})
        return items[chosen.id] if isinstance(chosen, MenuEntry) else None

    def taken(self, machine: Machine) -> None:
        """Nothing is made for one boot only: a kernel's pin is taken away by a service after it."""


def _listed(machine: Machine, esp: str) -> tuple[MenuEntry, ...]:
    """The entries of systemd-boot, in the menu's order."""
    names = machine.names(f"{esp}/{ENTRIES}")
    read = (type1(esp, name, machine.text(f"{esp}/{ENTRIES}/{name}").encode()) for name in names)
    return systemd_boot_order.ordered([each for each in read if each is not None])


def _items(machine: Machine, esp: str) -> dict[str, Item]:
    """The entries of a partition, by their place in GRUB's menu or their id."""
    if not by_grub(machine, esp):
        return {each.id: systemd_boot.item(machine, each) for each in _listed(machine, esp)}
    listed = grub_cfg.entries(machine.text(f"{esp}/grub/grub.cfg").encode())
    return {repr(each.path): _by_menu(esp, each) for each in listed}


def _by_menu(esp: str, entry: grub_cfg.MenuEntry) -> Item:
    kernel = f"{esp}{entry.kernel}" if entry.kernel else None
    initrd = f"{esp}/initrd.img-{entry.release}"
    added = (f"BOOT_IMAGE={entry.kernel}",)
    return Item(entry.title, kernel, entry.release or "", entry.arguments, initrd, entry.recovery, added)


LOADER: Loader = ProxmoxBootTool()
