"""What the real bash makes of a described machine's files that are bash scripts, as the tools that source them do."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


class SourceError(Exception):
    """bash did not come to the end of the files; the text is what it said."""


def arrays(
    files: Iterable[Path], names: Sequence[str], given: Mapping[str, str] | None = None
) -> Mapping[str, list[str]]:
    """Variables after the files were sourced, each as the words of an array. Raises SourceError."""
    script = "".join(f"{name}={_quoted(value)}\n" for name, value in (given or {}).items())
    for one in files:
        script += f". {_quoted(str(one))} </dev/null >&2 || [ $? -lt 2 ] || exit\n"
    script += "".join(f'printf \'%s\\0\' "${{#{name}[@]}}" "${{{name}[@]}}"\n' for name in names)
    # No PATH: a described machine's files call nothing of this host's.
    clean = {"PATH": "/nonexistent", "LC_ALL": "C"}
    ran = subprocess.run(
        ["/bin/bash", "-p"], input=script.encode(), capture_output=True, timeout=30, env=clean, check=False
    )
    if ran.returncode != 0 or b"syntax error" in ran.stderr or b"unexpected EOF" in ran.stderr:
        raise SourceError(ran.stderr.decode(errors="replace") or "bash ended early\n")
    values = iter(ran.stdout.decode("utf-8", "surrogateescape").split("\0"))
    return {name: [next(values) for _ in range(int(next(values)))] for name in names}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
