"""Errors that are not crashes: what the program answers, what it leaves, and that the next run gets there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from journal.errors import Exit
from journal.events import Event, Kind
from tests.kill.traced import tracer
from tests.kill.traced.kills import Way, lived
from tests.kill.traced.machines import (
    JOURNAL,
    NotAsPromised,
    Stages,
    different,
    events,
    expect,
    host,
    scratch,
    told,
    verified,
)
from tests.kill.traced.program import Ended
from tests.kill.traced.sameness import Walked
from tests.kill.traced.tracer import Call

LOCK = "run/lock/vfiostate.lock"
CONFIG = "etc/vfiostate.toml"
LOCKS = LOCK.rpartition("/")[0]
ANSWERS = frozenset(map(int, Exit)) - {Exit.PENDING}
"""What `advance` and `rollback` may answer to a fault of the system (DESIGN.md's table); 64 says that the configuration
cannot be read."""
FAILURES = frozenset({Kind.STEP_FAILED, Kind.STEP_REFUSED, Kind.DRIFT_FOUND, Kind.ROLLBACK_STOPPED})

_DISK = ("ENOSPC", "EDQUOT", "EIO", "EROFS")
_NAMES = ("EACCES", "EPERM", "ENOMEM")
ERRORS = {
    **dict.fromkeys(("write", "pwrite64", "ftruncate", "fallocate", "copy_file_range"), (*_DISK, "ENOMEM")),
    **dict.fromkeys(("fsync", "fdatasync"), ("EIO", "ENOSPC", "EDQUOT", "EROFS")),
    **dict.fromkeys(("openat", "mkdir", "link", "symlink", "rename"), (*_DISK, *_NAMES)),
    **dict.fromkeys(("unlink", "rmdir", "chmod", "fchmod", "chown", "fchown"), ("EIO", "EROFS", *_NAMES)),
    **dict.fromkeys(("setxattr", "fsetxattr"), (*_DISK, "EPERM", "ENOTSUP")),
    "bind": ("EADDRINUSE", "EACCES", "ENOSPC"),
    "sendto": ("EPIPE", "ECONNRESET", "ENOBUFS"),
    "sendmsg": ("EPIPE", "ECONNRESET", "ENOBUFS"),
    "kill": ("EPERM", "ESRCH"),
}
READ_ERRORS = {
    **dict.fromkeys(("read", "pread64", "getdents64"), ("EIO",)),
    **dict.fromkeys(("newfstatat", "readlink"), ("EACCES", "EIO")),
    "openat": ("EACCES", "EIO", "EMFILE", "ENOMEM"),
    "statfs": ("EIO",),
    **dict.fromkeys(("vfork", "fork", "clone", "clone3"), ("EAGAIN", "ENOMEM")),
    "pipe2": ("EMFILE",),
    "flock": ("ENOLCK",),
}
"""The errors that each call can give, as its manual page lists them, where they are no mistake of ours."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the program answered to a fault: its exit code, and what was promised and not kept, if anything."""

    way: Way
    fault: str
    kind: str
    code: int | None
    tracebacks: int = 0
    failure: str = ""


def errors_of(call: Call, *, reading: bool = False) -> tuple[str, ...]:
    """What can go wrong with a call on a real host; nothing where the simulated kernel makes it."""
    return () if call.model else (READ_ERRORS if reading else ERRORS).get(call.name, ())


def failed(
    stages: Stages, way: Way, call: Call, error: str, place: Path, walked: Walked, *, on: bool = False
) -> Answer:
    """Give one call an error (with `on`, every later one of its name too) and see what comes of it."""
    kind = f"{call.name} {category(call.where)}"
    fault = f"{error} from then on" if on else error
    code: int | None = None
    ended: Ended | None = None
    try:
        with scratch(place) as base:
            machine = way.machine(stages, base / "m")
            before, began, known = host(machine), told(machine), len(events(machine))
            traced = tracer.fail(machine, call, error, way.command, on=on)
            if not traced.calls or not traced.calls[0].where or traced.calls[0].model:
                # Another call had that number: of a run that differs a little, of the interpreter, or of the model.
                expect(traced.ended, *ANSWERS, doing="a run that never came to its point")
                return Answer(way, fault, kind, None)
            ended = traced.ended
            code = ended.code
            answered(machine, way, ended, before, began, silent=on or not _ours(traced.calls[0]), known=known)
            lived(stages, way, machine, began, walked)
    except NotAsPromised as failure:
        said = f"\n--- it had answered {code}:\n{ended.output}" if ended else ""
        return Answer(way, fault, kind, code, int(bool(ended and ended.fault)), f"{call}: {error}: {failure}{said}")
    return Answer(way, fault, kind, code)


def _ours(call: Call) -> bool:
    """Whether the journal could still be written, and there was a run to speak of: nobody writes without the lock, nor
    where the configuration, which may put the journal elsewhere, cannot be read."""
    return not call.where.startswith((JOURNAL, f"{JOURNAL.rpartition('/')[0]}/.journal", LOCKS, CONFIG))


def answered(
    machine: Path, way: Way, ended: Ended, before: dict[str, object], began: Sequence[str], *, silent: bool, known: int
) -> None:
    """Hold one answer to what every answer promises. With `silent`, the journal itself need not tell of it.

    Raises NotAsPromised.
    """
    expect(ended, *ANSWERS, doing=f"{way}, given a fault")
    verified(machine)
    moved = told(machine) != tuple(began) and told(machine) != ("new",)
    if ended.code in (Exit.DONE, Exit.REBOOT):
        if not moved:
            raise NotAsPromised(f"it answered {ended.code}, and the journal tells no move: {told(machine)}")
        return
    if "  -> " not in ended.output:
        raise NotAsPromised(f"it answered {ended.code} without saying what to do next")
    if not silent and began and ended.code != Exit.DAMAGED and not _tells(events(machine)[known:]):
        raise NotAsPromised(f"it answered {ended.code}, and the journal does not tell why")
    if not way.back and not moved:
        differ = different(host(machine), before)
        if differ and ended.code != Exit.DAMAGED and not silent:
            raise NotAsPromised(f"it answered {ended.code}, and the step was not taken back: {differ}")


def _tells(found: Sequence[Event]) -> bool:
    return any(
        event.kind in FAILURES or (event.kind is Kind.OUTCOME and event.data["result"] in ("failed", "kept", "unknown"))
        for event in found
    )


def category(where: str) -> str:
    """The kind of thing that a call changes, for the table."""
    if where.startswith("var/lib/vfiostate/"):
        name = where.rpartition("/")[2]
        return "the journal" if "journal" in name else "restore.sh" if where.count("/") == 3 else "before-images"
    if where.startswith(("run/lock", "run/vfiostate", "var/log")):
        return {"run/l": "the lock", "run/v": "the guest's files"}.get(where[:5], "the system's log")
    if where.startswith(("etc/", "boot", "usr/")):
        return "the host's files"
    return "the state directory" if where.startswith("var/lib/vfiostate") else where
