"""The guest's life, driven: started without the devices to be installed, stopped, looked at, its command shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine import images, restore
from engine.advance import advance, lost, notice_config, notice_reboot, prepare
from engine.attempt import NO_ATTEMPT, Outcome, fire
from engine.back import stopping
from engine.effects import files_of
from engine.hosts.base import ChangeableHost
from engine.space import refuse_full
from journal.errors import ActionFailedError, ConfigurationError, RefusedError
from journal.events import Kind
from steps.base import Finding, Severity, State
from steps.config import Config, Guest
from steps.guest import monitor, way_of
from steps.guest.base import Order, called
from steps.guest.seen import PciFunction, Seen, Silence
from steps.run import RunStep

if TYPE_CHECKING:
    from engine.session import Session
    from engine.setup import Setup


@dataclass(frozen=True, slots=True)
class GuestStatus:
    """What a guest is at this moment: `pid` and `uptime` (seconds) are None where it does not run; `status` is its own
    word, `silence` why there is none; `missing` the configured devices that it does not show."""

    name: str
    pid: int | None
    uptime: float | None = None
    status: str | None = None
    silence: str | None = None
    functions: tuple[PciFunction, ...] = ()
    missing: tuple[str, ...] = ()
    log: tuple[str, ...] = ()


def guest_of(config: Config) -> Guest:
    """The configured guest. Raises ConfigurationError where there is none."""
    if config.guest is None:
        raise ConfigurationError(
            "The configuration has no guest.", hint="Add [guest] to the configuration; `vfiostate init` writes one."
        )
    return config.guest


def order_of(session: Session, guest: Guest) -> Order:
    """The guest as one of the present setup."""
    return Order(guest, (), session.setup.id)


def start(session: Session) -> Outcome:
    """Start the guest with its devices: the step to `running`. Raises RefusedError before `bound`."""
    guest_of(session.config if session.scribe.setup is not None else session.read_config())
    state = session.setup.state if session.scribe.setup is not None else State.NEW
    if state.rank < State.BOUND.rank:
        raise RefusedError(
            f"The guest gets its devices in `bound`, and this host is in `{state.value}`.",
            hint="`vfiostate advance --until running` goes there; `vfiostate guest start --install` starts it without.",
        )
    return advance(session, State.RUNNING)


def start_install(session: Session) -> tuple[Finding, ...]:
    """Start the guest without the devices, on VNC; returns warnings. What is made for it goes by a rollback.

    Raises RefusedError with all that stands against it, ActionFailedError when it does not come up.
    """
    from engine.perform import perform
    from engine.recovery import recover

    with session.scribe.witness(beside=True):
        prepare(session)
        recover(session)
        notice_config(session)
        step, brief = RunStep(install=True), session.brief()
        guest = guest_of(brief.config)
        session.reporter.step(f"{guest.name}, to be installed")
        plan = step.plan(brief, step.probe(session.host, brief))
        _refuse(plan.findings)
        if not plan.actions:
            raise RefusedError(f"The {called(guest.name)} runs already.", hint="`vfiostate guest stop` ends it.")
        refuse_full(session, plan.actions)
        paths = dict.fromkeys(path for action in plan.actions for path in files_of(action))
        planned = [(path, *images.take(session.host, session.images, path)) for path in paths]
        restore.write(session, planned, plan.actions)
        try:
            perform(session, State.RUNNING, NO_ATTEMPT, plan.actions)
        finally:
            session.scribe.flush()
        wrong = [found for found in step.verify(brief, step.probe(session.host, brief)) if _grave(found)]
        if wrong:
            stopping.switch_off(session.host, way_of(guest).stop(order_of(session, guest), "it did not come up"))
            _record(session, "died", wrong[0].message)
            raise ActionFailedError(wrong[0].message, hint=wrong[0].hint, evidence=wrong[0].evidence)
        _record(session, "start", f"{guest.name}, without the devices, on VNC {guest.vnc}")
        return plan.findings


def _grave(finding: Finding) -> bool:
    return finding.severity is Severity.REFUSAL


def _refuse(findings: tuple[Finding, ...]) -> None:
    """Raise RefusedError for refusals, all in one."""
    grave = [finding for finding in findings if _grave(finding)]
    if not grave:
        return
    first, *others = grave
    evidence = [*first.evidence, *(line for other in others for line in (other.message, *other.evidence))]
    raise RefusedError(
        first.message, hint=" ".join(dict.fromkeys(finding.hint for finding in grave)), evidence=evidence
    )


def _record(session: Session, what: str, detail: str) -> None:
    session.scribe.now(session.scribe.note(Kind.GUEST, {"what": what, "detail": detail}))


def stop(session: Session) -> str:
    """Stop the guest, journaled; from `running` this leads back to `bound`, where the devices were bound in this boot.

    How it ended, in words, after what is said of a reboot.
    """
    from engine.perform import perform
    from engine.recovery import recover
    from engine.states import Move

    with session.scribe.witness(beside=True):
        recover(session)
        setup = session.setup
        # What is unfinished, `advance` and `rollback` settle from the state that it began in.
        unfinished = setup.attempt is not None or setup.rolling_back_to is not None
        noticed = [] if unfinished else notice_reboot(session)
        guest = guest_of(session.config)
        action = way_of(guest).stop(order_of(session, guest), "asked for by the user")
        if way_of(guest).process(session.host, guest.name) is None and session.setup.state is not State.RUNNING:
            stopping.tidy(session.host, action)
            return "; ".join((*noticed, f"the {called(guest.name)} did not run"))
        before = session.journal.head().seq
        try:
            perform(session, State.RUNNING, NO_ATTEMPT, (action,))
        finally:
            session.scribe.flush()
        how = [event.data.get("detail") for event in session.journal.events(before) if event.kind is Kind.OUTCOME]
        said = f"the {called(guest.name)} was stopped: {how[-1]}"
        _record(session, "stop", said)
        if session.setup.state is State.RUNNING and lost(session) is None:
            fire(session, Move("guest_stopped", State.RUNNING, State.BOUND), {"guest": guest.name})
        return "; ".join((*noticed, said))


def survey(host: ChangeableHost, config: Config) -> GuestStatus:
    """Look at the guest. Reads only."""
    from engine.guests.launch import uptime

    guest = guest_of(config)
    running = way_of(guest)
    log = running.log(guest.name)
    try:
        pid = running.process(host, guest.name)
    except ConnectionError as error:
        return GuestStatus(guest.name, None, silence=str(error), log=monitor.last_lines(host, log))
    if pid is None:
        return GuestStatus(guest.name, None, log=monitor.last_lines(host, log))
    seen = running.look(host, Order(guest, (), ""))
    if isinstance(seen, Seen):
        missing = tuple(monitor.absent(Order(guest, config.devices, ""), seen))
        return GuestStatus(guest.name, pid, uptime(pid), seen.status, None, seen.functions, missing)
    why = seen.why if isinstance(seen, Silence) else "it has just ended"
    return GuestStatus(guest.name, pid, uptime(pid), silence=why, log=monitor.last_lines(host, log))


def command_of(
    host: ChangeableHost, config: Config, setup: Setup | None, install: bool
) -> tuple[str, tuple[Finding, ...]]:
    """The command that would start the guest, or its domain, for reading; and what stands against it."""
    left = {} if setup is None else {**setup.produced, **setup.written}
    devices = () if install else config.devices
    order = Order(guest_of(config), devices, "" if setup is None else setup.id, install, left)
    running = way_of(order.guest)
    found = running.ask(host, order)
    return running.shown(order, found), running.missing(order, found)
