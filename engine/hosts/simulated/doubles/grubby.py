"""grubby as its wrapper for boot entries does it (Fedora's and RHEL 9's grubby-bls), with what it does to other words.

`--args` takes every word of the same name out before it adds its own; ALL means the rescue entry too, and
GRUB_CMDLINE_LINUX, and /etc/kernel/cmdline, which is written where it lies; --no-etc-grub-update eats the option behind
it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.hosts.simulated import grub_mkconfig
from engine.hosts.simulated.doubles.base import answer, record
from engine.hosts.simulated.machine import Machine
from steps.base import Completed
from steps.boot import bls_entry, grub_cfg
from steps.boot.bls_entry import EntryFile

ENTRIES = "/boot/loader/entries"
CMDLINE = "/etc/kernel/cmdline"
DEFAULT = "/etc/default/grub"
ENVIRONMENT = "/boot/grub2/grubenv"
_VALUED = ("--args", "--remove-args", "--update-kernel", "--info")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line of a call says."""

    kernel: str = ""
    info: str = ""
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    settings: bool = True


def entries(machine: Machine) -> tuple[EntryFile, ...]:
    """The entries, the newest first."""
    paths = [f"{ENTRIES}/{name}" for name in machine.names(ENTRIES) if name.endswith(".conf")]
    found = (bls_entry.parse(path, machine.path(path).read_bytes()) for path in paths)
    return tuple(sorted(found, key=bls_entry.menu_key, reverse=True))


def grubby(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """--info and --update-kernel."""
    record(machine, argv)
    asked = _asked(argv)
    if asked is None:
        return answer(argv, stderr=f"grubby: invalid option in {' '.join(argv)!r}\n", status=1)
    found = entries(machine)
    if asked.info:
        return answer(argv, "".join(_info(n, each) for n, each in enumerate(found) if _meant(asked.info, n, each)))
    meant = [each for n, each in enumerate(found) if _meant(asked.kernel, n, each)]
    if not asked.kernel or not (asked.add or asked.remove):
        return answer(argv, stderr="no action specified\n", status=1)
    if not meant:
        return answer(argv, stderr=f"The param {asked.kernel} is incorrect\n", status=1)
    if asked.kernel == "ALL":
        _settings(machine, asked)
    for each in meant:
        if asked.kernel != "ALL" or "$kernelopts" not in each.options:
            _options(machine, each, updated(" ".join(each.options), asked.remove, asked.add))
    if asked.kernel == "ALL":
        if not machine.exists(CMDLINE):
            machine.put(CMDLINE, " ".join(found[-1].options) + "\n")
        machine.put(CMDLINE, updated(machine.text(CMDLINE), asked.remove, asked.add) + "\n")
    return answer(argv)


def _asked(argv: Sequence[str]) -> Asked | None:
    found: dict[str, str] = {}
    settings, words = True, list(argv[1:])
    while words:
        name, sign, value = words.pop(0).partition("=")
        if name == "--no-etc-grub-update":
            settings = False
            words[:1] = []
        elif name in _VALUED and (sign or words):
            found[name] = value if sign else words.pop(0)
        else:
            return None
    add, remove = (tuple(found.get(name, "").split()) for name in ("--args", "--remove-args"))
    return Asked(found.get("--update-kernel", ""), found.get("--info", ""), add, remove, settings)


def updated(line: str, remove: Sequence[str], add: Sequence[str]) -> str:
    """A line without and with some words. As the script's sed, it takes a word for an expression."""
    for word in remove:
        line = _without(line, word, whole="=" in word)
    for word in add:
        line = _without(line, word.partition("=")[0], whole=False)
    return " ".join([*line.split(), *add])


def _without(line: str, word: str, *, whole: bool) -> str:
    if whole:
        return re.sub(rf"(^|\s){word}(\s|$)", " ", " ".join(line.split()), count=1)
    return re.sub(rf"(^|\s){word}((?=\s|$)|=[^ ]*)", " ", " ".join(line.split()))


def _settings(machine: Machine, asked: Asked) -> None:
    old = grub_mkconfig.settings(machine)["GRUB_CMDLINE_LINUX"] if machine.exists(DEFAULT) else ""
    if asked.settings and old:
        new = f'GRUB_CMDLINE_LINUX="{updated(old, asked.remove, asked.add)}"'
        text = re.sub(r"^GRUB_CMDLINE_LINUX=.*$", lambda _: new, machine.text(DEFAULT), flags=re.MULTILINE)
        machine.put(DEFAULT, text)
    shared = grub_cfg.environment(machine.text(ENVIRONMENT).encode()).get("kernelopts")
    if shared:
        new = f"kernelopts={updated(shared, asked.remove, asked.add)}"
        text = machine.text(ENVIRONMENT).rstrip("#")
        text = re.sub(r"^kernelopts=.*$", lambda _: new, text, flags=re.MULTILINE)
        machine.put(ENVIRONMENT, text + "#" * (1024 - len(text)))


def _options(machine: Machine, entry: EntryFile, line: str) -> None:
    text = machine.text(entry.path)
    # sed -i: another file in its place.
    machine.put(entry.path, re.sub(r"^options.*$", lambda _: f"options {line}", text, flags=re.MULTILINE))


def _meant(which: str, number: int, entry: EntryFile) -> bool:
    return which in ("ALL", str(number), entry.linux, f"TITLE={entry.title}") or which.endswith(
        entry.linux.rpartition("/")[2] or "/"
    )


def _info(number: int, entry: EntryFile) -> str:
    root = next((word for word in entry.options if word.startswith("root=")), None)
    args = " ".join(word for word in entry.options if word != root)
    lines = [f"index={number}", f'kernel="{entry.linux}"', f'args="{args}"']
    lines += [f'root="{root.removeprefix("root=")}"'] if root else []
    lines += [f'initrd="{entry.initrd}"', f'title="{entry.title}"', f'id="{entry.id}"']
    return "".join(f"{line}\n" for line in lines)
