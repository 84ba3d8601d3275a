"""The simulated machine's CPUs in sysfs, and which of them the command line keeps free.

As kernel/sched/isolation.c has it: the first isolcpus= and the first nohz_full= count, and one that names other CPUs
than what came before it is dropped.
"""

from __future__ import annotations

from engine.hosts.simulated.machine import Machine, version
from engine.hosts.simulated.parts import Kernel
from steps.tuning import cpulist

CPUS = "/sys/devices/system/cpu"
NODES = "/sys/devices/system/node"


def populate(machine: Machine, kernel: Kernel) -> None:
    """Make /sys/devices/system of a fresh boot."""
    found = machine.description
    every = range(found.threads)
    cores = max(1, found.threads // found.smt)
    for name in ("online", "present", "possible"):
        machine.put(f"{CPUS}/{name}", f"{cpulist.render(every)}\n", 0o444)
    for cpu in every:
        siblings = [other for other in every if other % cores == cpu % cores]
        machine.put(f"{CPUS}/cpu{cpu}/topology/thread_siblings_list", f"{cpulist.render(siblings)}\n", 0o444)
        machine.put(f"{CPUS}/cpu{cpu}/topology/core_id", f"{cpu % cores}\n", 0o444)
    for node in range(found.nodes):
        near = [cpu for cpu in every if cpu % cores * found.nodes // cores == node]
        machine.put(f"{NODES}/node{node}/cpulist", f"{cpulist.render(near)}\n", 0o444)
    domains, ticks = _isolated(machine, kernel)
    # Both files came with 4.2.
    if version(kernel.release) >= (4, 2):
        machine.put(f"{CPUS}/isolated", f"{cpulist.render(domains)}\n", 0o444)
        if kernel.config.get("CONFIG_NO_HZ_FULL") == "y":
            machine.put(f"{CPUS}/nohz_full", f"{cpulist.render(ticks) or '(null)'}\n", 0o444)
    machine.put("/.kernel/isolated", cpulist.render(domains))


def usual(machine: Machine) -> tuple[int, ...]:
    """The CPUs that a process may use where nobody says otherwise."""
    isolated = cpulist.parse(machine.text("/.kernel/isolated"))
    return tuple(cpu for cpu in range(machine.description.threads) if cpu not in isolated)


def _isolated(machine: Machine, kernel: Kernel) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the scheduler leaves alone, and what has no tick."""
    found: dict[str, tuple[int, ...]] = {}
    tickless = kernel.config.get("CONFIG_NO_HZ_FULL") == "y"
    for word in machine.cmdline:
        name, _, value = word.partition("=")
        if name not in ("isolcpus", "nohz_full"):
            continue
        if name == "nohz_full" and not tickless:
            machine.log("Housekeeping: nohz unsupported. Build with CONFIG_NO_HZ_FULL", 0.0)
            continue
        flags = [one for one in value.split(",") if one.replace("_", "").isalpha()]
        try:
            cpus = cpulist.parse(",".join(one for one in value.split(",") if one not in flags))
        except ValueError:
            machine.log("Housekeeping: nohz_full= or isolcpus= incorrect CPU range", 0.0)
            continue
        cpus = tuple(cpu for cpu in cpus if cpu < machine.description.threads)
        if any(cpus != other for other in found.values()):
            machine.log("Housekeeping: nohz_full= must match isolcpus=", 0.0)
        elif name == "nohz_full" or not flags or "domain" in flags:
            found.setdefault(name, cpus)
    return found.get("isolcpus", ()), found.get("nohz_full", ())
