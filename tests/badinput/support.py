"""The program run on a copy of a prepared simulated machine, spoilt in one way; and what must hold whatever it answers.

It runs in a forked child: the real command line from its first word to its exit code, in a fraction of the time that
an interpreter takes to start.
"""

from __future__ import annotations

import codecs
import errno
import fcntl
import itertools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TextIO

from engine.cli import main
from engine.hosts.files import FileTree
from journal.events import Event, Kind
from journal.store import Journal
from tests.kill.crash import copy, manifest

__all__ = ["Answer", "At", "copy", "manifest"]

JOURNAL = "var/lib/vfiostate/journal.db"
CONFIG = "etc/vfiostate.toml"
GRUB = "etc/default/grub"
CHILD_FAILED = 99
LONGEST = 60.0
At = Callable[[str], Path]
"""A fixture: a copy of the machine in the state of that name."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a run ended: its exit code (negative: the signal it died of), what it printed, how long it took (s)."""

    code: int
    out: str
    err: str
    took: float

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.out + self.err

    def is_(self, code: int, *words: str) -> Answer:
        """Itself, when it ended with this code and said these words."""
        assert self.code == code, (self.code, self.text)
        for word in words:
            assert word in self.text, (word, self.text)
        return self

    def with_hint(self) -> Answer:
        """Itself, when it says what to do next."""
        assert "  -> " in self.err, self.err
        return self


@dataclass(slots=True)
class Running:
    """A run that goes on while the test does something to it."""

    pid: int
    streams: tuple[int, int]
    began: float

    def end(self) -> Answer:
        """Wait for it. Whatever it answers, it shows no traceback, and it does end."""
        deadline = time.monotonic() + LONGEST
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"it did not end within {LONGEST:g} s")
            time.sleep(0.003)
        out, err = (_content(stream) for stream in self.streams)
        answer = Answer(os.waitstatus_to_exitcode(status), out, err, time.monotonic() - self.began)
        assert "Traceback" not in answer.text, answer.text
        assert "internal error" not in answer.text, answer.text
        assert answer.code != CHILD_FAILED, answer.text
        return answer

    def send(self, number: signal.Signals) -> None:
        """A signal, as a terminal or an init system sends it."""
        os.kill(self.pid, number)


def _content(stream: int) -> str:
    with open(stream, "rb") as opened:
        opened.seek(0)
        return opened.read().decode("utf-8", "replace")


def start(*argv: str, prepare: Callable[[], object] | None = None) -> Running:
    """Begin a run of the program; `prepare` is called in the child before it."""
    streams = (os.memfd_create("out"), os.memfd_create("err"))
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _child(argv, streams, prepare)
    return Running(child, streams, began)


def _child(argv: Sequence[str], streams: tuple[int, int], prepare: Callable[[], object] | None) -> NoReturn:
    code = CHILD_FAILED
    try:
        for number, stream in enumerate(streams, 1):
            os.dup2(stream, number)
        sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115  # until the end
        sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115  # until the end
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if prepare is not None:
            prepare()
        code = main(list(argv))
    except KeyboardInterrupt:
        # The signal was faster than the program: what Python does then is not ours to say.
        code = 128 + signal.SIGINT
    except BaseException:  # noqa: BLE001  # whatever it was: the child must not run on as a second test runner
        traceback.print_exc()
    finally:
        os._exit(code)


def run(machine: Path, *argv: str, prepare: Callable[[], object] | None = None) -> Answer:
    """`vfiostate --simulate MACHINE ARGV`, to its end."""
    return start("--simulate", str(machine), *argv, prepare=prepare).end()


def faults(machine: Path, **wanted: Any) -> None:
    """Spoil the machine: see engine/hosts/simulated/faults.py. Nothing wanted: all is well again."""
    place = machine / "machine.json"
    description = json.loads(place.read_text())
    description["faults"] = wanted
    place.write_text(json.dumps(description))


def broken_command(machine: Path, name: str, **how: Any) -> None:
    """Spoil one command."""
    faults(machine, commands={name: how})


def remove_command(machine: Path, name: str) -> None:
    """Uninstall a command."""
    found = [place for place in (machine / "usr").rglob(name) if place.parent.name in ("bin", "sbin")]
    assert found
    for place in found:
        place.unlink()


def events(machine: Path) -> list[Event]:
    """What the journal holds."""
    with closing(Journal.open(machine / JOURNAL, write=False)) as journal:
        return list(journal.events())


def last(machine: Path, *kinds: Kind) -> Event:
    """The last event of these kinds."""
    found = [event for event in events(machine) if event.kind in kinds]
    assert found, [event.kind for event in events(machine)]
    return found[-1]


def state(machine: Path) -> str:
    """The state that `status` tells."""
    return str(json.loads(run(machine, "status", "--json").out)["state"])


@contextmanager
def unchanged(machine: Path) -> Iterator[None]:
    """Every file of etc, boot, usr and lib is afterwards what it was, and no temporary file lies about."""
    before = manifest(machine)
    yield
    assert manifest(machine) == before
    assert [path for top in ("etc", "boot", "usr", "var") for path in (machine / top).rglob(".vfiostate-*.tmp")] == []


def state_of(stage: str) -> str:
    """The state in which a stage of the fixtures is: a trial boot is one of `stubbed`."""
    return "stubbed" if stage == "booted" else stage


def roll_back(machine: Path) -> None:
    """All the way back, over the reboot that finishes it."""
    for _ in range(3):
        if run(machine, "rollback").code == 0:
            return
        run(machine, "machine", "reboot").is_(0)
    raise AssertionError(run(machine, "rollback").text)


def unreadable(path: str, *, only: int = 0, came: Path | None = None) -> Callable[[], None]:
    """For `prepare`: reading that file of the host fails, every time or only that one; `came` is made when it does."""

    def spoil() -> None:
        read, reads = FileTree.read, itertools.count(1)

        def spoilt(tree: FileTree, asked: str) -> bytes:
            if asked == path and (number := next(reads)) == (only or number):
                if came is not None:
                    came.touch()
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            return read(tree, asked)

        FileTree.read = spoilt  # type: ignore[method-assign,assignment]  # in a child that ends with this run

    return spoil


def without_rights() -> None:
    """Take from root what makes it root for files: it reads and writes what its owner may, no more."""
    import ctypes

    for name in ("utf-8-sig", "utf-16-le"):  # loaded while the interpreter's library can be read
        codecs.lookup(name)
    version_3, dac_override, dac_read_search = 0x20080522, 1, 2
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(version_3, 0)
    data = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    for word in range(2):  # effective and permitted of the first 32 capabilities
        data[word] &= ~(1 << dac_override | 1 << dac_read_search)
    assert libc.capset(header, data) == 0


@contextmanager
def elsewhere(place: Path, do: Callable[[TextIO], object]) -> Iterator[int]:
    """Another process that has this file open and has done this with it, until it is killed or ends; its number."""
    place.parent.mkdir(parents=True, exist_ok=True)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with place.open("w") as stream:
            do(stream)
            os.write(writer, b"!")
            signal.pause()
    try:
        assert os.read(reader, 1) == b"!"
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)


def lock_of_ours(stream: TextIO) -> None:
    """Hold the lock of a run as one does: locked, with its number in it."""
    fcntl.flock(stream, fcntl.LOCK_EX)
    print(f"vfiostate, process {os.getpid()}", file=stream, flush=True)
