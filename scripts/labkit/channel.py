"""The two ways to speak to a machine from outside: the agent in it, and QEMU's own QMP. JSON lines over sockets."""

from __future__ import annotations

import base64
import itertools
import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .base import LabError, limit

Json = dict[str, object]
PIECE = 192 * 1024  # bytes


class Gone(LabError):
    """The other side has ended: the machine is off."""


class LineSocket:
    """A unix socket that carries one JSON object per line."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._pending = b""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._socket.connect(str(path))
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError(f"{path}: {error.strerror}") from error
                time.sleep(0.1)

    def close(self) -> None:
        self._socket.close()

    def send(self, message: Json) -> None:
        """Sends an object; the empty line before it ends what an earlier connection may have left half written."""
        self._socket.settimeout(limit("command"))
        try:
            self._socket.sendall(b"\n" + json.dumps(message).encode("ascii") + b"\n")
        except TimeoutError as error:
            raise LabError("the machine takes no more data") from error
        except OSError as error:
            raise Gone("the machine is off") from error

    def receive(self, deadline: float) -> Json | None:
        """The next object, or None when the deadline (of time.monotonic) has passed."""
        while b"\n" not in self._pending:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return None
            self._socket.settimeout(remaining)
            try:
                data = self._socket.recv(1 << 20)
            except TimeoutError:
                return None
            except OSError as error:
                raise Gone("the machine is off") from error
            if not data:
                raise Gone("the machine is off")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        try:
            found = json.loads(line)
        except ValueError:
            return {}  # the tail of an answer that was cut by a reboot
        return found if isinstance(found, dict) else {}


class Qmp:
    """Just enough of the QEMU Machine Protocol: a command and its answer; events are passed over."""

    def __init__(self, path: Path) -> None:
        self._lines = LineSocket(path, 30)
        self._lines.receive(time.monotonic() + 30)  # the greeting
        self.command("qmp_capabilities")

    def command(self, name: str, **arguments: object) -> object:
        """What the command returns; LabError with QEMU's words if it fails."""
        self._lines.send({"execute": name, "arguments": arguments} if arguments else {"execute": name})
        deadline = time.monotonic() + limit("shutdown")
        while (reply := self._lines.receive(deadline)) is not None:
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise LabError(f"QMP {name}: {reply['error']}")
        raise LabError(f"QMP {name}: no answer")

    def close(self) -> None:
        self._lines.close()


@dataclass(frozen=True)
class Ran:
    """A command that ran in the machine."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool = False

    def check(self) -> Ran:
        """Itself, or LabError if it failed."""
        if self.rc or self.timed_out:
            how = "did not end in time" if self.timed_out else f"ended with {self.rc}"
            raise LabError(f"in the machine: {' '.join(self.argv)} {how}:\n{self.stdout[-1500:]}{self.stderr[-3000:]}")
        return self


class Agent:
    """The agent in the machine, from outside."""

    def __init__(self, path: Path, on_run: Callable[[Ran], None] | None = None) -> None:
        self._lines = LineSocket(path, 30)
        # Far from the numbers of an earlier connection, whose late answers may still come.
        self._numbers = itertools.count(time.monotonic_ns())
        self._on_run = on_run

    def request(self, operation: str, patience: float, **values: object) -> Json:
        """One operation of the agent; LabError if it fails or is not answered in so many seconds."""
        number = next(self._numbers)
        self._lines.send({"id": number, "op": operation, **values})
        deadline = time.monotonic() + patience
        while (reply := self._lines.receive(deadline)) is not None:
            if reply.get("id") != number:
                continue
            if not reply.get("ok"):
                raise LabError(f"in the machine: {operation}: {reply.get('error')}")
            return reply
        raise LabError(f"the agent in the machine did not answer {operation} within {patience:.0f} s")

    def wait(self, timeout: float) -> str:
        """Waits for the agent's first answer; returns the machine's boot id. LabError after `timeout` s.

        It is asked again and again, since what is sent before it listens may be lost; a late answer, as on a busy
        machine, is as good. Ever more seldom: nobody reads before it listens, and the socket takes 70 questions.
        """
        deadline = time.monotonic() + timeout
        first = next(self._numbers)
        for asked in itertools.count():
            if time.monotonic() > deadline:
                break
            self._lines.send({"id": next(self._numbers), "op": "ping"})
            pause = min(deadline, time.monotonic() + (2 if asked < 20 else 15))
            while (reply := self._lines.receive(pause)) is not None:
                number = reply.get("id")
                if isinstance(number, int) and number > first and reply.get("ok") and "boot_id" in reply:
                    return str(reply["boot_id"])
        raise LabError(f"the agent in the machine did not answer within {timeout:.0f} s")

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        input: bytes = b"",
    ) -> Ran:
        """Runs an argument list as root in the machine; the limit is five times what a command nominally takes."""
        allowed = limit("command") if timeout is None else timeout
        reply = self.request(
            "run",
            allowed + 30,
            argv=list(argv),
            timeout=allowed,
            env=dict(env or {}),
            input=base64.b64encode(input).decode("ascii"),
        )
        rc = reply["rc"]
        ran = Ran(
            tuple(argv),
            rc if isinstance(rc, int) else -1,
            decode(reply["stdout"]).decode("utf-8", "replace"),
            decode(reply["stderr"]).decode("utf-8", "replace"),
            float(str(reply["seconds"])),
            bool(reply["timed_out"]),
        )
        if self._on_run:
            self._on_run(ran)
        return ran

    def sh(self, script: str, *, timeout: float | None = None) -> str:
        """Runs a shell script in the machine and returns its output; LabError if it fails."""
        return self.run(["sh", "-c", script], timeout=timeout).check().stdout

    def read(self, path: str) -> bytes:
        """A file of the machine."""
        return decode(self.request("read", limit("command"), path=path)["data"])

    def write(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Writes a file in the machine, durably."""
        self.request("write", limit("command"), path=path, data=base64.b64encode(data).decode("ascii"), mode=mode)

    def send(self, path: str, data: bytes) -> None:
        """Writes a large file in the machine, in pieces: one line of megabytes would take the agent a minute."""
        pieces = range(0, len(data), PIECE)
        for number, start in enumerate(pieces):
            self.write(f"{path}.{number:06}", data[start : start + PIECE])
        self.sh(f"cat {path}.?????? >{path} && rm {path}.??????")

    def close(self) -> None:
        self._lines.close()


def decode(value: object) -> bytes:
    """A base64 value of the agent's answer as bytes."""
    return base64.b64decode(str(value))
