"""strace around a run: which calls change something, a kill at one of them, an error given to one of them.

strace(1): an injection's `when=N` counts the calls of each system call by itself and in each process by itself, and a
signal injected at a call arrives before the call is made. So the point `fsync 7` is the moment before the process's
seventh fsync, and a run that is killed there has done everything up to it and nothing of it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.kill.traced.program import Ended, start

BY_DESCRIPTOR = (
    "write writev pwrite64 pwritev pwritev2 ftruncate fallocate fsync fdatasync fchmod fchown fsetxattr fremovexattr "
    "copy_file_range sendfile sync_file_range"
).split()
BY_PATH = (
    "truncate rename renameat renameat2 unlink unlinkat mkdir mkdirat rmdir link linkat symlink symlinkat chmod "
    "fchmodat fchmodat2 chown lchown fchownat setxattr lsetxattr removexattr lremovexattr "
    "utimensat utimes mknod mknodat bind"
).split()
OPENING = "open openat openat2 creat".split()
TELLING = "sendto sendmsg kill".split()
"""To the guest and to the system's log; and to a process that is to end."""
CHANGING = (*BY_DESCRIPTOR, *BY_PATH, *OPENING, *TELLING)
READING = "read pread64 openat getdents64 newfstatat readlink statfs".split()
RESOURCES = "vfork fork clone clone3 pipe2 flock".split()
"""What may fail, and cuts nothing short: reading what the machine has, and what the kernel may have no room for."""

_LINE = re.compile(r"^(?P<name>\w+)\((?P<args>.*)\) += (?P<result>-?\d+|\?)(?P<rest>.*)$")
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"^\d+<([^>]*)>")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call that changes something: its name, its number among the calls of that name, and what it changes.

    `where` is a path within the machine, or what a socket or a signal is for. `model` says that it is the simulated
    kernel that writes: a real one does in one piece, and in no process of ours, what the model needs several calls for.
    """

    name: str
    number: int
    where: str
    model: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.number} ({self.where})"


@dataclass(frozen=True, slots=True)
class Traced:
    """A traced run: how it ended, and the calls of it that were asked for."""

    ended: Ended
    calls: tuple[Call, ...]


def missing() -> str:
    """Why nothing can be traced here; empty where it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-qq", "-e", "trace=none", "-e", "inject=getppid:error=EPERM", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"strace cannot trace here: {tried.stderr.strip()[:200]}"


def changes(machine: Path, *argv: str) -> Traced:
    """Run a command to its end and list the calls by which the program itself changed something, in their order."""
    names = ",".join(f"?{name}" for name in CHANGING)
    ended, lines = _run(machine, argv, ["-y", "-s", "0", "-e", f"trace={names}"])
    return Traced(ended, tuple(_changing(lines, machine)))


def reads(machine: Path, *argv: str) -> Traced:
    """Run a command to its end and list what it reads of the machine (not of the simulated kernel), and asks for."""
    names = ",".join(f"?{name}" for name in (*READING, *RESOURCES))
    ended, lines = _run(machine, argv, ["-y", "-s", "0", "-e", f"trace={names}"])
    return Traced(ended, tuple(_reading(lines, machine)))


def fresh(machine: Path, command: Sequence[str]) -> tuple[Call, ...]:
    """The same of a program that strace starts itself."""
    names = ",".join(f"?{name}" for name in CHANGING)
    with tempfile.TemporaryDirectory(prefix="traced-") as scratch:
        log = Path(scratch, "log")
        options = ["-y", "-s", "0", "-e", f"trace={names}", "-o", str(log)]
        subprocess.run(["strace", *options, *command], capture_output=True, check=True)
        return tuple(_changing(log.read_text(errors="replace").splitlines(), machine))


def kill(machine: Path, at: Call, *argv: str) -> Traced:
    """Run a command and kill it (SIGKILL) at a call; `calls` is where it died, nothing where it never came there."""
    ended, lines = _run(machine, argv, ["-y", "-s", "0", *_inject(at, "signal=KILL")])
    last = [line for line in lines if line.startswith(f"{at.name}(") and line.endswith("= ?")]
    died = [Call(at.name, at.number, _where(at.name, last[-1].partition("(")[2], machine))] if last else []
    return Traced(ended, tuple(died))


