"""The sections of a PE file, such as a unified kernel image; read here, as no tool is run on a file of unknown worth.

Source: the PE/COFF specification (DOS header, COFF header, section table); which sections a unified kernel image has is
in systemd-stub(7).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

_DOS = 64
_COFF = struct.Struct("<4sHHIIIHH")
# Name, size in memory, address, size in the file, offset in the file; relocations and flags are passed over.
_SECTION = struct.Struct("<8sIIII16x")


class PeError(ValueError):
    """The bytes are no PE file, or a damaged one; says in what."""


def sections(content: bytes) -> tuple[tuple[str, bytes], ...]:
    """Name and content of every section, in the file's order. Raises PeError."""
    if len(content) < _DOS or content[:2] != b"MZ":
        raise PeError("it does not begin with the letters MZ of a DOS header")
    (start,) = struct.unpack_from("<I", content, 60)
    if start + _COFF.size > len(content):
        raise PeError(f"its PE header would be at {start}, behind the end at {len(content)}")
    signature, _machine, count, _, _, _, optional, _flags = _COFF.unpack_from(content, start)
    if signature != b"PE\0\0":
        raise PeError(f"there is no PE signature at {start}")
    table = start + _COFF.size + optional
    if table + count * _SECTION.size > len(content):
        raise PeError(f"its table of {count} sections ends behind the end of the file")
    return tuple(_section(content, table + n * _SECTION.size) for n in range(count))


def _section(content: bytes, at: int) -> tuple[str, bytes]:
    raw, virtual, _address, size, offset = _SECTION.unpack_from(content, at)
    name = raw.rstrip(b"\0").decode("ascii", "backslashreplace")
    # In the file it is filled up to the alignment; the size in memory is the true one, where it is the smaller.
    length = min(virtual, size) if virtual else size
    if length and offset + length > len(content):
        raise PeError(f"its section {name} ends at {offset + length}, behind the end at {len(content)}")
    return name, content[offset : offset + length]


@dataclass(frozen=True, slots=True)
class Unified:
    """What a unified kernel image says of itself: its command line (None: it has none), the kernel's release, the
    os-release in it; `profiles` is how many profiles it has, 0 where it is of one piece."""

    cmdline: bytes | None = None
    release: str | None = None
    os_release: Mapping[str, str] = field(default_factory=dict)
    profiles: int = 0


def unified(content: bytes) -> Unified:
    """Read an image. Raises PeError for what is no PE file, and for one without a kernel in it."""
    found: dict[str, bytes] = {}
    listed = sections(content)
    for name, value in listed:
        found.setdefault(name, value)
    if ".linux" not in found:
        raise PeError("there is no kernel in it (no section .linux)")
    profiles = sum(name == ".profile" for name, _ in listed)
    line = found.get(".cmdline")
    release = _text(found[".uname"]).strip() if ".uname" in found else None
    return Unified(
        line.rstrip(b"\0") if line is not None else None, release or None, settings(found.get(".osrel", b"")), profiles
    )


def settings(content: bytes) -> dict[str, str]:
    """The settings of an os-release file (os-release(5)); what quotes are for in a shell is taken off."""
    pairs = (line.strip().partition("=") for line in _text(content).splitlines())
    return {key: value.strip("\"'") for key, sign, value in pairs if sign and not key.startswith("#")}


def _text(content: bytes) -> str:
    return content.rstrip(b"\0").decode("utf-8", "replace")
