"""A card's ROM, read as the kernel's document says: shown by a write of 1, read, hidden again by a write of 0.

Whatever becomes of us in between, it is hidden again: a process of its own waits for our end. Where there is a setup
the write is journaled, with its undo, as any other change.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine import signals
from engine.hosts.base import ChangeableHost
from journal.errors import RefusedError
from steps import rom
from steps.actions import Write, WriteAttribute
from steps.base import State

if TYPE_CHECKING:
    from engine.session import Session
    from steps.rom import Image

SECONDS = 10.0
SHOW = "1\n"
# Two bytes: without the newline it would be taken for a 1 (pci_write_rom in drivers/pci/pci-sysfs.c).
HIDE = "0\n"


def dump(host: ChangeableHost, address: str, session: Session | None) -> tuple[bytes, tuple[Image, ...]]:
    """The ROM up to the end of its last image, and its images. With a session, the setup's journal is told.

    Raises RefusedError where there is no ROM of its own to be read, ActionFailedError where what was read is none.
    """
    if not host.booted:
        raise RefusedError(f"{host.label} does not run: its cards cannot be asked.", hint="Run it on the host itself.")
    function = rom.readable(host, address)
    path = rom.attribute(address)
    content = _shown(host, path)
    if not content:
        with _hidden_again(host, path), _journaled(session, path) if session else _plain(host, path):
            content = _shown(host, path)
    if not content.strip(b"\xff"):
        raise rom.silent(host, function)
    found = rom.images(content)
    return content[: found[-1].start + found[-1].length], found


def _shown(host: ChangeableHost, path: str) -> bytes:
    """What can be read now: nothing while it is hidden (EINVAL), or where the card does not answer (EIO)."""
    try:
        return host.read(path)
    except OSError:
        return b""


@contextlib.contextmanager
def _plain(host: ChangeableHost, path: str) -> Iterator[None]:
    try:
        host.write_attribute(path, SHOW, timeout=SECONDS)
        yield
    finally:
        host.write_attribute(path, HIDE, timeout=SECONDS)


@contextlib.contextmanager
def _journaled(session: Session, path: str) -> Iterator[None]:
    """As an action of no attempt, taken back at once; one that a run left which was cut short, too."""
    from engine.attempt import NO_ATTEMPT
    from engine.back import undo
    from engine.back.decide import decide
    from engine.perform import perform

    state = session.setup.state if session.setup.state is not State.NEW else State.CHECKED
    show = WriteAttribute(path, SHOW, "show the ROM while it is read", Write(path, HIDE), SECONDS)
    try:
        perform(session, state, NO_ATTEMPT, (show,))
        yield
    finally:
        with signals.held():
            session.scribe.flush()
            deeds = [deed for deed in session.setup.standing() if deed.action.get("path") == path]
            undo.take_back(session, decide(session, deeds))


@contextlib.contextmanager
def _hidden_again(host: ChangeableHost, path: str) -> Iterator[None]:
    """While this runs, a process waits for a word from us; when we end without one, it hides the ROM in our place."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _wait_and_hide(host, path, reading, writing)
    os.close(reading)
    try:
        yield
    finally:
        os.write(writing, b".")
        os.close(writing)
        os.waitpid(child, 0)


def _wait_and_hide(host: ChangeableHost, path: str, reading: int, writing: int) -> None:
    """The other process: out of our session, so that what ends us does not end it.

    It keeps our lock until it has ended: the next run must not find the ROM shown, and lose it while it reads.
    """
    status = 0
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.close(writing)
        if os.read(reading, 1) == b"":
            host.write_attribute(path, HIDE, timeout=SECONDS)
    except BaseException:  # noqa: BLE001  # nothing of it may run on as us
        status = 1
    finally:
        os._exit(status)
