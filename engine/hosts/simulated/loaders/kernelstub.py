"""Pop!_OS on the simulated machine: kernelstub, the entries it writes, and the copies that are booted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.hosts.simulated import generators
from engine.hosts.simulated.doubles.base import Double, answer, record
from engine.hosts.simulated.loaders import Item, Loader
from engine.hosts.simulated.machine import Machine, kernels_in_boot
from engine.hosts.simulated.modelled import Place
from engine.hosts.simulated.parts import TextFile
from steps.base import Completed
from steps.boot import bls_entry
from steps.boot.systemd_boot_order import loader_conf

CONFIGURATION = "/etc/kernelstub/configuration"
ESP = "/boot/efi"
LOADER_DIRECTORY = f"{ESP}/loader"
_SETTINGS: dict[str, Any] = {
    "kernel_options": ["quiet", "splash"],
    "esp_path": ESP,
    "setup_loader": True,
    "manage_mode": True,
    "force_update": False,
    "live_mode": False,
    "unified_kernel": False,
    "config_rev": 4,
}


def kernelstub(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Add (-a) or take away (-d) words, then write kernel, initramfs, entries and the configuration, each in place."""
    record(machine, argv)
    try:
        value = json.loads(machine.text(CONFIGURATION))
        options: list[str] = value["user"]["kernel_options"]
    except (ValueError, KeyError) as error:
        return answer(argv, stderr=f"Traceback (most recent call last):\n{type(error).__name__}: {error}\n", status=1)
    words = list(argv[1:])
    while words:
        option = words.pop(0)
        if option not in ("-a", "--add-options", "-d", "--delete-options") or not words:
            return answer(argv, stderr=f"kernelstub: error: unrecognized arguments: {option}\n", status=2)
        given = words.pop(0).split(" ")
        if option in ("-a", "--add-options"):
            options += [each for each in given if each not in options]
        else:
            # A set, and with it the order of the rest: whatever comes of hashing.
            options = sorted(set(options) - set(given), reverse=True)
    value["user"]["kernel_options"] = options
    _write(machine, f"root={machine.description.root} ro {' '.join(options)}".strip())
    machine.put(CONFIGURATION, json.dumps(value, indent=2))
    return answer(argv)


def _folder(machine: Machine) -> str:
    return f"/EFI/Pop_OS-{machine.description.root.removeprefix('UUID=')}"


def _write(machine: Machine, line: str) -> None:
    folder = _folder(machine)
    for suffix, old, release in zip(("current", "oldkern"), ("", "-previous"), kernels_in_boot(machine), strict=False):
        kernel, image = f"{folder}/vmlinuz{old}.efi", f"{folder}/initrd.img{old}"
        machine.put(f"{ESP}{kernel}", machine.text(f"/boot/vmlinuz-{release}"))
        machine.put(f"{ESP}{image}", machine.text(generators.of(machine).image(release)))
        lines = ("title Pop!_OS", f"linux {kernel}", f"initrd {image}", f"options {line}")
        machine.put(f"{LOADER_DIRECTORY}/entries/Pop_OS-{suffix}.conf", "".join(f"{each}\n" for each in lines))
    if not machine.exists(f"{LOADER_DIRECTORY}/loader.conf"):
        machine.put(f"{LOADER_DIRECTORY}/loader.conf", "default Pop_OS-current\n")
    machine.put(f"{ESP}{folder}/cmdline", " ".join(machine.cmdline) + "\n")


@dataclass(frozen=True, slots=True)
class Kernelstub:
    """See loaders.Loader."""

    name: str = "kernelstub"
    captured: tuple[Place, ...] = ((CONFIGURATION, ""),)

    @property
    def doubles(self) -> Mapping[str, Double]:
        """kernelstub."""
        return {"kernelstub": kernelstub}

    @property
    def files(self) -> Mapping[str, TextFile]:
        """Its configuration as the installer leaves it, and the entry of the recovery partition."""
        value = {"default": {**_SETTINGS, "setup_loader": False, "manage_mode": False}, "user": _SETTINGS}
        recovery = (
            "title Pop!_OS Recovery\nlinux /EFI/Recovery-1234-ABCD/vmlinuz.efi\n"
            "initrd /EFI/Recovery-1234-ABCD/initrd.gz\n"
            "options boot=casper hostname=recovery live-media-path=/casper-1234-ABCD noprompt\n"
        )
        return {
            CONFIGURATION: TextFile(json.dumps(value, indent=2)),
            f"{LOADER_DIRECTORY}/entries/Recovery-1234-ABCD.conf": TextFile(recovery),
        }

    def install(self, machine: Machine) -> None:
        """The first run."""
        kernelstub(machine, ("kernelstub",), b"")

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """As /etc/kernel/postinst.d/zz-kernelstub does it."""
        return ("kernelstub",)

    def menu(self, machine: Machine) -> tuple[Item, ...]:
        """Every entry, by name."""
        names = [name for name in machine.names(f"{LOADER_DIRECTORY}/entries") if name.endswith(".conf")]
        return tuple(_item(machine, f"{LOADER_DIRECTORY}/entries/{name}") for name in names)

    def next(self, machine: Machine) -> Item | None:
        """The default of loader.conf."""
        default = loader_conf(machine.text(f"{LOADER_DIRECTORY}/loader.conf").encode()).get("default", "")
        path = f"{LOADER_DIRECTORY}/entries/{default}.conf"
        return _item(machine, path) if machine.exists(path) else None

    def taken(self, machine: Machine) -> None:
        """Nothing is chosen for one boot."""


def _item(machine: Machine, path: str) -> Item:
    entry = bls_entry.parse(path, machine.path(path).read_bytes())
    content = machine.text(f"{ESP}{entry.linux}").split()
    # The copies have no release in their names: a simulated kernel's content says it.
    release = content[-1] if content else ""
    return Item(entry.title, f"{ESP}{entry.linux}", release, entry.options, f"{ESP}{entry.initrd}", "Recovery" in path)


LOADER: Loader = Kernelstub()
