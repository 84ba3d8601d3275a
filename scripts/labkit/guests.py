"""Whether the guest runs with the devices in it, asked past vfiostate: of QEMU's own monitor, and of libvirt."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from typing import Any

from . import observe
from .channel import Agent
from .report import Report


def of_qemu(agent: Agent, report: Report, ids: Set[str]) -> None:
    """QEMU's own monitor shows the guest running, and the devices in it."""
    sockets = agent.sh("ls /run/vfiostate/*.qmp").split()
    asked = agent.run(["python3", f"{observe.PROGRAMS}/askqmp.py", sockets[0], "60", *sorted(ids)]).check()
    said = json.loads(asked.stdout)
    report.equal("QMP itself says running", said["status"]["status"], "running")
    inside = {device["id"]: device["at"] for device in said["devices"] if device["id"] in ids}
    report.check("QMP itself shows the devices in the guest", set(inside) == ids, inside)


def of_libvirt(agent: Agent, report: Report, ids: Set[str]) -> None:
    """libvirt says that the domain runs, and its QEMU shows the devices."""
    state = agent.run(["virsh", "-c", "qemu:///system", "domstate", "guest"])
    report.check("virsh says running", state.stdout.strip() == "running", state.stdout + state.stderr)
    asked = agent.run(["virsh", "-c", "qemu:///system", "qemu-monitor-command", "guest", '{"execute":"query-pci"}'])
    buses = json.loads(asked.check().stdout)["return"]
    inside = {f"{one['id']['vendor']:04x}:{one['id']['device']:04x}" for one in functions(buses)}
    report.check("QMP itself shows the devices in the guest", ids <= inside, sorted(inside))


def functions(buses: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every function in what `query-pci` says, behind bridges too."""
    for bus in buses:
        for one in bus["devices"]:
            yield one
            yield from functions([one["pci_bridge"]] if "devices" in one.get("pci_bridge", {}) else [])
