"""One run of the program on one host: the host, the lock, the journal and the configuration together."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shlex
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine import heads, lock
from engine.hosts.base import ChangeableHost
from engine.progress import Reporter
from engine.scribe import Scribe
from engine.setup import Setup, fold
from engine.target import SessionOptions, open_host
from engine.version import VERSION
from journal.before import Where, named
from journal.errors import (
    JournalEmptyError,
    JournalLostError,
    JournalMissingError,
    NotRootError,
    RefusedError,
)
from journal.events import Draft, Kind, Origin
from journal.images import Images
from journal.store import Journal
from steps.base import Brief, FileKind, State
from steps.reading import NOT_THERE

if TYPE_CHECKING:
    from steps.config import Config

STATE_DIR = "/var/lib/vfiostate"
# How the head of restore.sh says whose it is.
SCRIPT_OF = re.compile(rb"^# .*; setup ([0-9a-f]{12})\.$", re.MULTILINE)
# A kernel command line that says for which setup it was written.
BOOTED_FOR = re.compile(rb"(?<!\S)vfiostate\.setup=([0-9a-f]{12})(?!\S)")
# The key, bare or quoted, not commented out.
URL_KEY = re.compile(rb"""^[ \t]*["']?journal_url["']?[ \t]*=""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user chose for this run: whether a new command line has to prove itself in a trial boot (`trial`), and
    whether a trial that failed is made once more (`again`)."""

    trial: bool = True
    again: bool = False


@dataclass(slots=True)
class Session:
    """What every command that speaks of a setup works on."""

    host: ChangeableHost
    scribe: Scribe
    images: Images
    reporter: Reporter
    options: SessionOptions
    state_dir: str = STATE_DIR
    choice: Choice = field(default_factory=Choice)

    @property
    def journal(self) -> Journal:
        """The journal."""
        return self.scribe.journal

    @property
    def setup(self) -> Setup:
        """The present setup. Raises JournalMissingError where none was begun."""
        if self.scribe.setup is None:
            raise JournalMissingError("Nothing was set up on this host yet.", hint="`vfiostate advance` begins.")
        return self.scribe.setup

    @property
    def config(self) -> Config:
        """The configuration that the present setup goes by: the journal's copy of it."""
        from engine import config as configuration  # not for a `status`

        return configuration.decode(self.setup.config)

    def read_config(self) -> Config:
        """The configuration as the file says it now. Raises ConfigurationError."""
        from engine import config as configuration  # not for a `status`

        return configuration.load(self.host, self.options.config)

    def config_now(self) -> tuple[Config, tuple[str, ...]]:
        """The configuration to go on with, as the file says it now, and its keys that the journal has otherwise.

        What only the guest's start goes by may change until then, but not which guest it is while it runs; the rest was
        checked. Raises RefusedError, ConfigurationError.
        """
        from engine import config as configuration  # not for a `status`

        config = self.read_config()
        if configuration.sha256(config) == self.setup.config_sha256:
            return config, ()
        # Read as this version reads it: an older one knew fewer keys, and a key at its default is no change.
        was = self.config
        firm = configuration.changed(configuration.without_start(was), configuration.without_start(config))
        if firm and self.setup.state is not State.NEW:
            raise RefusedError(
                f"The configuration changed after `checked`: {', '.join(firm)}.",
                evidence=(self.options.config,),
                hint="Change it back, or run `vfiostate rollback` first and begin with the new one.",
            )
        from engine.guests.started import refuse_another  # not for a `status`

        refuse_another(self.host, self.setup, was.guest, config.guest)
        return config, configuration.changed(was, config)

    def brief(self) -> Brief:
        """What a step is told."""
        setup = self.setup
        return Brief(
            self.config,
            setup.id,
            setup.boot,
            dict(setup.remembered),
            setup.written,
            dict(setup.begun),
            setup.acted,
            self.choice.trial,
            self.choice.again,
            setup.produced,
            setup.refused,
        )

    def begin_setup(self, config: Config) -> Setup:
        """Start a new setup in the journal."""
        from engine import config as configuration  # not for a `status`

        data: dict[str, Any] = {
            "config": configuration.encode(config),
            "config_sha256": configuration.sha256(config),
            "host": host_identity(self.host),
            "state": State.NEW.value,
        }
        self.scribe.now(Draft(Kind.SETUP_CREATED, secrets.token_hex(6), data))
        return self.setup


def host_identity(host: ChangeableHost) -> str:
    """A name for the host that gives nothing away: the sha256 of its machine-id, empty where it has none.

    Raises OSError where that cannot be read.
    """
    try:
        return hashlib.sha256(b"vfiostate:" + host.read("/etc/machine-id").strip()).hexdigest()
    except NOT_THERE:
        return ""


@contextlib.contextmanager
def open_session(
    options: SessionOptions, reporter: Reporter, *, write: bool, create: bool = False
) -> Iterator[Session]:
    """Open a host and its journal; with `write` under the lock. `create` makes the journal where there is none.

    Raises NotRootError, LockedError, JournalError and its kin, RefusedError for the journal of another host.
    """
    host = open_host(options)
    if options.simulate is None and os.geteuid() != 0:
        raise NotRootError("The journal and the host's boot files belong to root.", hint="Run it with sudo.")
    with contextlib.ExitStack() as stack:
        if write:
            stack.enter_context(lock.taken(host))
        journal = stack.enter_context(contextlib.closing(_open_journal(host, options, write=write, create=create)))
        setups = fold(journal.events())
        refuse_lost(host, frozenset(setup.id for setup in setups))
        scribe = Scribe(journal, _origin(host), setups)
        session = Session(host, scribe, Images(host.local(f"{STATE_DIR}/images")), reporter, options)
        if write:
            _refuse_damaged(journal, scribe.setup)
        if write and scribe.setup is not None:
            # What is not this host's is not written to: only that it could not be told is an event of this journal.
            with scribe.witness():
                other = other_host(host, scribe.setup)
            if other is not None:
                raise another_host(host, options, other)
        try:
            yield session
        finally:
            heads.announce(host, scribe)


def refuse_lost(host: ChangeableHost, known: Set[str]) -> None:
    """See that the journal knows the setup whose restore.sh lies beside it, and that for which the kernel was booted:
    what was changed for it stands, and a new setup would take it for the user's own and put its own script in the place
    of that one. Raises JournalLostError, and OSError where restore.sh cannot be read and the journal knows no setup."""
    path = f"{STATE_DIR}/restore.sh"
    if (setup := _unknown(host, path, SCRIPT_OF, known)) is not None:
        place = host.local(path)
        raise JournalLostError(
            f"The journal of setup {setup} is not there, and its restore.sh is: what it changed still stands.",
            evidence=(str(place), _known(known)),
            hint="Put that journal back, or name the right `journal_url`. Where it is lost, "
            f"`sh {shlex.quote(str(place))}` puts every file back as it was; then move that script away, reboot "
            "and begin anew.",
        )
    if host.booted and (setup := _unknown(host, "/proc/cmdline", BOOTED_FOR, known)) is not None:
        raise JournalLostError(
            f"The running kernel was booted for setup {setup}, and the journal of that is not there: what it changed "
            "still stands.",
            evidence=(f"/proc/cmdline: vfiostate.setup={setup}", _known(known)),
            hint=f"Mount what {STATE_DIR} lies on, put that journal back, or name the right `journal_url`. Where it is "
            "lost, take `vfiostate.setup` and the words after it out of the boot loader's configuration, have that "
            "generated anew, reboot and begin anew.",
        )


def _unknown(host: ChangeableHost, path: str, names: re.Pattern[bytes], known: Set[str]) -> str | None:
    """The setup that a file names, where the journal does not know it."""
    try:
        found = names.search(host.read(path))
    except NOT_THERE:
        return None
    except OSError:
        # `audit` names it; nobody is kept from going back what the journal knows.
        if known:
            return None
        raise
    return None if found is None or found[1].decode() in known else found[1].decode()


def _known(known: Set[str]) -> str:
    return f"setups that the journal here knows: {', '.join(sorted(known)) or 'none'}"


def _refuse_damaged(journal: Journal, setup: Setup | None) -> None:
    """See that the database is whole and what is needed for the way back is in it. Raises JournalDamagedError."""
    journal.refuse_faults()
    for deed in setup.standing() if setup is not None else ():
        said: dict[str, Any] = {"action": deed.action, "before": deed.before}
        for digest in named(said, Where.BLOB):
            journal.blob(digest)


def another_host(host: ChangeableHost, options: SessionOptions, other: tuple[str, str]) -> RefusedError:
    """The refusal of a journal that is another host's."""
    expected, found = other
    if journal_url(host, options) is None:
        hint = f"Was {host.local(STATE_DIR)} copied? Move it away to begin anew on this host."
    else:
        hint = "Each host has a journal of its own: name another database, or another schema, in `journal_url`."
    evidence = (f"expected {expected}", f"found {found}")
    return RefusedError("This journal is that of another host.", evidence=evidence, hint=hint)


def other_host(host: ChangeableHost, setup: Setup) -> tuple[str, str] | None:
    """Where the setup is another host's: which one was expected, and which was found. Raises OSError where the
    machine-id cannot be read."""
    expected = setup.host
    found = host_identity(host) if expected else ""
    if expected == found:
        return None
    here = f"a machine-id with the digest {found[:12]}" if found else "no machine-id"
    return f"the machine-id with the digest {expected[:12]}", here


def _open_journal(host: ChangeableHost, options: SessionOptions, *, write: bool, create: bool) -> Journal:
    place = host.local(f"{STATE_DIR}/journal.db")
    url = journal_url(host, options) or str(place)
    try:
        return Journal.open(url, write=write)
    except (JournalMissingError, JournalEmptyError) as error:
        refuse_lost(host, frozenset())
        if not create or isinstance(error, JournalEmptyError):
            raise
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Journal.create(url)


def journal_url(host: ChangeableHost, options: SessionOptions) -> str | None:
    """The journal's URL where the configuration sets one; a SQLite file as the path where it lies for us. Raises
    ConfigurationError.

    A configuration without that key is not looked at further: a mistake in it keeps nobody from `status` or `rollback`.
    One that is there and cannot be read is refused: the journal may lie elsewhere.
    """
    try:
        found = host.lstat(host.resolve(options.config))
        # What is no file (reading a pipe would wait for ever) is refused by whoever needs the configuration.
        if found is None or found.kind is not FileKind.FILE or not URL_KEY.search(host.read(options.config)):
            return None
    except NOT_THERE:
        return None
    except OSError:
        pass  # loading it says so in its own words
    from engine import config as configuration  # not for a `status`
    from engine.config.checks import sqlite_file

    url = configuration.load(host, options.config).journal_url
    file = None if url is None else sqlite_file(url)
    # Its last symlink too is followed below the host's root: SQLite would follow it out of there.
    return url if file is None else str(host.local(host.resolve(file)))


def _origin(host: ChangeableHost) -> Origin:
    caller = os.environ.get("SUDO_UID", "")
    return Origin(host.boot_id, os.getuid(), int(caller) if caller.isdecimal() else None, VERSION)
