"""What a shell makes of configuration files that are shell scripts: asked of a real `sh`, never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps.base import Host

# Every value is led by a NUL: no shell variable can hold one, so no value can forge the frame around it.
_ENDED = b"\0vfiostate-end\0"


# Seconds for the whole configuration. A shell is done in milliseconds; a host that is busy beyond reason needs some.
LIMIT = 120.0


@dataclass(frozen=True, slots=True)
class Script:
    """A configuration file that is sourced: its path (for messages) and its content."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Values:
    """The variables after all scripts were sourced, in the order asked for; None for one that is not set."""

    values: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class Broken:
    """The shell did not come to the end of the scripts: after which file, and its last words."""

    path: str
    status: int
    says: str


def evaluate(host: Host, scripts: Sequence[Script], names: Sequence[str]) -> Values | Broken:
    """Source the scripts in order as `sh -e` does and read variables.

    Each is sourced on its own, as `.` does: an open quote ends with its file, `return` leaves only the file, `exit`
    leaves the shell. A command in a file reads no input of ours and its output is kept apart.
    """
    nul = next((script for script in scripts if b"\0" in script.content), None)
    if nul is not None:
        return Broken(nul.path, 0, "the file holds NUL bytes: it is not a text file")
    source = b'vfiostate_source() { eval "$1"; }\n'
    for number, script in enumerate(scripts):
        source += b"printf '\\000%s' " + str(number).encode() + b"\n"
        source += b"vfiostate_source " + quoted(script.content) + b" </dev/null >&2\n"
    for name in names:
        source += b'printf \'\\000%%s%%s\' "${%s+=}" "${%s-}"\n' % (name.encode(), name.encode())
    source += b"printf '\\000%s\\000' vfiostate-end\n"
    try:
        done = host.query(("sh", "-e"), stdin=source, timeout=LIMIT)
    except TimeoutError:
        return Broken(
            scripts[-1].path if scripts else "", 0, f"the shell did not come to its end within {LIMIT:g} seconds"
        )
    frames = done.stdout.split(b"\0")[1:]
    if not done.ok or not done.stdout.endswith(_ENDED) or len(frames) != len(scripts) + len(names) + 2:
        reached = sum(1 for frame in frames[: len(scripts)] if frame.isdigit())
        path = scripts[reached - 1].path if reached else ""
        return Broken(path, done.status, _last_line(done.stderr) or "the script ends the shell before its end")
    raw = frames[len(scripts) : len(scripts) + len(names)]
    return Values(tuple(value[1:] if value.startswith(b"=") else None for value in raw))


def quoted(content: bytes) -> bytes:
    """One word of the shell that means exactly these bytes."""
    return b"'" + content.replace(b"'", b"'\\''") + b"'"


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
