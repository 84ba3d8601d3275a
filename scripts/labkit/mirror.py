"""Which Debian mirror to use: the one that this machine's own apt uses."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from .base import LabError

APT = Path("/etc/apt")
ARCHIVE_NAME = re.compile(r"/debian/?$")
SECURITY_NAME = re.compile(r"/debian-security/?$")


def deb822_uris(text: str) -> Iterator[str]:
    """The URIs of the enabled binary stanzas of a deb822 ``.sources`` file."""
    for stanza in re.split(r"\n\s*\n", "\n".join(line for line in text.splitlines() if not line.startswith("#"))):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t"):
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0")
        if enabled and "deb" in fields.get("types", "").split():
            yield from fields.get("uris", "").split()


def one_line_uris(text: str) -> Iterator[str]:
    """The URIs of the ``deb`` lines of a ``sources.list``."""
    for line in text.splitlines():
        if found := re.match(r"\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)", line):
            yield found.group(1)


def configured_uris(apt: Path = APT) -> list[str]:
    """Every URI of this machine's apt sources, in the order of the files, without repetition."""
    found: list[str] = []
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found.extend(deb822_uris(text) if path.suffix == ".sources" else one_line_uris(text))
    return list(dict.fromkeys(found))


def sources_lines(suite: str, apt: Path = APT) -> list[str]:
    """Lines for mmdebstrap: the suite, its updates and its security archive. $VFIOSTATE_LAB_MIRROR goes first."""
    uris = configured_uris(apt)
    if chosen := os.environ.get("VFIOSTATE_LAB_MIRROR"):
        uris.insert(0, chosen)
    archive = next((uri for uri in uris if ARCHIVE_NAME.search(uri) or uri == chosen), None)
    security = next((uri for uri in uris if SECURITY_NAME.search(uri)), None)
    if archive is None:
        raise LabError(
            f"no Debian mirror among the apt sources in {apt}\n"
            "  say which one to use: VFIOSTATE_LAB_MIRROR=URL scripts/lab build"
        )
    lines = [f"deb {archive} {suite} main", f"deb {archive} {suite}-updates main"]
    if security:
        lines.append(f"deb {security} {suite}-security main")
    return lines
