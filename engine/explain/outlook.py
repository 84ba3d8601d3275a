"""What is changed on a host now, and what `advance` and `rollback` would do, from the events alone. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.codec import decode, describe
from engine.explain.account import Line
from engine.planview import undoing
from engine.setup import Deed, Setup
from engine.states import forward_from
from journal.errors import sentence
from steps.actions import (
    Action,
    Inverse,
    Keep,
    RequestReboot,
    RunCommand,
    Shutdown,
    StartProcess,
    StopProcess,
    WriteAttribute,
)
from steps.base import State

# What each step does, after "`advance`".
DOES = {
    State.CHECKED: "checks the host, and changes nothing",
    State.MODULES_LOADED: "loads the modules and writes them down for the next boot",
    State.STUBBED: "stages a trial boot that gives the devices to the stub driver",
    State.REBOOTED: "looks whether the reboot took; then the command line becomes the default",
    State.BOUND: "binds the devices to vfio-pci",
    State.RUNNING: "starts the guest",
}
NO_TRIAL = {
    "trial-failed": "the trial boot failed",
    "trial-not-made": "the trial boot was not made",
    "trial-refused": "the trial boot was refused",
}
GUEST_LOOKED_AT = "It looks whether the guest still runs, and starts it anew where it has ended."
NO_GUEST = "It has nothing left to do: the configuration has no [guest]."


def action_of(deed: Deed) -> Action:
    """The action of a deed; the content of an edit, which its words do not need, is left out."""
    return decode(deed.action, lambda digest: b"")


def changed(setup: Setup, boot: str) -> tuple[Line, ...]:
    """What of ours the host carries now, oldest first; `boot` is the last that the journal knows. Effects on the
    running kernel are gone with the boot in which they were."""
    standing = setup.standing()[::-1]
    gone, over = _came_and_went(standing), _over(setup)
    return tuple(
        line
        for deed in standing
        if deed.seq not in over and (not deed.planned or not gone.issuperset(deed.planned))
        for line in _changed(deed, boot)
    )


def _came_and_went(deeds: Sequence[Deed]) -> set[str]:
    """Files that the first of these deeds, in order, made and the last of them removed."""
    first: dict[str, Deed] = {}
    last: dict[str, Deed] = {}
    for deed in deeds:
        for path in deed.planned:
            first.setdefault(path, deed)
            last[path] = deed
    return {
        path
        for path, deed in last.items()
        if deed.planned[path] is None and deed.result == "done" and first[path].before[path].get("sha256") is None
    }


def _over(setup: Setup) -> set[int]:
    """Deeds whose process was stopped later, or started anew."""
    over: set[int] = set()
    of: dict[str, list[int]] = {}
    for deed in setup.deeds.values():
        name = deed.action.get("process" if deed.action["type"] == "pin_threads" else "name", "")
        if deed.action["type"] in ("start_process", "stop_process") and deed.result == "done":
            over.update(of.pop(name, ()))
        if deed.action["type"] in ("start_process", "pin_threads"):
            of.setdefault(name, []).append(deed.seq)
    return over


def _changed(deed: Deed, boot: str) -> Iterator[Line]:
    action = action_of(deed)
    if isinstance(action, RequestReboot | StopProcess | Shutdown):
        return
    words = sentence(_past(action))
    if deed.result is None:
        yield Line(f"{words} Whether it came to that is not recorded: the run was cut short.", deed.seq)
    elif deed.result == "done":
        if _runtime(action) and deed.boot != boot:
            return
        yield Line(f"{words}{_until(action)}", deed.seq, tuple(_made(deed)))
    else:
        yield Line(f"{words} It ended as `{deed.result}`: part of it may be there.", deed.seq)


def _runtime(action: Action) -> bool:
    """Whether its effect is one on the running kernel, gone with the next boot."""
    if isinstance(action, RunCommand):
        return not action.produces and isinstance(action.undo, Inverse) and not action.undo.lasting
    return isinstance(action, WriteAttribute | StartProcess)


def _until(action: Action) -> str:
    if _runtime(action):
        return " It holds until the next boot."
    return " It is not undone by us." if isinstance(action, RunCommand) and isinstance(action.undo, Keep) else ""


def _past(action: Action) -> str:
    """What was done, as described by the action itself."""
    verb, _, rest = describe(action).partition(" ")
    past = {"make": "made", "edit": "edited", "remove": "removed", "run": "ran", "write": "wrote", "start": "started"}
    return f"{past.get(verb, verb)} {rest}"


def _made(deed: Deed) -> Iterator[str]:
    if not deed.planned:
        for path in _touched(deed):
            yield f"which {'removed' if deed.after.get(path) is None else 'wrote'} {path}"


def _touched(deed: Deed) -> Iterator[str]:
    """The files that are not as they were before it, or of which nobody knows."""
    for path, record in deed.before.items():
        if deed.result is None or path not in deed.after or deed.after[path] != record.get("sha256"):
            yield path


def forward(setup: Setup) -> tuple[Line, ...]:
    """What `advance` would do."""
    if setup.finished:
        return (Line("It begins a new setup by /etc/vfiostate.toml: it checks the host, and changes nothing."),)
    if setup.rolling_back_to is not None:
        return (Line("It is refused: a rollback was begun and not finished. `vfiostate rollback` finishes it."),)
    if setup.rolled_back and setup.state is State.NEW:
        return (
            Line("It finishes the rollback, once the running kernel is without our command line."),
            Line("Then it begins a new setup by /etc/vfiostate.toml."),
        )
    return tuple(_forward(setup))


def _forward(setup: Setup) -> Iterator[Line]:
    yield from _settles(setup)
    if why := next((NO_TRIAL[code] for code in _codes(setup) if code in NO_TRIAL), None):
        yield Line(f"It is refused again: {why}. `vfiostate advance --again` stages it once more.")
        return
    move = forward_from(setup.state, guest=setup.has_guest)
    if move is None:
        yield Line(GUEST_LOOKED_AT if setup.state is State.RUNNING else NO_GUEST)
        yield _after_a_boot(setup)
        return
    goal = f", and goes on to `{setup.lost.value}`, which the reboot took away" if setup.lost else ""
    yield Line(f"It takes the step to `{move.target.value}`: it {DOES[move.target]}{goal}.")
    if setup.last_failure is not None:
        yield Line("What stopped it last time stops it again, unless it was mended meanwhile.")
    if setup.state is State.BOUND:
        yield _after_a_boot(setup)


def _after_a_boot(setup: Setup) -> Line:
    """What no event tells before `advance` notices it: a boot takes `bound` and `running` away."""
    return Line(f"If the host was booted anew since, it takes the steps up to `{setup.state.value}` again instead.")


def _settles(setup: Setup) -> Iterator[Line]:
    """What a run does first about one that was cut short."""
    if open_ := len(setup.pending) + len(setup.undoing):
        yield Line(f"It looks first at the host for how {open_} action{'s' * (open_ != 1)} ended that nobody recorded.")
    attempt = setup.attempt
    if attempt is None:
        return
    deeds = [deed for deed in setup.standing() if deed.attempt == attempt.number]
    done = [deed for deed in deeds if deed.result == "done"]
    if deeds and (attempt.failed or len(done) < attempt.actions):
        yield Line(
            f"It takes back what is left of the unfinished step to `{attempt.target.value}`, if it is not whole."
        )


def _codes(setup: Setup) -> set[str]:
    """The findings of the last refusal, by their codes."""
    findings = setup.last_failure.data.get("findings") if setup.last_failure is not None else None
    return {str(one.get("code")) for one in findings if isinstance(one, dict)} if isinstance(findings, list) else set()


def backward(setup: Setup, boot: str) -> tuple[Line, ...]:
    """What `rollback` would do, in its order; `boot` as in `changed`."""
    deeds = [deed for deed in setup.standing() if not isinstance(action_of(deed), RequestReboot | StopProcess)]
    if setup.finished or not (deeds or setup.state is not State.NEW or setup.rolled_back):
        return (Line("It has nothing to take back."),)
    return tuple(_backward(setup, deeds, boot))


def _backward(setup: Setup, deeds: list[Deed], boot: str) -> Iterator[Line]:
    if open_ := len(setup.pending) + len(setup.undoing):
        yield Line(f"It looks first at the host for how {open_} action{'s' * (open_ != 1)} ended that nobody recorded.")
    files = list(dict.fromkeys(path for deed in deeds for path in _touched(deed)))
    if files:
        yield Line(
            "It decides for each of these files: as we left it, it is put back byte for byte; changed by others since,"
            " only ours is taken out; where the two cannot be told apart, nothing at all is changed:",
            details=tuple(files),
        )
    over = _over(setup)
    others = [
        deed
        for deed in deeds
        if not deed.planned and deed.seq not in over and not (_runtime(action_of(deed)) and deed.boot != boot)
    ]
    if others:
        ways = (f"{sentence(describe(action_of(deed)))[:-1]}: {undoing(action_of(deed))}" for deed in others)
        yield Line("It undoes these, the last first:", details=tuple(dict.fromkeys(ways)))
    if setup.state.rank >= State.REBOOTED.rank or (setup.rolled_back and setup.state is State.NEW):
        yield Line(
            "It asks for a reboot while the running kernel still has our command line; `vfiostate rollback` after it"
            " finishes, and compares every file."
        )
    elif not deeds:
        yield Line("It has nothing on the host to take back, and goes back to `new`.")
