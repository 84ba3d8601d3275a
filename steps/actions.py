"""The actions: the closed set of small changes to a host, each saying how it is undone.

An action is data. The engine carries it out, journals it and undoes it; steps only name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing is undone, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Inverse:
    """The command that undoes a command; run when the way back comes to it.

    With `lines`, what the command produced is put back byte for byte while it is as the command left it; where it has
    changed since, the command is run only while the file still has one of these lines: else what ours did is gone.
    `lasting` is for what outlasts the boot and is in no file of ours: the command is run in any boot.
    With `unchanged`, the command is run only while what the command produced is as the command left it: where somebody
    else has changed it since, the user decides, for undoing would take theirs away too.
    """

    argv: tuple[str, ...]
    timeout: float = 120.0
    lines: tuple[str, ...] = ()
    lasting: bool = False
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Regenerate:
    """The products are put back byte for byte while they still are what the command made of files that are back as
    they were; otherwise this command makes them anew, once, after all files are back.

    `kin` is a pattern of paths (`*` stands for anything within one name): what matches and was not there then was made
    since of our files, such as the initramfs of a kernel that was installed meanwhile, and is made anew too; `there`
    are those that were there then and are no products. `each` is the command that makes one of `kin`, where there is no
    command that makes all: `{}` in it is what stands for `*`, and it ends before the first path that is not there.
    `unseen` is for what is made where only the command can look, such as files of a partition that
    is not mounted: the way back runs it again, whatever was changed since.
    `made_of` tells of products what this command cannot make them without, such as the modules of a kernel: where all
    of that was removed since, there is nothing to run it for.
    """

    argv: tuple[str, ...]
    timeout: float = 3600.0
    kin: str = ""
    there: tuple[str, ...] = ()
    each: tuple[str, ...] = ()
    unseen: bool = False
    made_of: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Write:
    """The attribute write that undoes an attribute write."""

    path: str
    value: str


@dataclass(frozen=True, slots=True)
class Shutdown:
    """End what another program keeps running, such as a guest of libvirt: by `ask`, after `timeout` seconds by `force`.

    `look` only reads, and prints the keys of all that runs there, one a line: it has ended when `key` is not among
    them. An action of its own, and the undo of the command that started it. Not undone: what ran is gone.
    """

    name: str
    why: str
    look: tuple[str, ...]
    key: str
    ask: tuple[str, ...]
    force: tuple[str, ...]
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class EditFile:
    """Give a file this content, or make it. Undone from its before-image.

    `before` is the sha256 of the content the plan was made from, None where the file did not exist: another content at
    the time of the effect is drift. `inserted` is the one run of bytes that `content` has more than the content
    before; when the user has edited the file since, undoing takes out just that run. With `anywhere` the content has it
    in one place or in more, and it is ours wherever it stands by then: a user may copy what it stands in. `mode` counts
    only for a new file; an existing one keeps mode, owner and extended attributes.
    The path is that of the file itself, not of a symlink to it.
    """

    path: str
    content: bytes
    before: str | None
    why: str
    inserted: bytes = b""
    mode: int = 0o644
    anywhere: bool = False


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Remove a file. Undone from its before-image."""

    path: str
    before: str
    why: str


@dataclass(frozen=True, slots=True)
class RunCommand:
    """Run a command. `produces` names the files it makes or changes: their before-images are kept. `timeout`
    is seconds.

    A command may be cut off by a crash at any point, and then is taken back and run again: it must bear that.
    """

    argv: tuple[str, ...]
    why: str
    undo: Inverse | Regenerate | Keep | Shutdown
    produces: tuple[str, ...] = ()
    timeout: float = 600.0


@dataclass(frozen=True, slots=True)
class WriteAttribute:
    """Write a value to a kernel attribute (sysfs). Done in a child process, which may hang: seconds in `timeout`.

    A missing attribute or an errno of the kernel is a failure; `tolerate` names errno names (`ENODEV`) that are none.
    """

    path: str
    value: str
    why: str
    undo: Write | Keep
    timeout: float = 30.0
    tolerate: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StartProcess:
    """Start a process that outlives us. Undone by stopping it: politely over QMP, then by force after `timeout` s.

    `name` names its files under /run/vfiostate (`NAME.pid`, `NAME.qmp`, `NAME.log`). It runs as `user` (None: ours)
    with the supplementary `groups` (names) and RLIMIT_MEMLOCK of `memlock` bytes (None: unchanged); `devices` are
    device nodes that belong to that user as long as it runs.
    With `inherit_socket` its standard input is the listening unix socket NAME.qmp, made before by the engine and open
    to nobody else; without, it makes that socket itself. With `cpus`, a list of CPUs, it and all its threads begin
    there.
    """

    name: str
    argv: tuple[str, ...]
    why: str
    user: str | None = None
    memlock: int | None = None
    devices: tuple[str, ...] = ()
    timeout: float = 60.0
    groups: tuple[str, ...] = ()
    inherit_socket: bool = False
    cpus: str | None = None


@dataclass(frozen=True, slots=True)
class PinThreads:
    """Let the threads of a guest's vCPUs run on these CPUs only, a list for each, in their order. `process` is the name
    that the guest was started under. Not undone: the threads end with the guest.
    """

    process: str
    cpus: tuple[str, ...]
    why: str
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class StopProcess:
    """Stop a process started by StartProcess, by force after `timeout` seconds. Not undone: what ran is gone."""

    name: str
    why: str
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class RequestReboot:
    """Ask the host to reboot. Not undone."""

    why: str


Action = (
    EditFile
    | RemoveFile
    | RunCommand
    | WriteAttribute
    | StartProcess
    | PinThreads
    | StopProcess
    | Shutdown
    | RequestReboot
)
