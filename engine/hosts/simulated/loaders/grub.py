"""GRUB on the simulated machine: its commands, its menu, and the choice it makes of its entries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.hosts.simulated import generators
from engine.hosts.simulated.doubles.base import Double, answer
from engine.hosts.simulated.grub_mkconfig import SettingsError, configuration
from engine.hosts.simulated.loaders import Item, Loader
from engine.hosts.simulated.machine import Machine, kernels_in_boot
from engine.hosts.simulated.modelled import Place
from engine.hosts.simulated.parts import TextFile
from journal.errors import ConfigurationError, sentence
from steps.base import Completed
from steps.boot import grub_cfg
from steps.boot.grub_names import GRUB, GrubNames

SIGNATURE = "# GRUB Environment Block\n"
# /etc/grub.d stays out: it may hold password hashes.
SETTINGS: tuple[Place, ...] = (("/etc/default/grub", ""), ("/etc/default/grub.d", ".cfg"))


def update_grub(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Write /boot/grub/grub.cfg anew."""
    return grub_mkconfig(machine, [GRUB.mkconfig, "-o", GRUB.cfg], stdin)


def grub_mkconfig(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Make a grub.cfg: to `-o FILE` or to standard output. A failure leaves the old file alone."""
    try:
        text = configuration(machine, argv[0])
    except SettingsError as error:
        return answer(argv, stderr=str(error), status=2)
    target = argv[argv.index("-o") + 1] if "-o" in argv[:-1] else None
    said = "Generating grub configuration file ...\n"
    for release in kernels_in_boot(machine):
        said += f"Found linux image: /boot/vmlinuz-{release}\n"
        image = generators.of(machine).image(release)
        if machine.exists(image):
            said += f"Found initrd image: {image}\n"
    if machine.exists("/sys/firmware/efi"):
        said += "Adding boot menu entry for UEFI Firmware Settings ...\n"
    said += "done\n"
    if target is None:
        return answer(argv, text, stderr=said)
    # In place, as grub-mkconfig does it: inode and mode stay, and nothing is synced.
    place = machine.path(target)
    machine.put(target, text, place.stat().st_mode & 0o777 if place.exists() else 0o600)
    return answer(argv, stderr=said)


def grub_reboot(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Name the entry of the next boot only."""
    return _set_environment(machine, argv, {"next_entry": argv[-1]}, _block_of(argv))


def grub_set_default(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Name the saved entry."""
    return _set_environment(machine, argv, {"saved_entry": argv[-1]}, _block_of(argv))


def grub_editenv(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """list, set and unset, on `-` or a file."""
    words = [word for word in argv[1:] if word != "-"]
    block = words.pop(0) if words and words[0].startswith("/") else _block_of(argv)
    if machine.exists(block) and not machine.text(block).startswith(SIGNATURE):
        return answer(argv, stderr=f"{argv[0]}: error: invalid environment block.\n", status=1)
    if words[:1] == ["list"] or not words:
        return answer(argv, "".join(f"{key}={value}\n" for key, value in _environment(machine, block).items()))
    changes = {key: value if sign else None for key, sign, value in (word.partition("=") for word in words[1:])}
    return _set_environment(machine, argv, changes, block)


def _block_of(argv: Sequence[str]) -> str:
    """The block that a command of this name writes by itself."""
    return GrubNames(argv[0].rpartition("/")[2].partition("-")[0]).env


def _environment(machine: Machine, block: str) -> dict[str, str]:
    return dict(grub_cfg.environment(machine.text(block).encode()))


def _set_environment(machine: Machine, argv: Sequence[str], changes: Mapping[str, str | None], block: str) -> Completed:
    values: dict[str, str | None] = {**_environment(machine, block), **changes}
    text = SIGNATURE + "".join(f"{k}={v}\n" for k, v in values.items() if v is not None)
    # The block is 1024 bytes, filled up with #, so that GRUB can write it without allocating (GRUB manual, 16.1).
    # Truncated and written, as grub-editenv does it: cut short, it is empty.
    machine.put(block, text + "#" * (1024 - len(text)))
    return answer(argv)


FS = {"ext3": "ext2", "ext4": "ext2", "vfat": "fat"}


def grub_probe(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """--target=fs and --target=abstraction of a path, by the description's mounts and disks."""
    target = next((word.removeprefix("--target=") for word in argv if word.startswith("--target=")), "fs")
    path = argv[-1]
    if not machine.exists(path):
        text = f"grub-probe: error: failed to get canonical path of `{path}'.\n"
        return answer(argv, stderr=text, status=1)
    mounts = [one for one in machine.description.mounts if f"{path}/".startswith(one.target.rstrip("/") + "/")]
    mount = max(mounts, key=lambda one: len(one.target), default=None)
    if target == "fs":
        return answer(argv, f"{FS.get(mount.type, mount.type) if mount else 'ext2'}\n")
    name = mount.source.rpartition("/")[2] if mount else ""
    if name.startswith("md"):
        return answer(argv, "diskfilter mdraid1x\n")
    virtual = any(one.slaves and one.name == name for one in machine.description.disks)
    return answer(argv, "lvm\n" if virtual or "/mapper/" in (mount.source if mount else "") else "")


def grub_script_check(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Whether the braces of a script close; more of the syntax is not looked at."""
    text = machine.text(argv[-1]) if len(argv) > 1 else stdin.decode(errors="replace")
    depth = 0
    for n, line in enumerate(text.splitlines(), 1):
        depth += line.rstrip().endswith("{")
        depth -= line.strip() == "}"
        if depth < 0:
            return answer(argv, stderr=f"error: syntax error.\nSyntax error at line {n}\n", status=1)
    return answer(argv, stderr="Syntax error at end\n" if depth else "", status=1 if depth else 0)


@dataclass(frozen=True, slots=True)
class Grub:
    """See loaders.Loader."""

    name: str = "grub"
    names: GrubNames = GRUB
    captured: tuple[Place, ...] = SETTINGS

    @property
    def doubles(self) -> Mapping[str, Double]:
        """Its commands, under its name."""
        stem = self.names.stem
        found: dict[str, Double] = {
            self.names.mkconfig: grub_mkconfig,
            self.names.probe: grub_probe,
            self.names.editenv: grub_editenv,
            f"{stem}-reboot": grub_reboot,
            f"{stem}-set-default": grub_set_default,
            f"{stem}-script-check": grub_script_check,
        }
        return {**found, "update-grub": update_grub} if self.names == GRUB else found

    @property
    def files(self) -> Mapping[str, TextFile]:
        """The environment block as grub-install leaves it: 1024 bytes, so that GRUB can write it where it lies (GRUB
        manual, 16.1); and the scripts that are modelled."""
        script = TextFile("#!/bin/sh\n# modelled by the simulated machine\n", 0o755)
        return {
            self.names.env: TextFile(SIGNATURE + "#" * (1024 - len(SIGNATURE))),
            "/etc/grub.d/00_header": script,
            "/etc/grub.d/10_linux": script,
        }

    def install(self, machine: Machine) -> None:
        """The first grub.cfg. Raises ConfigurationError where sh cannot carry out its settings."""
        try:
            text = configuration(machine, self.names.mkconfig)
        except SettingsError as error:
            raise ConfigurationError(
                f"sh cannot carry out the settings of GRUB in the description: {sentence(str(error))}",
                hint="Repair its /etc/default/grub, or what it adds to /etc/grub.d.",
            ) from None
        # GRUB 2.00 gave it 0444; since 2.06 it is written in place, as the installer's umask made it.
        machine.put(self.names.cfg, text, 0o600 if machine.description.usrmerge else 0o444)

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """As the hook of the distribution's kernel package does it (Debian: zz-update-grub, which runs update-grub)."""
        return (self.names.mkconfig, "-o", self.names.cfg)

    def menu(self, machine: Machine) -> tuple[Item, ...]:
        """The entries of grub.cfg."""
        return tuple(_item(machine, one) for one in grub_cfg.entries(machine.text(self.names.cfg).encode()))

    def next(self, machine: Machine) -> Item | None:
        """By next_entry, or the default that grub.cfg sets."""
        text = machine.text(self.names.cfg).encode()
        found = grub_cfg.default_entry(text, _environment(machine, self.names.env), grub_cfg.entries(text))
        return _item(machine, found) if found is not None else None

    def taken(self, machine: Machine) -> None:
        """`set next_entry=` and `save_env next_entry` in grub.cfg's header, before anybody sees the menu: the variable
        stays, with nothing in it."""
        next_entry_used(machine, self.names.env)


def next_entry_used(machine: Machine, path: str) -> None:
    """What the header of grub.cfg does to an environment block."""
    text = machine.text(path)
    if grub_cfg.environment(text.encode()).get("next_entry"):
        text = re.sub(r"^next_entry=.*$", "next_entry=", text, flags=re.MULTILINE)
        machine.put(path, text + "#" * (1024 - len(text)))


def _item(machine: Machine, entry: grub_cfg.MenuEntry) -> Item:
    release = entry.release or ""
    image = generators.of(machine).image(release)
    added = (f"BOOT_IMAGE={entry.kernel}",)
    return Item(entry.title, entry.kernel, release, entry.arguments, image, entry.recovery, added)


LOADER: Loader = Grub()
