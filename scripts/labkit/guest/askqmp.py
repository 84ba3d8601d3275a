#!/usr/bin/python3
"""Asks a QMP socket directly, without vfiostate: query-status and every PCI device of the guest, as JSON.

usage: askqmp.py SOCKET SECONDS VENDOR:DEVICE...
Devices behind a root port appear only after the guest's firmware has numbered the buses, so it asks until all the ids
are there or the time is over.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any


def walk(devices: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every device, those behind bridges too."""
    for device in devices:
        yield {
            "id": f"{device['id']['vendor']:04x}:{device['id']['device']:04x}",
            "name": device.get("qdev_id", ""),
            "at": f"{device['bus']:02x}:{device['slot']:02x}.{device['function']}",
            "regions": sum(region["address"] not in (-1, 0xFFFFFFFFFFFFFFFF) for region in device["regions"]),
        }
        yield from walk(device.get("pci_bridge", {}).get("devices", []))


def main() -> None:
    """Asks, and writes the answers to standard output."""
    path, seconds, wanted = sys.argv[1], float(sys.argv[2]), set(sys.argv[3:])
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(path)
    lines = connection.makefile("rw")
    lines.readline()

    def ask(command: str) -> Any:
        lines.write(json.dumps({"execute": command}) + "\n")
        lines.flush()
        while True:
            reply = json.loads(lines.readline())
            if "return" in reply or "error" in reply:
                return reply["return"]

    ask("qmp_capabilities")
    deadline = time.monotonic() + seconds
    while True:
        devices = [device for bus in ask("query-pci") for device in walk(bus["devices"])]
        if wanted <= {device["id"] for device in devices} or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    json.dump({"status": ask("query-status"), "devices": devices}, sys.stdout)


if __name__ == "__main__":
    main()
