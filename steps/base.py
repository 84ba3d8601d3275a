"""What every step is made of: the states, the read-only view of a host, findings, plans, and the shape of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from journal.errors import Exit

# Twenty dataclasses, named here in annotations only: a `status` that reads must not pay for making them.
if TYPE_CHECKING:
    from steps.actions import Action
    from steps.config import Config

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"


class State(StrEnum):
    """The states of a setup, in the order of the way there."""

    NEW = "new"
    CHECKED = "checked"
    MODULES_LOADED = "modules_loaded"
    STUBBED = "stubbed"
    REBOOTED = "rebooted"
    BOUND = "bound"
    RUNNING = "running"

    @property
    def rank(self) -> int:
        """How far along the way this state is; `new` is 0."""
        return list(State).index(self)


class FileKind(StrEnum):
    """What a path is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Stat:
    """What lstat(2) says of a path; `mode` holds permission bits only, `size` is bytes, `changed` when its content was
    changed last (ns); `file` tells whether two paths are of one file (device and inode), None where that is unknown."""

    kind: FileKind
    mode: int
    uid: int
    gid: int
    size: int
    changed: int = 0
    file: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended: exit status (negative: the signal), output."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.status == 0

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are not UTF-8 are shown as replacement characters."""
        return self.stdout.decode(errors="replace")


class Host(Protocol):
    """The read-only view of a host. Paths are absolute and as the host sees them, whatever directory it lives in.

    The file methods raise what the system raises (FileNotFoundError, PermissionError, …). No symlink leads out of the
    host's root.
    """

    def read(self, path: str) -> bytes:
        """The content of a file, symlinks followed."""
        ...

    def lstat(self, path: str) -> Stat | None:
        """What the path itself is, None where nothing is."""
        ...

    def list(self, path: str) -> tuple[str, ...]:
        """The names in a directory, sorted."""
        ...

    def readlink(self, path: str) -> str:
        """The text of a symlink."""
        ...

    def resolve(self, path: str) -> str:
        """The path with every symlink followed, in the host's terms; need not exist."""
        ...

    def which(self, name: str) -> str | None:
        """The path of a command on the fixed PATH, None where there is none."""
        ...

    def free(self, path: str) -> int:
        """Bytes that may still be written to the file system that holds `path` (or its nearest existing parent)."""
        ...

    def query(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        """Run a command that only reads. Status 127 where the command is missing; raises TimeoutError when it hangs."""
        ...

    def qmp(
        self, name: str, command: str, arguments: Mapping[str, Json] | None = None, *, timeout: float = 10.0
    ) -> Json:
        """What the guest started under that name answers to a QMP command that only reads, such as `query-status`.

        Raises ConnectionError where nobody answers (whether it has ended, `alive` tells), TimeoutError after `timeout`
        seconds, ValueError where the command is refused.
        """
        ...

    def alive(self, name: str) -> int | None:
        """The pid of a process that was started under that name, None where it does not run (any more)."""
        ...

    @property
    def release(self) -> str:
        """The running kernel's release (`uname -r`)."""
        ...

    @property
    def boot_id(self) -> str:
        """/proc/sys/kernel/random/boot_id."""
        ...


class Severity(StrEnum):
    """How much a finding weighs. A refusal stops the step before anything is changed."""

    NOTE = "note"
    WARNING = "warning"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something found on the host that the user should know: a stable code, one sentence, where it was seen, and what
    to do next. `exit` is the command's exit code when this finding stops it."""

    code: str
    severity: Severity
    message: str
    evidence: tuple[str, ...] = ()
    hint: str = ""
    exit: Exit = Exit.REFUSED


@dataclass(frozen=True, slots=True)
class Plan:
    """What a step would do, completely: actions in order, what is left alone and why (`notes`), findings, and what
    later steps are to remember (`remember`, kept in the transition's event).

    `before_reboot` are actions for a step that must wait for a reboot: they see to it that it is the right one.
    """

    actions: tuple[Action, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    remember: Mapping[str, str] = field(default_factory=dict)
    before_reboot: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class Brief:
    """What a step is told besides the host: the configuration, the setup's id, the boot in which the present state
    was reached, what earlier steps remembered (step -> key -> value), and which files carry content of ours now
    (path -> its sha256).

    `begun` are the steps that were begun in the present state, so that they had been found possible (step -> the last
    boot in which one was); `acted` is the boot of the last action. `trial` is whether a new command line must prove
    itself in a boot of its own before it is the default, `again` whether a trial that failed is to be made once more.
    `produced` are the files that commands of ours made (path -> sha256 as the last of them left it). `refused` is why
    a step was refused last in the present state, by the codes of its findings.
    """

    config: Config
    setup: str
    boot: str
    remembered: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)
    begun: Mapping[str, str] = field(default_factory=dict)
    acted: str = ""
    trial: bool = True
    again: bool = False
    produced: Mapping[str, str] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()


F = TypeVar("F")


class Step(Protocol[F]):
    """One transition. `probe` reads; `plan` and `verify` are pure: the same facts give the same answer."""

    name: str
    source: State
    target: State

    def probe(self, host: Host, brief: Brief) -> F:
        """Read from the host all that planning and verifying need."""
        ...

    def plan(self, brief: Brief, facts: F) -> Plan:
        """What is to be done, or why it must not be."""
        ...

    def verify(self, brief: Brief, facts: F) -> tuple[Finding, ...]:
        """After the actions, on new facts: what is not as it should be. A refusal takes the step back."""
        ...
