"""What /proc shows of a booted simulated machine."""

from __future__ import annotations

import uuid

from engine.hosts.simulated.machine import Machine


def populate(machine: Machine, release: str, cmdline: str) -> None:
    """Make the /proc of a fresh boot, with a boot id of its own."""
    found = machine.description
    machine.put("/proc/cmdline", cmdline + "\n", 0o444)
    machine.put("/proc/sys/kernel/osrelease", release + "\n", 0o444)
    machine.put("/proc/sys/kernel/ostype", "Linux\n", 0o444)
    machine.put("/proc/sys/kernel/hostname", "simulated\n")
    machine.put("/proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n", 0o444)
    machine.put("/proc/version", f"Linux version {release} (simulated)\n", 0o444)
    machine.put("/proc/modules", "", 0o444)
    machine.put("/proc/meminfo", f"MemTotal:       {found.memory * 1024} kB\nMemAvailable:   {found.memory * 768} kB\n")
    machine.put("/proc/filesystems", "nodev\tsysfs\nnodev\tproc\n\text4\n", 0o444)
    machine.put("/proc/cpuinfo", _cpuinfo(machine), 0o444)
    swaps = [f"{path:40}partition\t1048572\t\t0\t\t-2" for path in found.swaps]
    machine.put("/proc/swaps", "\n".join(["Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority", *swaps]) + "\n", 0o444)
    mounts = "".join(f"{one.source} {one.target} {one.type} rw,relatime 0 0\n" for one in found.mounts)
    machine.put("/proc/self/mounts", mounts, 0o444)
    machine.link("/proc/mounts", "self/mounts")
    machine.put("/proc/self/mountinfo", "".join(_mountinfo(machine)), 0o444)
    if found.secure_boot:
        machine.put("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n")


def _cpuinfo(machine: Machine) -> str:
    found = machine.description
    return "".join(
        f"processor\t: {n}\nvendor_id\t: {found.cpu_vendor}\nmodel name\t: {found.cpu_model}\n"
        f"flags\t\t: {' '.join(found.cpu_flags)}\n\n"
        for n in range(found.threads)
    )


def _mountinfo(machine: Machine) -> list[str]:
    lines = []
    for n, one in enumerate(machine.description.mounts):
        name = one.source.removeprefix("/dev/")
        device = machine.text(f"/sys/class/block/{name}/dev", f"0:{20 + n}").strip()
        lines.append(f"{22 + n} 1 {device} / {one.target} rw,relatime shared:{n + 1} - {one.type} {one.source} rw\n")
    return lines
