"""NixOS on the simulated machine: generations, and the nixos-rebuild that builds one of configuration.nix.

Of the configuration three settings are understood, each in one line or one text: boot.kernelParams,
boot.initrd.kernelModules, boot.extraModprobeConfig; their values add up, as those of modules do. `root=` is on the
command line here, though a NixOS initramfs knows its file systems by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from engine.hosts.simulated import generators, initramfs, kmod
from engine.hosts.simulated.doubles.base import Double, answer, record
from engine.hosts.simulated.loaders import Item, Loader
from engine.hosts.simulated.machine import Machine, kernels_in_boot
from engine.hosts.simulated.modelled import Place
from engine.hosts.simulated.parts import TextFile
from steps.base import Completed

CONFIGURATION = "/etc/nixos/configuration.nix"
PROFILES = "/nix/var/nix/profiles"
SYSTEM = f"{PROFILES}/system"
_LIST = r"^\s*{}\s*=\s*\[([^\]]*)\];"
_TEXT = re.compile(r"^\s*boot\.extraModprobeConfig\s*=\s*''(.*?)'';", re.MULTILINE | re.DOTALL)


def nixos_rebuild(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """`boot`: the next generation, which is the default at the next boot."""
    record(machine, argv)
    if list(argv[1:]) != ["boot"]:
        return answer(argv, stderr=f"error: unknown action {' '.join(argv[1:])!r}\n", status=1)
    _build(machine)
    return answer(argv, stderr="building the system configuration...\n")


def _listed(text: str, name: str) -> list[str]:
    found = re.findall(_LIST.format(re.escape(name)), text, re.MULTILINE)
    return [word for each in found for word in re.findall(r'"([^"]*)"', each)]


def _numbers(machine: Machine) -> list[int]:
    found = (re.fullmatch(r"system-(\d+)-link", name) for name in machine.names(PROFILES))
    return sorted((int(match[1]) for match in found if match), reverse=True)


def _build(machine: Machine, *, installing: bool = False) -> None:
    text, release = machine.text(CONFIGURATION), kernels_in_boot(machine)[0]
    number = max(_numbers(machine), default=0) + 1
    place = f"/nix/store/{number:032d}-nixos-system-simulated"
    words = _listed(text, "boot.kernelParams")
    spec = {"org.nixos.bootspec.v1": {"kernelParams": words, "label": f"NixOS (Linux {release})"}}
    machine.put(f"{place}/boot.json", json.dumps(spec))
    machine.put(f"{place}/kernel-params", " ".join(words))
    machine.path(f"{place}/kernel-modules/lib/modules/{release}").mkdir(parents=True)
    index = kmod.read_index(machine, release)
    assert index is not None
    archive = generators.of(machine).generate(machine, index, installing=installing)
    wanted = _listed(text, "boot.initrd.kernelModules")
    order = [one for name in wanted for one in kmod.loading_order(index, kmod.Options(), kmod.normal(name))]
    files = {f"usr/lib/modules/{release}/{index.files[one]}": "" for one in order if one in index.files}
    files["etc/modprobe.d/nixos.conf"] = "\n".join(_TEXT.findall(text))
    files["conf/modules"] = "".join(f"{name}\n" for name in wanted)
    made = initramfs.render(replace(archive, files={**archive.files, **files}))
    machine.path(f"{place}/initrd").write_bytes(made)
    machine.link(f"{PROFILES}/system-{number}-link", place)
    machine.link(SYSTEM, f"system-{number}-link")


@dataclass(frozen=True, slots=True)
class NixOs:
    """See loaders.Loader."""

    name: str = "nixos"
    captured: tuple[Place, ...] = ()

    @property
    def doubles(self) -> Mapping[str, Double]:
        """nixos-rebuild."""
        return {"nixos-rebuild": nixos_rebuild}

    @property
    def files(self) -> Mapping[str, TextFile]:
        """The mark of a NixOS, and a configuration."""
        text = '{ config, pkgs, ... }:\n{\n  boot.kernelParams = [ "quiet" ];\n}\n'
        return {"/etc/NIXOS": TextFile(""), CONFIGURATION: TextFile(text)}

    def install(self, machine: Machine) -> None:
        """The first generation."""
        _build(machine, installing=True)

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """A new kernel comes with a new generation."""
        return ("nixos-rebuild", "boot")

    def menu(self, machine: Machine) -> tuple[Item, ...]:
        """The generations, the newest first; the older ones are the way out."""
        return tuple(_item(machine, number) for number in _numbers(machine))

    def next(self, machine: Machine) -> Item | None:
        """The one that the profile points to."""
        target = machine.tree.local(SYSTEM).readlink().name
        return _item(machine, int(target.split("-")[1]))

    def taken(self, machine: Machine) -> None:
        """Nothing is chosen for one boot."""


def _item(machine: Machine, number: int) -> Item:
    place = f"{PROFILES}/system-{number}-link"
    (release,) = machine.names(f"{place}/kernel-modules/lib/modules")
    words = (f"root={machine.description.root}", *machine.text(f"{place}/kernel-params").split())
    newest = number == max(_numbers(machine))
    init = (f"init={machine.tree.local(place).readlink()}/init",)
    return Item(
        f"NixOS, generation {number}", f"/boot/vmlinuz-{release}", release, words, f"{place}/initrd", not newest, init
    )


LOADER: Loader = NixOs()
