"""Whether the guest runs with the devices in it, asked past vfiostate: of QEMU's own monitor, and of libvirt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import observe

if TYPE_CHECKING:
    from .lab import Lab


def of_qemu(lab: Lab) -> None:
    """QEMU's own monitor shows the guest running, and the devices in it."""
    sockets = lab.agent.sh("ls /run/vfiostate/*.qmp").split()
    ids = [ids for ids, _ in lab.row.devices.values()]
    asked = lab.agent.run(["python3", f"{observe.PROGRAMS}/askqmp.py", sockets[0], "60", *ids]).check()
    said = json.loads(asked.stdout)
    lab.report.equal("QMP itself says running", said["status"]["status"], "running")
    inside = {device["id"]: device["at"] for device in said["devices"] if device["id"] in ids}
    lab.report.check("QMP itself shows the devices in the guest", set(inside) == set(ids), inside)


def of_libvirt(lab: Lab) -> None:
    """libvirt says that the domain runs, and its QEMU shows the devices."""
    state = lab.agent.run(["virsh", "-c", "qemu:///system", "domstate", "guest"])
    lab.report.check("virsh says running", state.stdout.strip() == "running", state.stdout + state.stderr)
    asked = lab.agent.run(["virsh", "-c", "qemu:///system", "qemu-monitor-command", "guest", '{"execute":"query-pci"}'])
    ids = {ids for ids, _ in lab.row.devices.values()}
    buses = json.loads(asked.check().stdout)["return"]
    inside = {f"{one['id']['vendor']:04x}:{one['id']['device']:04x}" for one in functions(buses)}
    lab.report.check("QMP itself shows the devices in the guest", ids <= inside, sorted(inside))


def functions(buses: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every function in what `query-pci` says, behind bridges too."""
    for bus in buses:
        for one in bus["devices"]:
            yield one
            yield from functions([one["pci_bridge"]] if "devices" in one.get("pci_bridge", {}) else [])
