"""The machine description as JSON: read with every value checked, written so that reading gives the same machine.

Keys are the field names of `parts.py`; a field at its default is left out. FORMAT.md explains them.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from engine.hosts.simulated.parts import (
    Description,
    Disk,
    Function,
    Init,
    Interface,
    Iommu,
    Kernel,
    Keyboard,
    Module,
    Mount,
    TextFile,
)
from engine.hosts.simulated.reader import ADDRESS, Reader, absolute, wrong
from journal.errors import ConfigurationError
from journal.events import Json

E = TypeVar("E", bound=StrEnum)
FORMAT = "vfiostate-machine"
VERSION = 1
MARK = f'{{\n "format": "{FORMAT}"'
"""How the file of a description begins."""
RELEASE = r"\d+\.\d+[\w.+~-]*"
"""What the release of a kernel looks like; it is part of names of files."""
MACHINES = Path(__file__).parent / "machines"


def shipped() -> tuple[str, ...]:
    """The names of the machines that come with the program."""
    return tuple(sorted(path.stem for path in MACHINES.glob("*.json")))


def find(name: str) -> Description:
    """The machine of that name, or in that file. Raises ConfigurationError."""
    if name in shipped():
        return load(MACHINES / f"{name}.json")
    path = Path(name)
    if not path.exists():
        raise ConfigurationError(
            f"There is no machine called {name!r}, and no file of that name.",
            hint=f"Give a file that `vfiostate capture` wrote, or name one of {', '.join(shipped())}.",
        )
    return load(path)


def load(path: Path) -> Description:
    """Read a description. Raises ConfigurationError, naming the place that is wrong."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"The machine description {path} cannot be read: {_why(error)}.",
            hint="Give the JSON that `vfiostate capture` writes.",
        ) from None
    return parse(found)


def _why(error: Exception) -> str:
    match error:
        case OSError():
            return error.strerror or str(error)
        case json.JSONDecodeError():
            return f"it is no JSON at line {error.lineno}, column {error.colno}" if error.doc.strip() else "it is empty"
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case _:
            return "it is no JSON that can be read here"


def parse(value: Json) -> Description:
    """A description from its JSON. Raises ConfigurationError, naming the place that is wrong."""
    top = Reader(value, "")
    if top.text("format", "") != FORMAT:
        raise wrong("format", f"{FORMAT!r}", top.value.get("format"))
    if top.number("version") != VERSION:
        raise ConfigurationError(
            f"The machine description is of version {top.number('version')}, this vfiostate reads version {VERSION}.",
            hint="Use the vfiostate that wrote it, or capture the machine again.",
        )
    found = Description(
        name=_matching(top, "name", r"[\w.-]+"),
        about=top.text("about", ""),
        cpu_vendor=top.text("cpu_vendor", "GenuineIntel"),
        cpu_model=top.text("cpu_model", "simulated"),
        cpu_flags=top.strings("cpu_flags"),
        threads=top.number("threads", 1),
        smt=top.number("smt", 1),
        nodes=top.number("nodes", 1),
        memory=top.number("memory", 4096),
        iommu=_one_of(top, "iommu", Iommu, Iommu.NONE),
        acpi_tables=top.strings("acpi_tables"),
        interrupt_remapping=top.flag("interrupt_remapping", True),
        framebuffer=_pair(top, "framebuffer"),
        uefi=top.flag("uefi"),
        secure_boot=top.flag("secure_boot"),
        distribution=top.text("distribution", "Debian"),
        init=_one_of(top, "init", Init, Init.SYSTEMD),
        boot_loader=_modelled(top, "boot_loader", "grub", "loaders"),
        initramfs=_modelled(top, "initramfs", "initramfs-tools", "generators"),
        usrmerge=top.flag("usrmerge", True),
        root=top.text("root", "UUID=00000000-0000-4000-8000-000000000001"),
        kernels=top.many("kernels", _kernel),
        cmdline=top.maybe("cmdline"),
        autoload=top.strings("autoload"),
        functions=top.many("functions", _function),
        disks=top.many("disks", _disk),
        mounts=top.many("mounts", _mount),
        swaps=top.strings("swaps"),
        interfaces=top.many("interfaces", _interface),
        keyboards=top.many("keyboards", _keyboard),
        commands=tuple(absolute(path, "commands") for path in top.strings("commands")),
        qemu=top.maybe("qemu"),
        files={absolute(path, "files"): one for path, one in top.table("files", _file).items()},
        faults=dict(top.inner("faults").value),
    )
    top.done()
    _consistent(found)
    return found


