"""The lines of a boot entry's file (loader/entries/*.conf) and of loader.conf: keys and values, with their places.

What a loader makes of them is its own: systemd-boot takes quotes off (`systemd_boot_entry`), GRUB puts in variables.
Sources: the Boot Loader Specification (uapi-group.org), "Type #1 Boot Loader Entries"; line_get_key_value in
src/boot/efi/boot.c of systemd; read_entry in grub-core/commands/blscfg.c of Fedora's GRUB.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(rb"[^\n\r]+")
_BLANKS = b" \t"


@dataclass(frozen=True, slots=True)
class Field:
    """A key with its value, empty where there is none. `end` is where the value ends in the file, before the blanks at
    the end of its line; `line_end` where the line does, before a carriage return too."""

    key: str
    value: bytes
    end: int
    line_end: int


def fields(content: bytes) -> tuple[Field, ...]:
    """Every key of a file, in order of appearance, as often as it is there; a `#` in front makes a line a comment."""
    return tuple(_field(match) for match in _LINE.finditer(content) if _says_something(match[0]))


def _says_something(line: bytes) -> bool:
    return line.strip(_BLANKS)[:1] not in (b"", b"#")


def _field(match: re.Match[bytes]) -> Field:
    key, *rest = re.split(rb"[ \t]+", match[0].strip(_BLANKS), maxsplit=1)
    end = match.start() + len(match[0].rstrip(_BLANKS))
    return Field(key.decode("utf-8", "replace"), rest[0] if rest else b"", end, match.end())
