#!/usr/bin/python3
"""The lab's agent inside the machine: runs argument lists and moves files over a virtio-serial port.

One JSON object per line in both directions. A request carries an ``id`` and an ``op`` (``ping``, ``run``, ``read``,
``write``); the answer carries the same ``id`` and either ``ok`` with the operation's values or ``error``. Every
request has its own thread, so that a ping is answered while a long command runs.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import threading
import time
from typing import Any

PORT = "/dev/virtio-ports/org.vfiostate.lab"
write_lock = threading.Lock()


def boot_id() -> str:
    """The kernel's name of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Runs an argument list in its own session; kills all of it when the time is over."""
    started = time.monotonic()
    env = dict(os.environ, **request.get("env", {}))
    process = subprocess.Popen(
        request["argv"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=request.get("cwd"),
        env=env,
        start_new_session=True,
    )
    timed_out = False
    try:
        out, err = process.communicate(base64.b64decode(request.get("input", "")), timeout=request.get("timeout"))
    except subprocess.TimeoutExpired:
        timed_out = True
        os.killpg(process.pid, signal.SIGKILL)
        try:
            out, err = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:  # a process in uninterruptible sleep: a hanging unbind looks like this
            out, err = b"", b"lab agent: the process could not be killed\n"
    return {
        "rc": process.returncode,
        "timed_out": timed_out,
        "seconds": round(time.monotonic() - started, 3),
        "stdout": base64.b64encode(out).decode("ascii"),
        "stderr": base64.b64encode(err).decode("ascii"),
    }


def read(request: dict[str, Any]) -> dict[str, Any]:
    """A file's content."""
    with open(request["path"], "rb") as file:
        return {"data": base64.b64encode(file.read()).decode("ascii")}


def write(request: dict[str, Any]) -> dict[str, Any]:
    """Writes a file in place and durably."""
    data = base64.b64decode(request["data"])
    with open(request["path"], "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if "mode" in request:
        os.chmod(request["path"], request["mode"])
    return {"written": len(data)}


def ping(_request: dict[str, Any]) -> dict[str, Any]:
    """That the agent is there, and in which boot."""
    with open("/proc/uptime", encoding="ascii") as file:
        return {"boot_id": boot_id(), "uptime": float(file.read().split()[0])}


OPERATIONS = {"ping": ping, "run": run, "read": read, "write": write}


def answer(port: int, line: bytes) -> None:
    """Does what one line asks for and sends the answer."""
    try:
        request = json.loads(line)
    except ValueError:
        return  # the rest of a line whose reader went away
    reply: dict[str, Any] = {"id": request.get("id")}
    try:
        reply.update(OPERATIONS[request["op"]](request), ok=True)
    except Exception as error:  # noqa: BLE001  whatever it is, the other side must hear of it
        reply.update(ok=False, error=f"{type(error).__name__}: {error}")
    send(port, json.dumps(reply).encode("ascii") + b"\n")


def send(port: int, data: bytes) -> None:
    """Writes a whole answer; answers of different threads do not mix."""
    with write_lock:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(port, view) :]
            except OSError:
                return  # nobody listens any more


def main() -> None:
    """Reads requests for ever."""
    port = os.open(PORT, os.O_RDWR)
    pending = b""
    while True:
        data = os.read(port, 65536)
        if not data:  # the host side is not connected
            pending = b""
            time.sleep(0.1)
            continue
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            if line:
                threading.Thread(target=answer, args=(port, line), daemon=True).start()


if __name__ == "__main__":
    main()
