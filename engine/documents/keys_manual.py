"""vfiostate.toml(5), from the keys that the configuration's parser knows."""

from __future__ import annotations

from collections.abc import Iterator

from engine.documents import roff
from engine.documents.keys import Told, tables
from engine.version import VERSION

_DESCRIPTION = """\
Which PCI functions go to a guest, and how. The file is TOML (https://toml.io); `vfiostate init` writes one with every
key explained.

A file that others than root may write is refused; so are unknown keys and wrong types, each with its line and the
nearest valid key. A configuration that changed after the state `checked` is noticed: `vfiostate rollback` first, or
change it back. What only the guest's start goes by may change until then: [guest] but for what the kernel's command
line says for it (`isolated_cpus`; with `hugepages` of 1G that, and `memory`), and `x_vga` and `romfile` of a device; a
guest that runs is stopped first (`vfiostate guest stop`) where its `name` or `backend` changes or [guest] goes."""

_EXAMPLE = (
    'stub = "vfio-pci"',
    "",
    "[[devices]]",
    'address = "0000:03:00.0"',
    'id = "10de:1200"',
    "",
    "[[devices]]",
    'address = "0000:03:00.1"',
    'id = "10de:0e0c"',
    "",
    "[guest]",
    "memory = 4096",
    "",
    "[[guest.disks]]",
    'path = "/dev/vg0/win7"',
)


def page(date: str) -> str:
    """The whole page."""
    return "\n".join(_lines(date)) + "\n"


def example() -> str:
    """The configuration that the page shows."""
    return "\n".join(_EXAMPLE) + "\n"


def _lines(date: str) -> Iterator[str]:
    yield from roff.title("vfiostate.toml", 5, date, VERSION, "File Formats")
    yield roff.section("NAME")
    yield r"vfiostate.toml \- the configuration of vfiostate"
    yield roff.section("SYNOPSIS")
    yield r"/etc/vfiostate.toml"
    yield roff.section("DESCRIPTION")
    yield from roff.paragraphs(_DESCRIPTION, first=True)
    yield roff.section("KEYS")
    for name, text, told in tables():
        yield roff.subsection(name or "At the top of the file")
        yield from roff.paragraphs(text, first=True)
        yield from (line for key in told for line in _key(key))
    yield roff.section("EXAMPLE")
    yield from roff.verbatim(_EXAMPLE, first=True)
    yield roff.section("SEE ALSO")
    yield rf"{roff.bold('vfiostate')}(1)"


def _key(key: Told) -> Iterator[str]:
    more = [f"One of {', '.join(f'`{choice}`' for choice in key.choices)}."] if key.choices else []
    shown = "Must be there." if key.required else f"Default: `{key.default}`." if key.default else "Not set by default."
    if key.example and key.default in (None, "[]"):
        shown += f" Example: `{key.example}`."
    yield from roff.entry(rf"{roff.bold(key.name)} ({key.kind})", key.text, (*more, shown))