def fail(machine: Path, at: Call, error: str, *argv: str, on: bool = False) -> Traced:
    """Run a command whose call fails with this errno, without being made; with `on` every later one of its name too."""
    ended, lines = _run(machine, argv, ["-y", "-s", "0", *_inject(at, f"error={error}", on=on)])
    hit = (_where(at.name, line.partition("(")[2], machine) for line in lines if "(INJECTED)" in line)
    return Traced(ended, tuple(Call(at.name, at.number, where, _is_model(where)) for where in hit))


def _inject(at: Call, what: str, *, on: bool = False) -> list[str]:
    return ["-e", f"trace={at.name}", "-e", f"inject={at.name}:{what}:when={at.number}{'+' if on else ''}"]


def _run(machine: Path, argv: Sequence[str], options: Sequence[str]) -> tuple[Ended, list[str]]:
    """Attach to the held child, let it go, and read what was written of it. The child's own children go untraced."""
    with tempfile.TemporaryDirectory(prefix="traced-") as scratch:
        log = Path(scratch, "log")
        child = start(machine, argv, held=True)
        tracer = subprocess.Popen(
            ["strace", "-p", str(child.pid), "-o", str(log), *options], stderr=subprocess.PIPE, text=True
        )
        with tracer:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            if "attached" not in said:
                os.kill(child.pid, signal.SIGKILL)
            child.let_go()
            ended = child.end()
        if "attached" not in said:
            raise OSError(f"strace did not attach: {said.strip()}")
        return ended, log.read_text(errors="replace").splitlines()


def _changing(lines: Sequence[str], machine: Path) -> Iterator[Call]:
    """The calls that succeeded and changed something of the machine, each with its number."""
    numbers: Counter[str] = Counter()
    for line in lines:
        name = line.partition("(")[0]
        numbers[name] += 1
        found = _LINE.match(line)
        if found is None or found["result"].startswith("-"):
            continue
        if name in OPENING and not re.search(r"O_CREAT|O_TRUNC", found["args"]) and name != "creat":
            continue
        where = _where(name, found["args"], machine)
        if where:
            yield Call(name, numbers[name], where, _is_model(where))


def _reading(lines: Sequence[str], machine: Path) -> Iterator[Call]:
    """The calls that succeeded and read something of the machine, or asked the kernel for something."""
    numbers: Counter[str] = Counter()
    for line in lines:
        name = line.partition("(")[0]
        numbers[name] += 1
        found = _LINE.match(line)
        if found is None or found["result"].startswith("-") or re.search(r"O_CREAT|O_TRUNC", found["args"]):
            continue
        where = "a process or a pipe" if name in RESOURCES else _where(name, found["args"], machine)
        if where and not _is_model(where):
            yield Call(name, numbers[name], where)


def _where(name: str, args: str, machine: Path) -> str:
    """What a call changes: a path within the machine; empty where that is nothing of the machine's."""
    if name in TELLING:
        return "a process" if name == "kill" else "a socket"
    if name in BY_DESCRIPTOR or name in ("read", "pread64", "getdents64"):
        found = _DESCRIPTOR.match(args)
        path = found[1] if found else ""
    else:
        paths = _PATH.findall(args)
        path = paths[-1] if paths else ""
        if path.startswith("/proc/self/fd/"):
            return f"a socket at {path.rpartition('/')[2]}"
    path = path.removesuffix("(deleted)")
    below = f"{machine}/"
    return path.removeprefix(below) if path.startswith(below) else ""


def _is_model(where: str) -> bool:
    return where.startswith(("sys/", "proc/", "dev/", ".kernel/", "var/log/kern.log", "machine.json"))


def points(calls: Sequence[Call]) -> list[Call]:
    """Those of the calls at which the program can be cut short on a real host.

    Of what the simulated kernel writes in one go only the first call is one: the moment before it is done at all.
    """
    return [
        call
        for before, call in zip((None, *calls), calls, strict=False)
        if not (call.model and before and before.model)
    ]
