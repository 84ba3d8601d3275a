"""What stands in the way of passthrough on a host, whether or not it has a configuration and a setup."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine import config as configuration
from engine.hosts.base import ChangeableHost
from engine.plan import UNBORN
from engine.progress import Reporter
from engine.session import open_session
from engine.target import SessionOptions, open_host
from journal.errors import JournalMissingError, NotRootError, VfiostateError
from steps import doctor
from steps.base import Brief, Finding, Severity
from steps.config import Config, Guest
from steps.doctor import Area, Standing

# Before anything is set up: no device yet, and the guest that `init` would write.
NOTHING = Config((), guest=Guest())


@dataclass(frozen=True, slots=True)
class Examination:
    """The areas that were looked at, and the command that comes next when nothing blocks."""

    areas: tuple[Area, ...]
    next: str

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """What stands in the way."""
        every = (finding for area in self.areas for finding in area.findings)
        return tuple(finding for finding in every if finding.severity is Severity.REFUSAL)

    @property
    def unseen(self) -> tuple[str, ...]:
        """What could not be looked at without root."""
        return tuple(dict.fromkeys(line for area in self.areas for line in area.unseen))


def examine(options: SessionOptions, reporter: Reporter) -> Examination:
    """Look at the host. Changes nothing, journals nothing, takes no lock and needs no root: what does says so."""
    host = open_host(options)
    own, config = _configuration(host, options)
    setup, brief = _setup(options, reporter)
    if brief is None:
        brief = Brief(config, UNBORN, host.boot_id)
    areas = (*own, *setup, *(_for_doctor(area) for area in doctor.examine(host, brief)))
    if setup and setup[0].standing is Standing.OK:
        return Examination(areas, "vfiostate status")
    return Examination(areas, "vfiostate plan" if config.devices else "vfiostate init")


def _configuration(host: ChangeableHost, options: SessionOptions) -> tuple[tuple[Area, ...], Config]:
    try:
        if host.lstat(options.config) is None:
            return (), NOTHING
        return (), configuration.load(host, options.config)
    except OSError as error:
        return (Area("configuration", "", unseen=(f"{options.config}: {error.strerror}",)),), NOTHING
    except VfiostateError as error:
        return (Area("configuration", options.config, (_as_finding(error),)),), NOTHING


def _setup(options: SessionOptions, reporter: Reporter) -> tuple[tuple[Area, ...], Brief | None]:
    """The setup that is under way, where there is one and the journal may be read."""
    try:
        with open_session(options, reporter, write=False) as session:
            setup = session.scribe.setup
            if setup is None or setup.finished:
                return (), None
            return (Area("setup", f"{setup.id} is under way, in the state `{setup.state.value}`"),), session.brief()
    except JournalMissingError:
        return (), None
    except NotRootError:
        return (Area("setup", "", unseen=("the journal: whether a setup is under way",)),), None
    except VfiostateError as error:
        return (Area("setup", "cannot be read", (_as_finding(error),)),), None


def _for_doctor(area: Area) -> Area:
    """What a step advises to run again, as `advance` was not run."""
    words = ("run `vfiostate advance` again", "run `vfiostate doctor` again")
    return replace(area, findings=tuple(replace(one, hint=one.hint.replace(*words)) for one in area.findings))


def _as_finding(error: VfiostateError) -> Finding:
    return Finding(error.code, Severity.REFUSAL, error.message, error.evidence, error.hint, error.exit)
