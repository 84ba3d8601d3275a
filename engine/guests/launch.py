"""A process that outlives us: started with its rights set, found again by its pid file, ended.

Its files lie in one directory (0700): `NAME.pid` (pid and start time, so that a reused pid is not mistaken for it),
`NAME.qmp`, `NAME.log`, and `NAME.devices`, which says whose the device nodes were that it was given.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import json
import os
import pwd
import re
import resource
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.guests import unix
from engine.hosts.base import PATH
from steps.reading import NOT_THERE
from steps.tuning import cpulist

if TYPE_CHECKING:
    from steps.actions import StartProcess

ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C", "HOME": "/"}
SOCKET_WAIT = 10.0
KILL_WAIT = 10.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_POLL = 0.02
# Children of this very process become zombies when they end; who has no parent here is reaped by init.
_children: dict[int, subprocess.Popen[bytes]] = {}


def launch(process: StartProcess, runtime: Path) -> int:
    """Start a process in a session of its own and return its pid; its output goes to NAME.log.

    The child writes its pid file itself, before it becomes the program: a crash of ours at any line leaves either
    nothing running or a process that `alive` finds. Raises OSError (EEXIST when it runs already, EPERM when we may not
    change user or raise the limit, ENOENT for a missing program, user or group).
    Without root it runs as whoever we are, and no device nodes are given to it.
    """
    _check(process.name)
    _private(runtime)
    if alive(process.name, runtime) is not None:
        raise FileExistsError(errno.EEXIST, "runs already", process.name)
    tidy(process.name, runtime)
    account = _account(process.user) if os.geteuid() == 0 else None
    try:
        if account is not None and process.devices:
            # A crash between this and the start leaves nodes given away; NAME.devices lets the next start or end give
            # back.
            _give(process.devices, account.pw_uid, runtime / f"{process.name}.devices")
        child = _started(process, account, runtime)
    except Exception:
        # Whatever kept it from starting: what does not run keeps no device node. Raised again as it came.
        if alive(process.name, runtime) is None:
            tidy(process.name, runtime)
        raise
    _children[child.pid] = child
    if not process.inherit_socket:
        _await_socket(process.name, runtime)
    return child.pid


def _started(process: StartProcess, account: pwd.struct_passwd | None, runtime: Path) -> subprocess.Popen[bytes]:
    with contextlib.ExitStack() as stack:
        log = _opened(stack, runtime / f"{process.name}.log", os.O_TRUNC | os.O_APPEND)
        pid_file = _opened(stack, runtime / f"{process.name}.pid", os.O_TRUNC)
        inherited = stack.enter_context(_listening(runtime, process.name)) if process.inherit_socket else None
        stack.enter_context(_locked_memory(process.memlock))
        stack.enter_context(_running_on(process.cpus))
        return subprocess.Popen(
            process.argv,
            stdin=subprocess.DEVNULL if inherited is None else inherited.fileno(),
            stdout=log,
            stderr=log,
            cwd="/",
            env=ENVIRONMENT,
            umask=0o077,
            start_new_session=True,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[_group(name) for name in process.groups] if account else None,
            preexec_fn=_announce(pid_file),
        )


def alive(name: str, runtime: Path) -> int | None:
    """The pid of the process started under that name, None where it does not run (any more).

    One that has ended no longer owns the device nodes it was given. Raises OSError where that cannot be told.
    """
    _check(name)
    try:
        pid, started = (int(word) for word in (runtime / f"{name}.pid").read_text("ascii").split())
    except (*NOT_THERE, ValueError):
        return None
    if (child := _children.get(pid)) is not None and child.poll() is not None:
        del _children[pid]
    elif _start_time(pid) == started:
        return pid
    _give_back(runtime / f"{name}.devices")
    return None


def end(name: str, runtime: Path, *, timeout: float) -> None:
    """End it, if it runs: SIGTERM, after `timeout` seconds SIGKILL; then give back what it was given.

    Raises TimeoutError when even that does not end it: it hangs in the kernel.
    """
    for number, wait in ((signal.SIGTERM, timeout), (signal.SIGKILL, KILL_WAIT)):
        pid = alive(name, runtime)
        if pid is None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if gone(name, runtime, wait):
            break
    else:
        raise TimeoutError(f"{name} cannot be ended: it hangs in the kernel")
    tidy(name, runtime)


def gone(name: str, runtime: Path, timeout: float) -> bool:
    """Wait at most `timeout` seconds for it to end; whether it did."""
    deadline = time.monotonic() + timeout
    while alive(name, runtime) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def uptime(pid: int) -> float | None:
    """Since when a process runs, in seconds; None where it does not."""
    started = _start_time(pid)
    if started is None:
        return None
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK"))


def tidy(name: str, runtime: Path) -> None:
    """Give back the device nodes of a process that has ended, and remove its files but the log."""
    _check(name)
    _give_back(runtime / f"{name}.devices")
    for path in (runtime / f"{name}.qmp", runtime / f"{name}.pid"):
        path.unlink(missing_ok=True)


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a process: letters, digits, `.`, `-` and `_` only")


def _account(user: str | None) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(user) if user else None
    except KeyError as error:
        raise FileNotFoundError(errno.ENOENT, "there is no such user", user) from error


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise FileNotFoundError(errno.ENOENT, "there is no such group", name) from error


def _private(runtime: Path) -> None:
    """Make the directory, or see that it is ours and nobody else's."""
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = runtime.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "is not a directory of ours", str(runtime))
    if stat.S_IMODE(found.st_mode) != 0o700:
        runtime.chmod(0o700)


