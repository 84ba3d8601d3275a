"""Where a setup stands: its state, whether the host still is as the journal says, and what comes next. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.resume.resumption import LIMIT
from engine.session import Session
from engine.setup import Setup
from engine.target import SessionOptions, open_host
from journal.events import Json, Kind
from steps.base import Host, State

if TYPE_CHECKING:
    from engine.promises.difference import Difference

NEXT: Mapping[State, str] = {
    State.NEW: "vfiostate advance (checks the host; changes nothing)",
    State.CHECKED: "vfiostate advance (loads the modules and writes them down)",
    State.MODULES_LOADED: "vfiostate advance (stages a trial boot that gives the devices to the stub driver)",
    State.STUBBED: "reboot, then vfiostate advance (or vfiostate advance --reboot)",
    State.REBOOTED: "vfiostate advance (binds the devices to vfio-pci)",
    State.BOUND: "vfiostate advance (starts the guest)",
    State.RUNNING: "nothing; vfiostate rollback takes everything back",
}

# Findings after which only another trial boot leads on.
ONCE_MORE = frozenset({"trial-failed", "trial-not-made", "trial-refused"})
AGAIN = "vfiostate advance --again (one more trial boot), or vfiostate rollback"
MEND = "follow the hint {where}, then vfiostate {command}"
DIFFERS = "mend what differs (vfiostate audit says how), then vfiostate {command}"

BACK: Mapping[State, str] = {
    State.NEW: "nothing was changed on the host",
    State.CHECKED: "nothing was changed on the host; vfiostate rollback ends the setup",
    State.MODULES_LOADED: "vfiostate rollback (no reboot is needed)",
    State.STUBBED: "vfiostate rollback (needs a reboot only where the new command line was booted)",
    State.REBOOTED: "vfiostate rollback (a reboot finishes it)",
    State.BOUND: "vfiostate rollback (a reboot finishes it), or --to rebooted",
    State.RUNNING: "vfiostate rollback (a reboot finishes it), or --to bound to stop the guest",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed, in a sentence, and what to do about it (empty: nothing but to try again)."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What `status` tells. `rebooted` says whether the host was booted anew since the state was reached, on the way
    there or back; `unfinished` names what was cut short; `failures` is what failed last in this state; `resume` says
    whether it goes on by itself after the boot (None: it was not asked to)."""

    setup: Setup | None
    state: State
    rebooted: bool
    drift: tuple[Difference, ...]
    unfinished: str | None
    failures: tuple[Failure, ...]
    next: str
    resume: str | None = None


def next_words(state: State, *, guest: bool = True) -> str:
    """What comes after a state, in words; `guest` is whether there is one to start."""
    if state is State.BOUND and not guest:
        return "nothing: the configuration has no [guest]; vfiostate rollback takes everything back"
    return NEXT[state]


def first_words(options: SessionOptions) -> str:
    """What comes first on a host where nothing was begun."""
    configured = open_host(options).lstat(options.config) is not None
    return NEXT[State.NEW] if configured else "vfiostate doctor (what stands in the way), then vfiostate init"


def back_words(state: State, *, token: bool = False) -> str:
    """How to go back from a state, in words; `token` is whether the running kernel has our command line."""
    return BACK[State.REBOOTED] if token and state.rank < State.REBOOTED.rank else BACK[state]


def survey(session: Session, *, hints: str = "above") -> Survey:
    """Look at the journal and at the host; `hints` is where the reader finds those of what failed."""
    setup = session.scribe.setup
    if setup is None or setup.finished:
        return Survey(setup, State.NEW, False, (), None, (), first_words(session.options))
    booted = session.host.boot_id if session.host.booted else ""
    # A way back ends in a boot of its own; what comes next goes by the one in which the state was reached on the way.
    rebooted, away = (bool(booted) and bool(boot) and boot != booted for boot in (setup.since_boot, setup.boot))
    differences = drift(session, setup)
    if setup.rolled_back and setup.state is State.NEW:
        from engine.back.ending import token_running  # only where a rollback waits for the reboot that finishes it

        away = session.host.booted and (rebooted or not token_running(session, setup))
    return Survey(
        setup,
        setup.state,
        rebooted,
        differences,
        setup.cut_short,
        failures(setup),
        _next(setup, away, session.host.boot_id, differences, hints),
        resumes(session.host, setup),
    )


