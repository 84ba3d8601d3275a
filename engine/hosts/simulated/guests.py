"""The guests that run on a simulated machine: real processes, found by their pid files, and the functions they hold."""

from __future__ import annotations

from engine.hosts.simulated.machine import Machine

# Where the processes of our own guests and those of libvirt have their pid files.
RUN_DIRS = ("/run/vfiostate", "/run/libvirt/qemu")


def running(machine: Machine) -> dict[int, str]:
    """The guests' processes: pid to command line, its words separated by spaces."""
    found: dict[int, str] = {}
    for directory, name in ((one, name) for one in RUN_DIRS for name in machine.names(one)):
        if not name.endswith(".pid"):
            continue
        pid = machine.text(f"{directory}/{name}").split()[:1]
        line = _command_line(pid[0]) if pid and pid[0].isdecimal() else ""
        # A pid that was used again belongs to a process that does not name this machine.
        if str(machine.directory) in line.split():
            found[int(pid[0])] = line
    return found


def _command_line(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return stream.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def hold(machine: Machine, address: str) -> bool:
    """Whether a running guest has this function."""
    names = (f"vfio-pci,host={address}", f"vfio-pci,host={address.removeprefix('0000:')}")
    return any(
        f"{name}," in f"{line}," or f"{name} " in f"{line} " for line in running(machine).values() for name in names
    )
