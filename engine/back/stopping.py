"""The end of a guest: by its power button, by QEMU's quit, by signals, in that order."""

from __future__ import annotations

import time

from engine import signals
from engine.hosts.base import ChangeableHost
from steps.actions import Action, Shutdown, StopProcess
from steps.base import Host

# Seconds: for an answer of QMP, for QEMU to end once it was told to quit, and between two looks.
ASK = 10.0
QUIT_WAIT = 10.0
POLL = 0.1


def stop_guest(host: ChangeableHost, name: str, timeout: float) -> str:
    """End a guest: by its power button, after `timeout` seconds by QEMU's quit, then by signals. Returns how it ended.

    Its monitor has time of its own to answer: a busy host, or who else speaks to it, takes none from the guest.

    Raises TimeoutError when nothing ends it, InterruptedByUser (the guest goes on) when a signal came meanwhile.
    """
    if host.alive(name) is None:
        how = "it did not run"
    elif (heard := _told(host, name, "system_powerdown", ASK)) and _gone(host, name, timeout):
        how = "it shut itself down"
    elif heard is not None and _told(host, name, "quit", ASK) and _gone(host, name, QUIT_WAIT):
        how = f"it did not shut down within {timeout:g} s and was switched off"
    else:
        how = "it did not answer and was ended by a signal"
    host.kill(name, timeout=QUIT_WAIT)  # what has ended leaves files and device nodes to give back
    return how


def shut_down(host: ChangeableHost, action: Shutdown) -> str:
    """End what another program keeps running. Returns how it ended.

    Raises TimeoutError when nothing ends it, ConnectionError when its keeper does not answer, InterruptedByUser (it
    goes on) when a signal came meanwhile.
    """
    if not runs(host, action):
        return "it did not run"
    asked = host.run(action.ask, timeout=ASK + action.timeout)
    if asked.ok and _ended(host, action, action.timeout):
        return "it shut itself down"
    _force(host, action)
    if asked.ok:
        return f"it did not shut down within {action.timeout:g} s and was switched off"
    return "it could not be asked to shut down and was switched off"


def runs(host: Host, action: Shutdown) -> bool:
    """Whether it runs, in the words of who keeps it. Raises ConnectionError when that cannot be told."""
    try:
        answer = host.query(action.look, timeout=ASK)
    except TimeoutError as error:
        raise ConnectionError(f"{' '.join(action.look)} gave no answer within {ASK:g} s") from error
    if not answer.ok:
        said = answer.stderr.decode(errors="replace").strip().replace("\n", "; ") or f"exit status {answer.status}"
        raise ConnectionError(f"{' '.join(action.look)}: {said}")
    return action.key in (line.strip() for line in answer.text.splitlines())


def goes_on(host: ChangeableHost, action: Action) -> bool:
    """Whether what an action was to end still runs; that of which nobody can tell counts as running."""
    match action:
        case StopProcess():
            return host.alive(action.name) is not None
        case Shutdown():
            try:
                return runs(host, action)
            except ConnectionError:
                return True
        case _:
            return False


def _force(host: ChangeableHost, action: Shutdown) -> None:
    host.run(action.force, timeout=ASK + QUIT_WAIT)
    if not _ended(host, action, QUIT_WAIT):
        raise TimeoutError(f"{action.name} cannot be ended: {' '.join(action.force)}")


def _ended(host: ChangeableHost, action: Shutdown, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while runs(host, action):
        if time.monotonic() > deadline:
            return False
        signals.check()
        time.sleep(POLL)
    return True


def switch_off(host: ChangeableHost, action: StopProcess | Shutdown) -> None:
    """End at once what an action would end politely: a guest that did not come up has nothing to lose."""
    if isinstance(action, StopProcess):
        host.kill(action.name, timeout=QUIT_WAIT)
    elif runs(host, action):
        _force(host, action)


def tidy(host: ChangeableHost, action: StopProcess | Shutdown) -> None:
    """Give back and remove what a guest left that has ended by itself; who keeps one does that by itself."""
    if isinstance(action, StopProcess):
        host.kill(action.name, timeout=0.0)


def _told(host: ChangeableHost, name: str, command: str, timeout: float) -> bool | None:
    """Whether the guest took a command; None where it does not answer at all."""
    try:
        host.qmp(name, command, timeout=timeout)
    except ConnectionError:
        return host.alive(name) is None or command == "quit"
    except TimeoutError:
        return None
    except ValueError:
        return False
    return True


def _gone(host: ChangeableHost, name: str, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while host.alive(name) is not None:
        if time.monotonic() > deadline:
            return False
        signals.check()
        time.sleep(POLL)
    return True
