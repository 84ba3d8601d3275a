"""What bash makes of configuration files that are bash scripts: asked of a real `bash`, never guessed.

dracut.conf and mkinitcpio.conf are sourced by scripts that go on where a command in them fails; only a file that bash
cannot parse, or that ends the shell, stops them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from steps.base import Host
from steps.boot.shell_value import LIMIT, Broken, Script, quoted

# `-p` reads no $BASH_ENV and takes no functions from the environment (bash(1)).
SHELL = ("bash", "-p")
_END = b"vfiostate-end"
_UNPARSED = (b"syntax error", b"unexpected EOF")


def evaluate(
    host: Host, scripts: Sequence[Script], names: Sequence[str], given: Mapping[str, str] | None = None
) -> Mapping[str, tuple[str, ...]] | Broken:
    """Source the scripts in order and read variables: the words of an array, the one value of a scalar, () where it is
    not set. `given` are variables that are set before.

    A command in a file reads no input of ours and its output is kept apart.
    """
    nul = next((script for script in scripts if b"\0" in script.content), None)
    if nul is not None:
        return Broken(nul.path, 0, "the file holds NUL bytes: it is not a text file")
    source = b"".join(name.encode() + b"=" + quoted(value.encode()) + b"\n" for name, value in (given or {}).items())
    for script in scripts:
        source += b"printf '\\0'\neval " + quoted(script.content) + b" </dev/null >&2\n"
    for name in names:
        # Every value is led by a NUL: no variable can hold one, so none can forge the frame around it.
        source += b'printf \'\\0%%s\' "${#%b[@]}" "${%b[@]}"\n' % (name.encode(), name.encode())
    source += b"printf '\\0%s\\0' " + _END + b"\n"
    try:
        done = host.query(SHELL, stdin=source, timeout=LIMIT)
    except TimeoutError:
        path = scripts[-1].path if scripts else ""
        return Broken(path, 0, f"bash did not come to its end within {LIMIT:g} seconds")
    frames = done.stdout.split(b"\0")
    if not done.ok or not done.stdout.endswith(b"\0" + _END + b"\0"):
        reached = len(frames) - 1
        path = scripts[min(reached, len(scripts)) - 1].path if reached and scripts else ""
        return Broken(path, done.status, _last(done.stderr) or "the script ends the shell before its end")
    if any(word in done.stderr for word in _UNPARSED):
        return _unparsed(host, scripts) or Broken("", done.status, _last(done.stderr))
    return _values(frames[1 + len(scripts) :], names)


def _unparsed(host: Host, scripts: Sequence[Script]) -> Broken | None:
    """The first file that bash cannot parse: it goes on with the next one by itself."""
    for script in scripts:
        done = host.query((*SHELL, "-n"), stdin=script.content, timeout=LIMIT)
        if not done.ok:
            return Broken(script.path, done.status, _last(done.stderr))
    return None


def _values(frames: Sequence[bytes], names: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    found = {}
    at = 0
    for name in names:
        count = int(frames[at])
        found[name] = tuple(word.decode("utf-8", "surrogateescape") for word in frames[at + 1 : at + 1 + count])
        at += 1 + count
    return found


def _last(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
