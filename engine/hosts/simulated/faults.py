"""The faults that a description asks for: commands that fail, hang or print rubbish, disks that are full or read-only.

`faults` in machine.json: `{"commands": {NAME: {"status": 1, "stdout": …, "stderr": …, "hangs": true, "matching": WORD,
"lacking": WORD, "times": N}}, "read_only": [PREFIX, …], "space": BYTES}`. The counts lie in DIR/.kernel and start anew
with a boot.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from engine.hosts.simulated.doubles.base import answer
from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.reader import Reader
from steps.base import Completed


def _faults(machine: Machine) -> Reader:
    return Reader(dict(machine.description.faults), "faults")


def command(machine: Machine, name: str, argv: Sequence[str]) -> Completed | None:
    """What a spoilt command answers, None where it is to work. Raises TimeoutError for one that hangs."""
    commands = _faults(machine).inner("commands")
    if name not in commands.value:
        return None
    one = commands.inner(name)
    if one.text("matching", "") and one.text("matching") not in argv:
        return None
    if one.text("lacking", "") and one.text("lacking") in argv:
        return None
    counter = f"/.kernel/faults/{name}"
    done = int(machine.text(counter, "0"))
    if done >= one.number("times", 1 << 30):
        return None
    machine.put(counter, str(done + 1))
    if one.flag("hangs"):
        raise TimeoutError(f"{name} gave no answer (a fault that machine.json asks for)")
    return answer(argv, one.text("stdout", ""), stderr=one.text("stderr", ""), status=one.number("status", 0))


def before_write(machine: Machine, path: str, size: int) -> None:
    """Refuse a write to a read-only place (EROFS) or beyond the space left (ENOSPC), otherwise count it."""
    found = _faults(machine)
    if any(path.startswith(prefix) for prefix in found.strings("read_only")):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
    left = space(machine)
    if left is None:
        return
    if size > left:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    machine.put("/.kernel/written", str(int(machine.text("/.kernel/written", "0")) + size))


def space(machine: Machine) -> int | None:
    """Bytes that may still be written, None where the description sets no limit."""
    limit = _faults(machine).maybe_number("space")
    return None if limit is None else max(0, limit - int(machine.text("/.kernel/written", "0")))
