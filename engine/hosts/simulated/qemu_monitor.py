"""The QEMU double's monitor: a QMP server on a unix socket, one client at a time, as QEMU's is.

Source: docs/interop/qmp-spec in QEMU; the answers are in the form of QEMU 7.2's.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Callable, Mapping

from engine.hosts.simulated.qemu_guest import Guest, Placed
from engine.hosts.simulated.qemu_help import Version
from engine.hosts.simulated.threads import thread_of
from journal.events import Json

TICK = 0.1
# How long the firmware takes until it has numbered the buses, and the guest's system until it has shut down.
NUMBERED_AFTER = 0.2
SHUT_DOWN_AFTER = 0.3
# When query-cpus-fast came and query-cpus went.
CPUS_FAST = (2, 12)
CPUS_GONE = (6, 0)


class Monitor:
    """Serves until the guest ends; `gone` is asked at every tick whether the machine under it is still there."""

    def __init__(self, listener: socket.socket, guest: Guest, version: Version, faults: Mapping[str, Json]) -> None:
        self.listener = listener
        self.guest = guest
        self.version = version
        self.status = str(faults.get("status", "running"))
        self.ignores_powerdown = bool(faults.get("ignores_powerdown", False))
        self.started = time.monotonic()
        self.ends_at: float | None = None
        self.client: socket.socket | None = None
        self.received = b""
        self.negotiated = False

    def serve(self, gone: Callable[[], bool]) -> None:
        """Until the guest is told to end, or shuts down, or its machine goes."""
        while not gone() and (self.ends_at is None or time.monotonic() < self.ends_at):
            self.listener.setblocking(False)
            waiting = self.client or self.listener
            readable, _, _ = select.select([waiting], [], [], TICK)
            if readable:
                self._read() if self.client else self._accept()
        if self.ends_at is not None:
            self._event("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})

    def _accept(self) -> None:
        try:
            self.client, _ = self.listener.accept()
        except BlockingIOError:
            return
        self.client.setblocking(True)
        self.received, self.negotiated = b"", False
        self._send({"QMP": {"version": self._version(), "capabilities": ["oob"]}})

    def _read(self) -> None:
        assert self.client is not None
        try:
            data = self.client.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.client.close()
            self.client = None
            return
        self.received += data
        *lines, self.received = self.received.split(b"\n")
        # A client may leave the line open: then the object is complete when it parses.
        if self.received.strip() and _parsed(self.received) is not None:
            lines.append(self.received)
            self.received = b""
        for line in lines:
            if line.strip():
                self._answer(line)

    def _send(self, message: Mapping[str, Json]) -> None:
        if self.client is not None:
            try:
                self.client.sendall(json.dumps(message).encode() + b"\r\n")
            except OSError:
                self.client = None

    def _event(self, name: str, data: Mapping[str, Json] | None = None) -> None:
        now = time.time()
        stamp: Json = {"seconds": int(now), "microseconds": int(now % 1 * 1e6)}
        if self.negotiated:
            self._send({"timestamp": stamp, "event": name} | ({"data": dict(data)} if data else {}))

    def _answer(self, line: bytes) -> None:
        message = _parsed(line)
        if message is None:
            self._send(_error("GenericError", "JSON parse error, invalid"))
            return
        command = message.get("execute", message.get("exec-oob"))
        extra = {"id": message["id"]} if "id" in message else {}
        if not self.negotiated and command != "qmp_capabilities":
            wanted = "Expecting capabilities negotiation with 'qmp_capabilities'"
            self._send(_error("CommandNotFound", wanted) | extra)
            return
        found = self._command(str(command))
        if found is None:
            self._send(_error("CommandNotFound", f"The command {command} has not been found") | extra)
            return
        self._send({"return": found} | extra)
        if command == "system_powerdown":
            self._event("POWERDOWN")
        if command == "quit":
            self.ends_at = time.monotonic()

    def _command(self, command: str) -> Json:
        """The answer to a command, None for an unknown one."""
        match command:
            case "qmp_capabilities":
                self.negotiated = True
                return {}
            case "query-status":
                return {"status": self.status, "singlestep": False, "running": self.status == "running"}
            case "query-name":
                return {"name": self.guest.name}
            case "query-version":
                return self._version()
            case "query-pci":
                return self._pci()
            case "qom-list":
                return [{"name": one.id, "type": f"child<{one.kind}>"} for one in self.guest.placed if one.id]
            case "query-cpus-fast" if self.version >= CPUS_FAST:
                return [{"cpu-index": vcpu, "thread-id": thread} for vcpu, thread in self._vcpus()]
            case "query-cpus" if self.version < CPUS_GONE:
                return [{"CPU": vcpu, "thread_id": thread} for vcpu, thread in self._vcpus()]
            case "system_powerdown":
                if not self.ignores_powerdown and self.ends_at is None:
                    self.ends_at = time.monotonic() + SHUT_DOWN_AFTER
                return {}
            case "quit" | "stop" | "cont":
                self.status = {"stop": "paused", "cont": "running"}.get(command, self.status)
                return {}
            case _:
                return None

    def _vcpus(self) -> list[tuple[int, int]]:
        return [(vcpu, thread_of(os.getpid(), vcpu)) for vcpu in range(self.guest.vcpus)]

    def _version(self) -> Json:
        major, minor, micro = self.version
        return {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": ""}

    def _pci(self) -> Json:
        root = self.guest.placed[0].bus
        numbered = time.monotonic() - self.started > NUMBERED_AFTER
        ports = [one.id for one in self.guest.placed if one.kind in ("ioh3420", "pcie-root-port")]
        numbers = {root: 0} | {port: number for number, port in enumerate(ports, 1)}
        found: list[Json] = []
        for one in (one for one in self.guest.placed if one.bus == root):
            entry = _function(one, 0)
            if one.id in ports:
                number = numbers[one.id] if numbered else 0
                bridge: dict[str, Json] = {"bus": {"number": 0, "secondary": number, "subordinate": number}}
                if numbered:
                    bridge["devices"] = [_function(two, number) for two in self.guest.placed if two.bus == one.id]
                entry["pci_bridge"] = bridge
            found.append(entry)
        return [{"bus": 0, "devices": found}]


def _parsed(line: bytes) -> dict[str, Json] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _error(kind: str, text: str) -> dict[str, Json]:
    return {"error": {"class": kind, "desc": text}}


def _function(one: Placed, bus: int) -> dict[str, Json]:
    return {
        "bus": bus,
        "slot": one.slot,
        "function": one.function,
        "qdev_id": one.id,
        "class_info": {"class": one.class_code},
        "id": {"vendor": one.vendor, "device": one.device},
        "irq_pin": 1,
        "regions": [],
    }