def drift(session: Session, setup: Setup) -> tuple[Difference, ...]:
    """What is not as the journal says, as far as it is found in no time; `audit` looks further."""
    if not setup.deeds:
        return ()
    from engine.promises.audit import glance  # brings the steps along: not before the first action

    return glance(session, setup)


def resumes(host: Host, setup: Setup) -> str | None:
    """Whether it goes on by itself after the boot, how often it has tried, and why it does nothing more if so."""
    resume = setup.resume
    if resume is None:
        return None
    if resume.parked is not None:
        return f"parked: {resume.parked} (`vfiostate advance`, or `vfiostate advance --resume` again)"
    from steps.resume_service import LINK, UNIT_NAME  # only where it was asked for

    if host.lstat(LINK) is None:
        return f"asked for up to `{resume.until.value}`, but {UNIT_NAME} is not enabled (any more)"
    tried = f"; tried {resume.tries} of {LIMIT} times since `{resume.reached.value}`" if resume.tries else ""
    return f"goes on after the next boot up to `{resume.until.value}` ({UNIT_NAME}){tried}"


def failures(setup: Setup) -> tuple[Failure, ...]:
    """What failed last in this state: one thing, or each of those for which a step was refused."""
    event = setup.last_failure
    if event is None:
        return ()
    found = event.data.get("findings")
    if isinstance(found, list):
        return tuple(_failure(one) for one in found if isinstance(one, dict) and one.get("severity") == "refusal")
    return (_failure(event.data),) if event.data.get("message") is not None else ()


def _failure(data: Mapping[str, Json]) -> Failure:
    return Failure(str(data["message"]), str(data.get("hint") or ""))


def _trial_failed(setup: Setup, boot_id: str) -> bool:
    """Whether `advance` has already said so in this boot."""
    event = setup.last_failure
    if event is None or event.boot != boot_id or event.step is None:
        return False
    return not setup.refused.isdisjoint(ONCE_MORE)


def _staged_again(setup: Setup, boot_id: str) -> bool:
    """Whether the trial was chosen once more in this boot, and still is: then it is the next one that counts."""
    chosen = any(deed.boot == boot_id for deed in setup.standing(State.STUBBED))
    return chosen and setup.last_failure is None and setup.cut_short is None


def _next(setup: Setup, rebooted: bool, boot_id: str, differences: Sequence[Difference], hints: str) -> str:
    """What comes next; `hints` as `survey` has it."""
    if setup.rolling_back_to is not None:
        return "vfiostate rollback (finishes the rollback)"
    if any(one.code == "command-line-left" for one in differences):
        return DIFFERS.format(command="rollback")
    if setup.rolled_back and setup.state is State.NEW:
        return f"{'' if rebooted else 'reboot, then '}vfiostate rollback (finishes the rollback)"
    if rebooted and setup.state is State.STUBBED and _trial_failed(setup, boot_id):
        return AGAIN
    if any(one.hint for one in failures(setup)):
        stopped = setup.last_failure is not None and setup.last_failure.kind is Kind.ROLLBACK_STOPPED
        return MEND.format(where=hints, command="rollback" if stopped else "advance")
    if any(one.stops(setup.state) for one in differences):
        return DIFFERS.format(command="advance")
    if rebooted and setup.state is State.STUBBED and _staged_again(setup, boot_id):
        return NEXT[State.STUBBED]
    if rebooted and setup.state is State.STUBBED:
        return "vfiostate advance (looks whether the reboot took)"
    if rebooted and setup.state in (State.BOUND, State.RUNNING):
        return f"vfiostate advance (comes back to {setup.state.value} after the reboot)"
    if any(one.code == "guest-stopped" for one in differences):
        return NEXT[State.BOUND]
    return next_words(setup.state, guest=setup.has_guest)