def _kernel(value: Json, where: str) -> Kernel:
    one = Reader(value, where)
    config = one.inner("config")
    found = Kernel(
        release=_matching(one, "release", RELEASE),
        modules=one.table("modules", _module),
        config={key: config.text(key) for key in config.value},
    )
    one.done()
    return found


def _module(value: Json, where: str) -> Module:
    one = Reader(value, where)
    found = Module(
        file=_matching(one, "file", r"(?!.*\.\./)[\w/.+-]+\.ko(\.(xz|gz|zst))?"),
        builtin=one.flag("builtin"),
        depends=one.strings("depends"),
        aliases=one.strings("aliases"),
        drivers=one.strings("drivers"),
        pre=one.strings("pre"),
        parameters=one.strings("parameters"),
    )
    one.done()
    return found


def _function(value: Json, where: str) -> Function:
    one = Reader(value, where)
    found = Function(
        address=one.address("address"),
        vendor=one.hex("vendor", 4),
        device=one.hex("device", 4),
        device_class=one.hex("device_class", 6),
        subsystem_vendor=one.hex("subsystem_vendor", 4, "0000"),
        subsystem_device=one.hex("subsystem_device", 4, "0000"),
        revision=one.hex("revision", 2, "00"),
        parent=None if one.maybe("parent") is None else one.address("parent"),
        group=one.maybe_number("group"),
        driver=one.maybe("driver"),
        boot_vga=one.maybe_flag("boot_vga"),
        reset_method=one.maybe("reset_method"),
        numa_node=one.number("numa_node", -1),
        resources=one.many("resources", _resource),
        hangs=one.flag("hangs"),
        conventional=one.flag("conventional"),
        physfn=None if one.maybe("physfn") is None else one.address("physfn"),
        total_vfs=one.number("total_vfs", 0),
        vfs_autoprobe=one.flag("vfs_autoprobe", True),
        rom=None if one.maybe("rom") is None else _matching(one, "rom", r"([0-9a-f]{2})+"),
    )
    one.done()
    return found


def _resource(value: Json, where: str) -> tuple[int, int, int]:
    if not isinstance(value, list) or len(value) != 3:
        raise wrong(where, "[start, end, flags], each in hex", value)
    try:
        start, end, flags = (int(str(number), 16) for number in value)
    except ValueError:
        raise wrong(where, "[start, end, flags], each in hex", value) from None
    return start, end, flags


def _disk(value: Json, where: str) -> Disk:
    one = Reader(value, where)
    found = Disk(
        name=_matching(one, "name", r"[\w.-]+"),
        function=None if one.maybe("function") is None else one.address("function"),
        sectors=one.number("sectors", 0),
        partitions=one.strings("partitions"),
        slaves=one.strings("slaves"),
    )
    one.done()
    return found


def _mount(value: Json, where: str) -> Mount:
    one = Reader(value, where)
    found = Mount(source=one.text("source"), target=one.path("target"), type=one.text("type"))
    one.done()
    return found


def _interface(value: Json, where: str) -> Interface:
    one = Reader(value, where)
    found = Interface(
        name=_matching(one, "name", r"[\w.-]{1,15}"),
        function=None if one.maybe("function") is None else one.address("function"),
        ports=one.strings("ports"),
        default_route=one.flag("default_route"),
    )
    one.done()
    return found


