"""The host's CPUs: which are online, which are kept free, which share a core, which node of memory each is near.

Sources: Documentation/admin-guide/cputopology.rst; Documentation/ABI/testing/sysfs-devices-system-cpu (`isolated`,
`nohz_full`); Documentation/ABI/stable/sysfs-devices-node.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from steps.base import Host
from steps.reading import names_in
from steps.tuning import cpulist

CPUS = "/sys/devices/system/cpu"
NODES = "/sys/devices/system/node"
PCI = "/sys/bus/pci/devices"
_NODE = re.compile(r"node(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class HostCpus:
    """`isolated` and `nohz_full` are None where the kernel does not tell (before 4.2, or not built in); `siblings` are
    the CPUs of each CPU's core, itself among them; `nodes` the CPUs of each node; `near` the node of each device, where
    its firmware says one."""

    online: tuple[int, ...]
    isolated: tuple[int, ...] | None = None
    nohz_full: tuple[int, ...] | None = None
    siblings: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    nodes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    near: Mapping[str, int] = field(default_factory=dict)


def read(host: Host, devices: Iterable[str] = ()) -> HostCpus:
    """The host's CPUs, and where the devices at these addresses are."""
    online = _list(host, f"{CPUS}/online") or ()
    siblings = {cpu: _list(host, f"{CPUS}/cpu{cpu}/topology/thread_siblings_list") or (cpu,) for cpu in online}
    nodes = {int(match[1]): name for name in names_in(host, NODES) if (match := _NODE.fullmatch(name))}
    near = {address: _number(host, f"{PCI}/{address}/numa_node") for address in devices}
    return HostCpus(
        online,
        _list(host, f"{CPUS}/isolated"),
        _list(host, f"{CPUS}/nohz_full"),
        siblings,
        {number: _list(host, f"{NODES}/{name}/cpulist") or () for number, name in sorted(nodes.items())},
        {address: node for address, node in near.items() if node is not None and node >= 0},
    )


def _text(host: Host, path: str) -> str | None:
    try:
        return host.read(path).decode("ascii", errors="replace").strip()
    except OSError:
        return None


def _list(host: Host, path: str) -> tuple[int, ...] | None:
    """A list of the kernel's. Where none is set, some kernels print `(null)`."""
    text = _text(host, path)
    try:
        return None if text is None else cpulist.parse(text.replace("(null)", ""))
    except ValueError:
        return None


def _number(host: Host, path: str) -> int | None:
    text = _text(host, path) or ""
    return int(text) if re.fullmatch(r"-?\d+", text) else None
