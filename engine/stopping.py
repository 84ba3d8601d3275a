"""The end of a guest: by its power button, by QEMU's quit, by signals, in that order."""

from __future__ import annotations

import time

from engine import signals
from engine.hosts.base import ChangeableHost
from steps.actions import StopProcess

# Seconds: for an answer of QMP, for QEMU to end once it was told to quit, and between two looks.
ASK = 10.0
QUIT_WAIT = 10.0
POLL = 0.1


def stop_guest(host: ChangeableHost, name: str, timeout: float) -> str:
    """End a guest: by its power button, after `timeout` seconds by QEMU's quit, then by signals. Returns how it ended.

    Raises TimeoutError when nothing ends it, InterruptedByUser (the guest goes on) when a signal came meanwhile.
    """
    if host.alive(name) is None:
        how = "it did not run"
    elif (heard := _told(host, name, "system_powerdown", min(ASK, timeout))) and _gone(host, name, timeout):
        how = "it shut itself down"
    elif heard is not None and _told(host, name, "quit", ASK) and _gone(host, name, QUIT_WAIT):
        how = f"it did not shut down within {timeout:g} s and was switched off"
    else:
        how = "it did not answer and was ended by a signal"
    host.kill(name, timeout=QUIT_WAIT)  # what has ended leaves files and device nodes to give back
    return how


def switch_off(host: ChangeableHost, action: StopProcess) -> None:
    """End at once what an action would end politely: a guest that did not come up has nothing to lose."""
    host.kill(action.name, timeout=QUIT_WAIT)


def tidy(host: ChangeableHost, action: StopProcess) -> None:
    """Give back and remove what a guest left that has ended by itself."""
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
