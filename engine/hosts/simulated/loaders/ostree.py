"""ostree on the simulated machine: deployments with their words, and the rpm-ostree that makes them.

A deployment is one entry in /ostree/loader, `N.conf`, and what it boots, `N.version`; 0 is the default. Staging is not
modelled: a new one is there at once. /etc is the machine's own, as it is the booted deployment's on a real system.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.hosts.simulated import generators
from engine.hosts.simulated.doubles.base import Double, answer, record
from engine.hosts.simulated.loaders import Item, Loader
from engine.hosts.simulated.machine import Machine, kernels_in_boot
from engine.hosts.simulated.modelled import Place
from engine.hosts.simulated.parts import TextFile
from journal.events import Json
from steps.base import Completed

OSNAME = "fedora"
LOADER_DIRECTORY = "/ostree/loader"
BOOTED = "/ostree/booted"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment: its serial, its kernel, its words."""

    serial: int
    release: str
    words: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """The commit: a system with another kernel is another one."""
        return f"{sum(self.release.encode()):064x}"


def deployments(machine: Machine) -> tuple[Deployment, ...]:
    """All, in the order of the menu."""
    names = [name for name in machine.names(LOADER_DIRECTORY) if name.endswith(".conf")]
    found = []
    for name in sorted(names, key=lambda name: int(name.removesuffix(".conf"))):
        options = re.search(r"^options (.*)$", machine.text(f"{LOADER_DIRECTORY}/{name}"), re.MULTILINE)
        serial, release = machine.text(f"{LOADER_DIRECTORY}/{name.removesuffix('.conf')}.version").split()
        found.append(Deployment(int(serial), release, tuple(options[1].split()) if options else ()))
    return tuple(found)


def _deploy(machine: Machine, new: Deployment) -> None:
    """Put one in front. The booted one and the one before it stay, others go (ostree-admin-deploy(1))."""
    kept = [each for each in deployments(machine) if each.serial in (_booted(machine), new.serial - 1)]
    _write(machine, (new, *kept[:2]))


def _write(machine: Machine, all_of_them: Sequence[Deployment]) -> None:
    for name in machine.names(LOADER_DIRECTORY):
        machine.unlink(f"{LOADER_DIRECTORY}/{name}")
    for number, each in enumerate(all_of_them):
        text = f"title Fedora Linux (ostree:{number})\noptions {' '.join(each.words)}\n"
        machine.put(f"{LOADER_DIRECTORY}/{number}.conf", text)
        machine.put(f"{LOADER_DIRECTORY}/{number}.version", f"{each.serial} {each.release}\n")
        modules = f"/ostree/deploy/{OSNAME}/deploy/{each.checksum}.{each.serial}/usr/lib/modules/{each.release}"
        machine.path(modules).mkdir(parents=True, exist_ok=True)


def _booted(machine: Machine) -> int:
    return int(machine.text(BOOTED, "0"))


def rpm_ostree(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """status --json, kargs, and upgrade to the newest kernel there is."""
    words = list(argv[1:])
    if words[:2] == ["status", "--json"]:
        return answer(argv, json.dumps(_status(machine)))
    if words[:1] == ["upgrade"]:
        first = deployments(machine)[0]
        _deploy(machine, Deployment(first.serial + 1, kernels_in_boot(machine)[0], first.words))
        return answer(argv, "Staging deployment... done\n")
    if words[:1] != ["kargs"]:
        return answer(argv, stderr=f"error: Unknown command '{' '.join(words[:1])}'\n", status=1)
    return _kargs(machine, argv, words[1:])


def _kargs(machine: Machine, argv: Sequence[str], options: Sequence[str]) -> Completed:
    found = deployments(machine)
    index = next((int(word.partition("=")[2]) for word in options if word.startswith("--deploy-index=")), 0)
    if index >= len(found):
        return answer(argv, stderr=f"error: Deployment index {index} out of range\n", status=1)
    changes = [word for word in options if not word.startswith("--deploy-index=")]
    if not changes:
        return answer(argv, f"{' '.join((*found[index].words, _named(found[index], found[:index])))}\n")
    record(machine, argv)
    try:
        new = _changed(list(found[index].words), changes)
    except ValueError as error:
        return answer(argv, stderr=f"error: {error}\n", status=1)
    if tuple(new) == found[index].words:
        return answer(argv, "No changes.\n")
    _deploy(machine, Deployment(found[0].serial + 1, found[index].release, tuple(new)))
    return answer(argv, 'Changes queued for next boot. Run "systemctl reboot" to start a reboot\n')


def _changed(words: list[str], changes: Sequence[str]) -> list[str]:
    """As libostree does it: "if missing" and "if present" ask for the name alone. Raises ValueError as it fails."""
    for change in changes:
        option, _, word = change.partition("=")
        there = word.partition("=")[0] in {each.partition("=")[0] for each in words}
        if option == "--append" or (option == "--append-if-missing" and not there):
            words.append(word)
        elif option == "--delete" or (option == "--delete-if-present" and there):
            if word not in words:
                raise ValueError(f"No karg '{word}' found")
            words.remove(word)
        elif option not in ("--append-if-missing", "--delete-if-present"):
            raise ValueError(f"Unknown option {option}")
    return words


def _status(machine: Machine) -> Json:
    found: list[Json] = [
        {
            "osname": OSNAME,
            "checksum": each.checksum,
            "serial": each.serial,
            "booted": each.serial == _booted(machine),
            "staged": False,
        }
        for each in deployments(machine)
    ]
    return {"deployments": found}


def _named(deployment: Deployment, before: Sequence[Deployment]) -> str:
    same = sum(each.checksum == deployment.checksum for each in before)
    return f"ostree=/ostree/boot.1/{OSNAME}/{deployment.checksum}/{same}"


@dataclass(frozen=True, slots=True)
class Ostree:
    """See loaders.Loader."""

    name: str = "ostree"
    captured: tuple[Place, ...] = ()

    @property
    def doubles(self) -> Mapping[str, Double]:
        """rpm-ostree."""
        return {"rpm-ostree": rpm_ostree}

    @property
    def files(self) -> Mapping[str, TextFile]:
        """Nothing beside the deployments."""
        return {}

    def install(self, machine: Machine) -> None:
        """One deployment."""
        words = (f"root={machine.description.root}", "ro", "rhgb", "quiet")
        _write(machine, (Deployment(0, kernels_in_boot(machine)[0], words),))

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """A new kernel comes with a new system."""
        return ("rpm-ostree", "upgrade")

    def menu(self, machine: Machine) -> tuple[Item, ...]:
        """Every deployment; the former ones are the way out."""
        found = deployments(machine)
        return tuple(_item(machine, number, found) for number in range(len(found)))

    def next(self, machine: Machine) -> Item | None:
        """The first."""
        found = self.menu(machine)
        return found[0] if found else None

    def taken(self, machine: Machine) -> None:
        """Nothing is chosen for one boot. Which one it is counts for what is kept: the default, whatever was picked."""
        machine.put(BOOTED, str(deployments(machine)[0].serial))


def _item(machine: Machine, number: int, found: Sequence[Deployment]) -> Item:
    one = found[number]
    image = generators.of(machine).image(one.release)
    added = (_named(one, found[:number]),)
    title = f"Fedora Linux (ostree:{number})"
    return Item(title, f"/boot/vmlinuz-{one.release}", one.release, one.words, image, number > 0, added)


LOADER: Loader = Ostree()
