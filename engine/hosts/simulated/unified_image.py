"""A unified kernel image as ukify lays it out: a PE file whose sections are the kernel and all that belongs to it."""

from __future__ import annotations

import struct
from collections.abc import Mapping

ALIGNMENT = 512
_PE_AT = 128
# Machine x86-64, an executable of 64 bits; the optional header holds nothing that the model needs.
_MACHINE, _OPTIONAL, _FLAGS = 0x8664, 240, 0x22
_READ_ONLY = 0x40000040


def build(sections: Mapping[str, bytes]) -> bytes:
    """The bytes of an image with these sections, in this order, each filled up to the alignment in the file."""
    dos = b"MZ".ljust(60, b"\0") + struct.pack("<I", _PE_AT)
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", _MACHINE, len(sections), 0, 0, 0, _OPTIONAL, _FLAGS)
    head = dos.ljust(_PE_AT, b"\0") + coff + struct.pack("<H", 0x20B).ljust(_OPTIONAL, b"\0")
    at = _aligned(len(head) + 40 * len(sections))
    table, body, address = b"", b"", 0x1000
    for name, content in sections.items():
        size = _aligned(len(content))
        table += struct.pack(
            "<8sIIII12sI", name.encode(), len(content), address, size, at + len(body), b"\0" * 12, _READ_ONLY
        )
        body += content.ljust(size, b"\0")
        address += -(-max(size, 1) // 0x1000) * 0x1000
    return (head + table).ljust(at, b"\0") + body


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
