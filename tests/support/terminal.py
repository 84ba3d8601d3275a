"""A program at a terminal: a pseudo terminal whose answers are typed when it asks."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
CTRL_C, CTRL_D = b"\x03", b"\x04"


def at_terminal(
    *argv: str, typed: Sequence[bytes] = (), prompt: bytes = b": ", environment: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run `vfiostate ARGV…` there, typing the next answer whenever it shows the prompt. Its exit code, and the screen.

    The answers are keys: a line ends with a newline, ctrl-C and ctrl-D are what the terminal makes of them.
    """
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(TOP), "TERM": "xterm", **(environment or {})}
    script = "import sys; from engine.__main__ import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", script, *argv],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=env,
        preexec_fn=_own_terminal,
    )
    os.close(theirs)
    shown, answers, deadline = b"", list(typed), time.monotonic() + 300
    answered = 0
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                chunk = os.read(ours, 65536)
            except OSError:
                break
            if not chunk:
                break
            shown += chunk
        if answers and len(shown) > answered and shown.endswith(prompt):
            answered = len(shown)
            os.write(ours, answers.pop(0))
    os.close(ours)
    return process.wait(timeout=60), shown.decode(errors="replace").replace("\r\n", "\n")


def _own_terminal() -> None:
    """A session of its own with this terminal, so that its keys make signals; what the caller ignores it does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