def _keyboard(value: Json, where: str) -> Keyboard:
    one = Reader(value, where)
    found = Keyboard(
        name=_matching(one, "name", r"[\w ./-]+"),
        function=None if one.maybe("function") is None else one.address("function"),
    )
    one.done()
    return found


def _file(value: Json, where: str) -> TextFile:
    one = Reader(value, where)
    mode = one.text("mode", "644")
    if not re.fullmatch(r"[0-7]{3,4}", mode):
        raise wrong(one.named("mode"), "an octal mode such as 644", mode)
    found = TextFile(text=one.text("text", ""), mode=int(mode, 8), link=one.maybe("link"))
    one.done()
    return found


def _matching(one: Reader, key: str, pattern: str) -> str:
    value = one.text(key)
    if not re.fullmatch(pattern, value) or value in (".", ".."):
        raise wrong(one.named(key), f"something that matches {pattern}", value)
    return value


def _one_of(one: Reader, key: str, kind: type[E], default: E) -> E:
    value = one.text(key, default.value)
    try:
        return kind(value)
    except ValueError:
        raise wrong(one.named(key), f"one of {', '.join(kind)}", value) from None


def modelled(package: str) -> list[str]:
    """What the modules of `loaders` or `generators` model, by name."""
    return sorted(path.stem.replace("_", "-") for path in (Path(__file__).parent / package).glob("[!_]*.py"))


def _modelled(one: Reader, key: str, default: str, package: str) -> str:
    """The name of something that a module of this package models."""
    value = one.text(key, default)
    found = modelled(package)
    if value not in found:
        raise wrong(one.named(key), f"one of {', '.join(found)}", value)
    return value


def _pair(one: Reader, key: str) -> tuple[str, str] | None:
    values = one.strings(key)
    if not values:
        return None
    if len(values) != 2 or not ADDRESS.fullmatch(values[1]):
        raise wrong(one.named(key), "a driver and a PCI address", list(values))
    return values[0], values[1]


def _consistent(found: Description) -> None:
    addresses = [one.address for one in found.functions]
    twice = next((one for one in addresses if addresses.count(one) > 1), None)
    if twice:
        raise wrong("functions", "each address once", twice)
    if not found.kernels:
        raise wrong("kernels", "at least one kernel", [])
    named = (
        [one.parent for one in found.functions]
        + [one.physfn for one in found.functions]
        + [one.function for one in found.disks]
        + [one.function for one in found.interfaces]
        + [one.function for one in found.keyboards]
    )
    missing = next((one for one in named if one is not None and one not in addresses), None)
    if missing:
        raise wrong("functions", f"a function at {missing}, which is referred to", None)


def dump(found: Description) -> dict[str, Json]:
    """The description as JSON; a field at its default is left out."""
    return {"format": FORMAT, "version": VERSION, **_dump(found)}


def render(found: Description) -> str:
    """The description as the text of its file."""
    return json.dumps(dump(found), indent=1, ensure_ascii=False) + "\n"


def _dump(thing: object) -> dict[str, Json]:
    assert dataclasses.is_dataclass(thing) and not isinstance(thing, type)
    found: dict[str, Json] = {}
    for one in dataclasses.fields(thing):
        value = getattr(thing, one.name)
        if one.default_factory is not dataclasses.MISSING and value == one.default_factory():
            continue
        if one.default is not dataclasses.MISSING and value == one.default:
            continue
        if isinstance(thing, TextFile) and one.name == "mode":
            found[one.name] = f"{value:o}"
        elif isinstance(thing, Function) and one.name == "resources":
            found[one.name] = [[f"{number:#x}" for number in line] for line in value]
        else:
            found[one.name] = _plain(value)
    return found


def _plain(value: object) -> Json:
    if isinstance(value, StrEnum):
        return value.value
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return _dump(value)
