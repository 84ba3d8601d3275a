"""Limine on the simulated machine: limine.conf beside the kernels on the EFI system partition, and entries by hand.

Sources: limine-bootloader/limine, common/lib/config.c (init_config: a checksum that is enrolled), common/menu.c (which
entry is taken; boot) and common/lib/bli.c (what it says of itself).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.hosts.simulated import firmware, generators
from engine.hosts.simulated.doubles.base import Double, answer
from engine.hosts.simulated.loaders import Item, Loader
from engine.hosts.simulated.machine import Machine, kernels_in_boot
from engine.hosts.simulated.modelled import Place
from engine.hosts.simulated.parts import TextFile
from steps.base import Completed
from steps.boot import limine, limine_conf, limine_menu
from steps.boot.limine_conf import Conf, MenuEntry
from steps.boot.limine_places import MARKER

ESP = "/boot"
CONF = f"{ESP}/limine.conf"
EXECUTABLE = f"{ESP}/EFI/limine/BOOTX64.EFI"
WRITER = "write-limine-entry"
_ENTRY = """\
    //{title}
        protocol: linux
        path: boot():{kernel}
        cmdline: {line}
        module_path: boot():{image}

"""


def configuration(machine: Machine) -> str:
    """What an installer leaves: a directory that is open, a normal entry and its fallback for each kernel."""
    line = f"root={machine.description.root} rw quiet"
    text = "timeout: 5\ndefault_entry: 2\n\n/+Arch Linux\n"
    for release in kernels_in_boot(machine):
        kernel, image = f"/vmlinuz-{release}", generators.of(machine).image(release).removeprefix(ESP)
        text += _ENTRY.format(title=release, kernel=kernel, line=line, image=image)
        fallback = image.replace(".img", "-fallback.img")
        text += _ENTRY.format(title=f"{release}-fallback", kernel=kernel, line=line, image=fallback)
    return text


def write_entry(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """A person's own entry for a new kernel, RELEASE: the first one, copied, with that release in it."""
    text = machine.text(CONF)
    found = re.search(r"^    //(\S+)\n(?:        .*\n)+\n", text, re.MULTILINE)
    if found is None:
        return answer(argv, stderr=f"{CONF} has no entry to copy\n", status=1)
    copied = found[0].replace(found[1], argv[1])
    machine.put(CONF, text[: found.start()] + copied + text[found.start() :])
    return answer(argv)


def _conf(machine: Machine) -> Conf:
    return limine_conf.parse(machine.path(CONF).read_bytes(), limine.macros(uefi=True))


def _panics(machine: Machine) -> bool:
    """Whether a checksum is enrolled in the executable that the file does not have."""
    enrolled = machine.text(EXECUTABLE).partition(MARKER.decode())[2][:128]
    return enrolled != "0" * 128 and enrolled != hashlib.blake2b(machine.path(CONF).read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Limine:
    """See loaders.Loader. A real host's entries name kernels that the model has none of: its file is not captured."""

    name: str = "limine"
    captured: tuple[Place, ...] = ()

    @property
    def doubles(self) -> Mapping[str, Double]:
        """The person who writes entries."""
        return {WRITER: write_entry}

    @property
    def files(self) -> Mapping[str, TextFile]:
        """That person."""
        return {f"/usr/local/bin/{WRITER}": TextFile("#!/bin/sh\n# modelled by the simulated machine\n", 0o755)}

    def install(self, machine: Machine) -> None:
        """The executable, with no checksum enrolled, and the first configuration."""
        machine.put(EXECUTABLE, f"MZ /boot/limine/limine.conf {MARKER.decode()}{'0' * 256}\n")
        if not machine.exists(CONF):
            machine.put(CONF, configuration(machine))

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """Nothing makes entries but a person."""
        return (WRITER, release)

    def menu(self, machine: Machine) -> tuple[Item, ...]:
        """Every entry."""
        return tuple(_item(each) for each in _conf(machine).entries if not each.directory)

    def next(self, machine: Machine) -> Item | None:
        """By `default_entry`; it stops where that is a directory, and panics at a checksum."""
        found = limine_menu.default(_conf(machine), uefi=True)
        return None if found is None or found.directory or _panics(machine) else _item(found)

    def taken(self, machine: Machine) -> None:
        """It says who it is. Nobody sets LoaderEntryOneShot here, which this version would take and delete."""
        firmware.power_on(machine)
        firmware.set_text(machine, "LoaderInfo", "Limine 12.9.0", volatile=True)


def _item(entry: MenuEntry) -> Item:
    kernel = limine.kernel_of(entry)
    place = f"{ESP}{kernel.removeprefix('boot():')}" if kernel is not None else None
    release = kernel.rpartition("/vmlinuz-")[2] if kernel is not None else ""
    image = "".join(entry.values("module_path")[-1:]).removeprefix("boot():")
    return Item(entry.title, place, release, limine.words_of(entry), f"{ESP}{image}", limine.way_out(entry))


LOADER: Loader = Limine()
