"""modprobe, modinfo, lsmod, depmod: kmod 30 as on Debian 12 (modprobe(8), modinfo(8))."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.hosts.simulated import kmod, loading
from engine.hosts.simulated.doubles.base import Double, answer, silent
from engine.hosts.simulated.kmod import Index, Options
from engine.hosts.simulated.machine import Machine
from steps.base import Completed

# Each option's one letter, by its long name; those in VALUED take a value.
LONG = {
    "--dry-run": "n",
    "--show": "n",
    "--show-depends": "D",
    "--resolve-alias": "R",
    "--set-version": "S",
    "--remove": "r",
    "--all": "a",
    "--quiet": "q",
    "--verbose": "v",
    "--use-blacklist": "b",
    "--showconfig": "c",
    "--version": "V",
    "--ignore-install": "i",
    "--first-time": "f",
    "--dirname": "d",
    "--config": "C",
}
VALUED = "SdC"


@dataclass(slots=True)
class Line:
    """A command line taken apart: option letters, values of options, the rest."""

    flags: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)


def _parse(argv: Sequence[str]) -> Line:
    line = Line()
    words = list(argv[1:])
    while words:
        word = words.pop(0)
        if word == "--":
            line.rest.extend(words)
            break
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            letter = LONG.get(name, "?")
            line.flags.add(letter)
            if letter in VALUED:
                line.values[letter] = value if equals or not words else words.pop(0)
        elif word.startswith("-") and len(word) > 1:
            for at, letter in enumerate(word[1:], 1):
                line.flags.add(letter)
                if letter in VALUED:
                    line.values[letter] = word[at + 1 :] or (words.pop(0) if words else "")
                    break
        else:
            line.rest.append(word)
    return line


def modprobe(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Load, remove, resolve or show modules."""
    line = _parse(argv)
    release = line.values.get("S", machine.release)
    if "V" in line.flags:
        return answer(argv, "kmod version 30\n")
    options = kmod.root_options(machine)
    if "c" in line.flags:
        return answer(argv, "".join(f"{one}\n" for one in options.lines))
    index = kmod.read_index(machine, release)
    names = line.rest if "a" in line.flags or "r" in line.flags else line.rest[:1]
    if not names:
        return answer(argv, stderr="modprobe: ERROR: missing parameters. See -h.\n", status=1)
    outputs: list[str] = []
    for name in names:
        found = kmod.resolve(index, options, name) if index else ()
        if "b" in line.flags:
            found = tuple(one for one in found if one not in options.blacklist)
        if not found or index is None:
            text = f"modprobe: FATAL: Module {name} not found in directory /lib/modules/{release}\n"
            return answer(argv, "".join(outputs), stderr="" if "q" in line.flags else text, status=1)
        if "R" in line.flags:
            outputs.extend(f"{one}\n" for one in found)
        elif "D" in line.flags:
            outputs.extend(_depends(index, options, found))
        elif "n" not in line.flags:
            problem = _remove(machine, index, name) if "r" in line.flags else _load(machine, index, options, line, name)
            if problem:
                return answer(argv, "".join(outputs), stderr=f"modprobe: {problem}\n", status=1)
    return answer(argv, "".join(outputs))


def _depends(index: Index, options: Options, names: Sequence[str]) -> list[str]:
    lines = []
    for name in names:
        for one in kmod.loading_order(index, options, name):
            if one in options.install:
                lines.append(f"install {options.install[one]} \n")
            elif one in index.builtin:
                lines.append(f"builtin {one}\n")
            else:
                arguments = " ".join(options.options.get(one, ()))
                lines.append(f"insmod /lib/modules/{index.release}/{index.files[one]} {arguments}\n")
    return lines


def _load(machine: Machine, index: Index, options: Options, line: Line, name: str) -> str:
    if index.release != machine.release:
        return f"ERROR: could not insert '{name}': Exec format error"
    arguments = () if "a" in line.flags else tuple(line.rest[1:])
    try:
        loading.probe(machine, index, options, name, arguments)
    except loading.UnsupportedError as error:
        return f"ERROR: could not insert '{error}': Operation not supported"
    return ""


def _remove(machine: Machine, index: Index, name: str) -> str:
    plain = kmod.normal(name)
    if plain in index.builtin:
        return f"FATAL: Module {plain} is builtin."
    try:
        loading.remove(machine, index, plain)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return f"FATAL: Module {plain} is in use."
    _remove_unused(machine, index, plain)
    return ""


def _remove_unused(machine: Machine, index: Index, name: str) -> None:
    """What nobody needs any more of all that a module depended on goes with it (kmod, tools/modprobe.c)."""
    for one in index.depends.get(name, ()):
        users = [other for other in loading.loaded(machine) if one in index.depends.get(other, ())]
        if one in loading.loaded(machine) and not users:
            loading.remove(machine, index, one)
            _remove_unused(machine, index, one)


def modinfo(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """A module's file and what is written in it: -F FIELD, -k RELEASE, -n."""
    release, wanted, names = machine.release, "", []
    words = list(argv[1:])
    while words:
        word = words.pop(0)
        if word in ("-k", "--set-version") and words:
            release = words.pop(0)
        elif word in ("-F", "--field") and words:
            wanted = words.pop(0)
        elif word in ("-n", "--filename"):
            wanted = "filename"
        elif not word.startswith("-"):
            names.append(word)
    index = kmod.read_index(machine, release)
    out = ""
    for name in names:
        found = kmod.resolve(index, Options(), name) if index else ()
        if index is None or not found:
            return answer(argv, out, stderr=f"modinfo: ERROR: Module {name} not found.\n", status=1)
        for one in found:
            fields = _fields(index, one)
            out += "".join(
                f"{value}\n" if wanted else f"{key + ':':16}{value}\n" for key, value in fields if wanted in ("", key)
            )
    return answer(argv, out)


def _fields(index: Index, name: str) -> list[tuple[str, str]]:
    built = name in index.builtin
    pairs = index.builtin_aliases if built else index.aliases
    fields = [("filename", "(builtin)" if built else f"/lib/modules/{index.release}/{index.files[name]}")]
    fields += [("alias", pattern) for pattern, one in pairs if one == name]
    fields += [("depends", ",".join(index.depends.get(name, ())))]
    fields += [("name", name), ("vermagic", f"{index.release} SMP mod_unload modversions ")]
    return fields


def lsmod(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """/proc/modules, set out as lsmod does."""
    lines = ["Module                  Size  Used by\n"]
    for line in machine.text("/proc/modules").splitlines():
        name, size, count, users, *_ = line.split()
        lines.append(f"{name:<20} {size:>8}  {count} {users.rstrip(',') if users != '-' else ''}".rstrip() + "\n")
    return answer(argv, "".join(lines))


DOUBLES: dict[str, Double] = {"modprobe": modprobe, "modinfo": modinfo, "lsmod": lsmod, "depmod": silent}