def _opened(stack: contextlib.ExitStack, path: Path, flags: int) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
    stack.callback(os.close, descriptor)
    return descriptor


@contextlib.contextmanager
def _listening(runtime: Path, name: str) -> Iterator[socket.socket]:
    """A listening unix socket (0600) for the child; our own copy is closed, so that it ends with the child."""
    with (
        unix.address(runtime / f"{name}.qmp") as address,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
    ):
        before = os.umask(0o177)
        try:
            listener.bind(address)
        finally:
            os.umask(before)
        listener.listen(8)
        yield listener


@contextlib.contextmanager
def _locked_memory(limit: int | None) -> Iterator[None]:
    """Raise our RLIMIT_MEMLOCK (bytes) for the child to inherit: it has it before its first instruction."""
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit is None or before[0] == resource.RLIM_INFINITY or before[0] >= limit:
        yield
        return
    hard = before[1] if before[1] == resource.RLIM_INFINITY else max(limit, before[1])
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, hard))
    except ValueError as error:
        raise PermissionError(errno.EPERM, f"RLIMIT_MEMLOCK cannot be raised to {limit} bytes") from error
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, before)


@contextlib.contextmanager
def _running_on(cpus: str | None) -> Iterator[None]:
    """Go to these CPUs for the child to inherit it. Raises OSError (EINVAL) where none of them is online."""
    if cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpulist.parse(cpus))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _announce(descriptor: int) -> Callable[[], None]:
    def write() -> None:
        os.write(descriptor, f"{os.getpid()} {_start_time(os.getpid())}\n".encode("ascii"))

    return write


def _start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None where there is none or only a zombie (proc(5), stat)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (*NOT_THERE, ProcessLookupError):
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _await_socket(name: str, runtime: Path) -> None:
    """Wait until it listens. Its socket is there before that, and who connects between bind(2) and listen(2) is
    refused, as if it had ended."""
    deadline = time.monotonic() + SOCKET_WAIT
    while not _listens(runtime / f"{name}.qmp") and alive(name, runtime) and time.monotonic() < deadline:
        time.sleep(_POLL)


def _listens(path: Path) -> bool:
    try:
        with unix.address(path) as address, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
            tried.settimeout(1.0)
            tried.connect(address)
    except OSError:
        return False
    return True


def _give(devices: Sequence[str], uid: int, record: Path) -> None:
    nodes = [(path, os.stat(path)) for path in devices]
    for path, node in nodes:
        if not (stat.S_ISCHR(node.st_mode) or stat.S_ISBLK(node.st_mode)):
            raise PermissionError(errno.EPERM, "is not a device node and is not given away", path)
    owners = {path: [node.st_uid, node.st_gid] for path, node in nodes}
    descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(owners, stream)
    for path in owners:
        os.chown(path, uid, -1)


def _give_back(record: Path) -> None:
    try:
        owners = json.loads(record.read_text("utf-8"))
    except (OSError, ValueError):
        return
    for path, (uid, gid) in owners.items():
        with contextlib.suppress(FileNotFoundError):  # a node goes with its device
            os.chown(path, uid, gid)
    record.unlink(missing_ok=True)
