"""The threads of the QEMU double as /proc shows them, and the huge pages that it uses, as long as it runs.

The double is one thread on whatever CPUs this computer has: what is shown is the model's, written by the double itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence

from engine.hosts.simulated import hugepages, processors
from engine.hosts.simulated.drivers import failure
from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.qemu_guest import Guest, QemuError
from steps.tuning import cpulist


def thread_of(pid: int, vcpu: int) -> int:
    """The id of a vCPU's thread."""
    return pid + 1 + vcpu


@contextlib.contextmanager
def shown(machine: Machine, guest: Guest, cpus: str) -> Iterator[None]:
    """The process with a thread for each vCPU, begun on these CPUs (empty: the usual ones). Raises QemuError without
    the huge pages."""
    pid = os.getpid()
    pages = -(-guest.memory * 1024 // guest.page) if guest.page else 0
    if pages and not hugepages.take(machine, guest.page, pages):
        raise QemuError("unable to map backing store for guest RAM: Cannot allocate memory")
    held = f"HugetlbPages:\t{pages * guest.page:8} kB\n"
    allowed = cpus or cpulist.render(processors.usual(machine))
    names = {pid: "qemu-system-x86"} | {thread_of(pid, vcpu): f"CPU {vcpu}/KVM" for vcpu in range(guest.vcpus)}
    for thread, name in names.items():
        machine.put(f"/proc/{pid}/task/{thread}/comm", f"{name}\n")
        machine.put(f"/proc/{pid}/task/{thread}/status", f"Name:\t{name}\n{held}Cpus_allowed_list:\t{allowed}\n")
    machine.link(f"/proc/{pid}/status", f"task/{pid}/status")
    try:
        yield
    finally:
        machine.remove_tree(f"/proc/{pid}")
        if pages:
            hugepages.take(machine, guest.page, -pages)


def set_affinity(machine: Machine, thread: int, cpus: Sequence[int]) -> None:
    """As sched_setaffinity(2): ESRCH without such a thread, EINVAL where none of the CPUs is there."""
    there = [cpu for cpu in cpus if cpu < machine.description.threads]
    path = next((one for one in _statuses(machine) if one.endswith(f"/{thread}/status")), None)
    if path is None:
        raise failure(errno.ESRCH, str(thread))
    if not there:
        raise failure(errno.EINVAL, str(thread))
    head, _, _ = machine.text(path).partition("Cpus_allowed_list:")
    machine.put(path, f"{head}Cpus_allowed_list:\t{cpulist.render(there)}\n")


def _statuses(machine: Machine) -> Iterator[str]:
    for pid in machine.names("/proc"):
        for thread in machine.names(f"/proc/{pid}/task") if pid.isdecimal() else ():
            yield f"/proc/{pid}/task/{thread}/status"
