"""The one exception tree: a stable code, an exit code and a hint for everything that can go wrong."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

# As typing.TYPE_CHECKING, without the import: `vfiostate --help` loads these errors, and its start-up is measured.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class Exit(IntEnum):
    """The exit codes of every command. 64, 75 and 77 are those of sysexits.h."""

    DONE = 0
    FAILED = 1
    PENDING = 2
    REBOOT = 3
    DRIFT = 4
    REFUSED = 5
    DAMAGED = 6
    USAGE = 64
    LOCKED = 75
    NOT_ROOT = 77


FAULT_HINT = "This is a fault of vfiostate: report it, with the output of the same command with `-v`."


def sentence(text: str) -> str:
    """A text with a capital and a full stop, on one line."""
    line = " ".join(text.split())
    return f"{line[:1].upper()}{line[1:]}" + ("" if line.endswith((".", "!", "?")) else ".")


class VfiostateError(Exception):
    """Something the user is told: what was expected and found (message, evidence) and what to do next (hint)."""

    code: ClassVar[str] = "failed"
    exit: ClassVar[Exit] = Exit.FAILED

    def __init__(self, message: str, *, hint: str = "", evidence: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.evidence = tuple(evidence)
        # Whether an event of the journal says so already.
        self.journaled = False


class UsageError(VfiostateError):
    """The command line or a value in it is not what the command takes."""

    code = "usage"
    exit = Exit.USAGE


class ConfigurationError(VfiostateError):
    """The configuration is missing, unreadable, unsafe or says something that is not understood."""

    code = "configuration"
    exit = Exit.USAGE


class NotRootError(VfiostateError):
    """The command changes the host and needs root."""

    code = "needs-root"
    exit = Exit.NOT_ROOT


class LockedError(VfiostateError):
    """Another vfiostate holds the lock, or a package manager makes the files that we do."""

    code = "locked"
    exit = Exit.LOCKED


class RefusedError(VfiostateError):
    """The host cannot or must not be set up so; nothing was changed."""

    code = "refused"
    exit = Exit.REFUSED


class DriftError(VfiostateError):
    """The host differs from what the journal says, and it was not us."""

    code = "drift"
    exit = Exit.DRIFT


class RebootNeededError(VfiostateError):
    """What was asked for has to wait for the next boot."""

    code = "reboot-first"
    exit = Exit.REBOOT


class ActionFailedError(VfiostateError):
    """An action on the host failed; the step was taken back."""

    code = "action-failed"


class JournalError(VfiostateError):
    """The journal cannot be used; nothing was written to it."""

    code = "journal"
    exit = Exit.DAMAGED


class JournalDamagedError(JournalError):
    """A record does not carry the hash it must, a number is missing, or the database file is broken."""

    code = "journal-damaged"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        evidence: Sequence[str] = (),
        seq: int | None = None,
        good: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint, evidence=evidence)
        self.seq = seq
        """The first damaged or missing event, None where the damage has no number."""
        self.good = good
        """The last event up to which everything is good, None where that is not known."""


class JournalLostError(JournalError):
    """What a setup left is there, and the journal does not know that setup."""

    code = "journal-lost"


class JournalNewerError(JournalError):
    """The journal was written by a newer version."""

    code = "journal-newer"


class NotAJournalError(JournalError):
    """The file is not a journal of ours."""

    code = "not-a-journal"


class JournalEmptyError(NotAJournalError):
    """The file has no byte: what was in it, if anything, is lost."""

    code = "journal-empty"


class JournalUnreadableError(JournalError):
    """The journal is there and cannot be opened or read."""

    code = "journal-unreadable"


class JournalMissingError(JournalError):
    """There is no journal yet."""

    code = "no-journal"
    exit = Exit.FAILED


class JournalExistsError(JournalError):
    """A journal is to be made where there is one already."""

    code = "journal-exists"
    exit = Exit.FAILED


class JournalUncertainError(JournalError):
    """What was to be appended is in the journal, and whether it is durable nobody can say."""

    code = "journal-uncertain"


class JournalFullError(JournalError):
    """There is no room to append; nothing was appended."""

    code = "journal-full"
    exit = Exit.FAILED


class JournalLockedError(JournalError):
    """Another process is writing to the journal and did not finish in time."""

    code = "journal-locked"
    exit = Exit.LOCKED
