#!/usr/bin/python3
"""The whole way there and back of a simulated host, on a disk whose writes are recorded; run with vfiostate's Python.

usage: recorder.py DEVICE PLACE DIRECTORY [--no-fsync] -- INIT-OPTIONS...

The program is the installed one. Between its own writes it notes, in one sector at PLACE of the device and so in the
same log, when a commit of the journal was acknowledged and when a command began and ended. With --no-fsync its fsyncs
and SQLite's are taken out: what a harness must notice.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import json
import mmap
import os
import sqlite3
import sys
from collections.abc import Callable
from typing import Any

# Loaded once: under emulation these imports take seconds, a fork takes milliseconds.
PRELOADED = (
    "asyncio engine.advance engine.cli engine.cli.machine engine.cli.status engine.guests.guest engine.hosts.simulated "
    "engine.rollback engine.status qemu.qmp sqlalchemy.dialects.sqlite steps.bind steps.check steps.modules "
    "steps.reboot steps.run steps.stub"
).split()
SECTOR = 512
REBOOT_FIRST = 3


class Recorder:
    """Runs commands on the simulated host and notes what they acknowledged."""

    def __init__(self, device: str, place: int, directory: str) -> None:
        # Past the cache and at once: the note is in the log before anything that is written after it.
        self._device = os.open(device, os.O_WRONLY | os.O_DIRECT)
        self._place = place
        self._sector = mmap.mmap(-1, mmap.PAGESIZE)
        self._directory = directory
        self._numbers = itertools.count()

    def note(self, kind: str, **said: object) -> None:
        """Write a note into the log."""
        text = json.dumps({"kind": kind, **said}).encode()
        if len(text) > SECTOR:
            raise ValueError(f"a note of {len(text)} bytes")
        self._sector[:SECTOR] = text.ljust(SECTOR)
        view = memoryview(self._sector)[:SECTOR]
        try:
            if os.pwrite(self._device, view, self._place) != SECTOR:
                raise OSError("the note was not written whole")
        finally:
            view.release()

    def command(self, *words: str) -> int:
        """One command, with notes at its beginning and its end."""
        number = next(self._numbers)
        self.note("begin", command=number, words=list(words))
        code, output = self._run(words)
        _, status = self._run(("status", "--json"))
        state = json.loads(status)["state"] if status.startswith("{") else None
        self.note("end", command=number, code=code, state=state)
        print(json.dumps({"words": words, "code": code, "state": state, "output": output}), flush=True)
        return code

    def _run(self, words: tuple[str, ...]) -> tuple[int, str]:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            code = 99
            try:
                # Not only Python's streams: guests that are started inherit the descriptors.
                os.dup2(writer, 1)
                os.dup2(writer, 2)
                os.close(reader)
                os.close(writer)
                sys.stdout = sys.stderr = io.TextIOWrapper(os.fdopen(1, "wb", 0, closefd=False), write_through=True)
                from engine.cli import main

                code = main(["--simulate", self._directory, *words])
            finally:
                os._exit(code)
        os.close(writer)
        _, status = os.waitpid(child, 0)
        # A guest may hold the pipe open for longer than the command: take what is there.
        os.set_blocking(reader, False)
        said = b""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(reader, 1 << 16):
                said += piece
        os.close(reader)
        return os.waitstatus_to_exitcode(status), said.decode(errors="replace")

    def until_done(self, *words: str, times: int) -> None:
        """A command again and again until it says 0 `times` times, with a reboot where it asks for one."""
        for _ in range(times + 6):
            code = self.command(*words)
            if code == REBOOT_FIRST:
                self.reboot()
                continue
            if code != 0:
                raise SystemExit(f"{words} ended with {code}")
            times -= 1
            if times == 0:
                return
        raise SystemExit(f"{words} does not come to its end")

    def reboot(self) -> None:
        """As a machine that is shut down in order: its file systems are written, then it starts anew."""
        os.sync()
        if self.command("machine", "reboot") != 0:
            raise SystemExit("the simulated machine does not reboot")
        # GRUB writes its environment past any cache; the model writes a file.
        os.sync()
        self.note("rebooted")


def note_commits(recorder: Recorder) -> None:
    """Have each commit of the journal noted when it has returned: from then on it must never be lost."""
    from journal.store import Journal

    append: Callable[..., Any] = Journal.append

    def noted(self: Journal, *args: Any, **kwargs: Any) -> Any:
        events = append(self, *args, **kwargs)
        if events:
            recorder.note("commit", seq=events[-1].seq, hash=events[-1].hash)
        return events

    setattr(Journal, "append", noted)  # noqa: B010  the noted form takes and returns the same


def take_out_fsync() -> None:
    """Nothing is made durable any more, neither by Python nor by SQLite."""

    class Careless(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            return super().execute(sql.replace("synchronous = EXTRA", "synchronous = OFF"), *args)

    connect: Callable[..., Any] = sqlite3.connect

    def careless(*args: Any, **kwargs: Any) -> Any:
        return connect(*args, factory=Careless, **kwargs)

    def nothing(descriptor: Any) -> None:
        return None

    setattr(sqlite3, "connect", careless)  # noqa: B010  the type of connect is none that a function can have
    for name in ("fsync", "fdatasync"):
        setattr(os, name, nothing)


def main(arguments: list[str]) -> int:
    """Record everything."""
    separator = arguments.index("--")
    device, place, directory, *flags = arguments[:separator]
    for name in PRELOADED:
        importlib.import_module(name)
    recorder = Recorder(device, int(place), directory)
    if recorder._run(("machine", "create", "--from", "debian12-lab"))[0]:
        raise SystemExit("the simulated host cannot be made")
    code, said = recorder._run(("init", *arguments[separator + 1 :]))
    if code:
        raise SystemExit(said)
    note_commits(recorder)
    if "--no-fsync" in flags:
        take_out_fsync()
    os.sync()
    recorder.note("record")
    recorder.until_done("advance", times=6)
    recorder.until_done("rollback", times=1)
    recorder.note("done")
    os.sync()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
