"""Whether the account a guest runs as may open what the guest needs: its disks, its CD images, its firmware."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from steps.base import FileKind, Host, Stat
from steps.reading import text_of

READ, WRITE, SEARCH = 4, 2, 1
ROOT = "root"


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the host: its uid and all groups it is in."""

    name: str
    uid: int
    gids: frozenset[int]


@dataclass(frozen=True, slots=True)
class FileFact:
    """A file the guest opens: what it is for, where it really lies (`path` with symlinks followed), what it is (None:
    it is not there) and what keeps the account from it: the file itself, a directory above it, or nothing (None)."""

    path: str
    why: str
    resolved: str
    kind: FileKind | None
    barrier: str | None = None

    @property
    def is_node(self) -> bool:
        """Whether it is a device node: those lie in devtmpfs, and can be given to an account for a while."""
        return self.resolved.startswith("/dev/") and not self.resolved.startswith("/dev/shm/")


def read_account(host: Host, name: str) -> Account | None:
    """The account of that name, from /etc/passwd and /etc/group, or as getent(1) knows it; None where there is none."""
    line = _entry(text_of(host, "/etc/passwd"), name) or _entry(_asked(host, "passwd", name), name)
    fields = (line or "").split(":")
    if len(fields) < 4 or not fields[2].isdecimal() or not fields[3].isdecimal():
        return None
    gids = {int(fields[3])}
    for entry in text_of(host, "/etc/group").splitlines():
        parts = entry.split(":")
        if len(parts) == 4 and parts[2].isdecimal() and name in parts[3].split(","):
            gids.add(int(parts[2]))
    return Account(name, int(fields[2]), frozenset(gids))


def group_name(host: Host, gid: int) -> str | None:
    """The name of a group, None where it has none."""
    for entry in text_of(host, "/etc/group").splitlines():
        parts = entry.split(":")
        if len(parts) == 4 and parts[2] == str(gid):
            return parts[0]
    return None


def _asked(host: Host, database: str, name: str) -> str:
    try:
        answer = host.query(("getent", database, name))
    except TimeoutError:
        return ""
    return answer.text if answer.ok else ""


def _entry(text: str, name: str) -> str | None:
    return next((line for line in text.splitlines() if line.startswith(f"{name}:")), None)


def allows(account: Account, found: Stat, want: int) -> bool:
    """What the permission bits say; an access control list may say otherwise."""
    if account.uid == 0:
        return True
    if found.uid == account.uid:
        return found.mode >> 6 & want == want
    if found.gid in account.gids:
        return found.mode >> 3 & want == want
    return found.mode & want == want


def look(host: Host, account: Account | None, path: str, why: str, *, write: bool) -> FileFact:
    """What a file is, and whether the account may open it (None: it need not)."""
    try:
        resolved = host.resolve(path)
        found = host.lstat(resolved)
    except OSError:
        resolved, found = path, None
    if found is None:
        return FileFact(path, why, resolved, None)
    want = READ | WRITE if write else READ
    barrier = None if account is None else _barrier(host, account, resolved, found, want)
    if barrier is not None and account is not None and _may_after_all(host, account, resolved, write):
        barrier = None
    return FileFact(path, why, resolved, found.kind, barrier)


def _barrier(host: Host, account: Account, path: str, found: Stat, want: int) -> str | None:
    for directory in _above(path):
        above = host.lstat(directory)
        if above is not None and not allows(account, above, SEARCH):
            return directory
    return None if allows(account, found, want) else path


def _above(path: str) -> Iterable[str]:
    parts = path.strip("/").split("/")[:-1]
    return ("/" + "/".join(parts[: count + 1]) for count in range(len(parts)))


def _may_after_all(host: Host, account: Account, path: str, write: bool) -> bool:
    """Ask the kernel as that account: access control lists count too. setpriv(1) is part of util-linux."""
    groups = ",".join(str(gid) for gid in sorted(account.gids))
    become = ("setpriv", f"--reuid={account.uid}", f"--regid={min(account.gids)}", f"--groups={groups}", "--")
    tests = (("test", "-r", path), ("test", "-w", path)) if write else (("test", "-r", path),)
    try:
        return all(host.query((*become, *test), timeout=10.0).ok for test in tests)
    except TimeoutError:
        return False
