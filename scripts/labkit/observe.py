"""What the lab sees of the machine with its own eyes, never through vfiostate."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from . import compare
from .base import GUEST_PROGRAMS, limit
from .channel import Agent

PROGRAMS = "/usr/local/lib/lab"


@dataclass(frozen=True)
class Function:
    """A PCI function as sysfs shows it: its driver ('' for none), its driver_override and its IOMMU group."""

    driver: str
    override: str
    group: str


@dataclass(frozen=True)
class Sight:
    """The machine at one moment: command line, devices and files."""

    cmdline: str
    functions: Mapping[str, Function]
    files: compare.Manifest


def place_programs(agent: Agent) -> None:
    """Puts the programs into the machine that look at it."""
    for name in ("manifest.py", "askqmp.py", "events.py"):
        agent.write(f"{PROGRAMS}/{name}", (GUEST_PROGRAMS / name).read_bytes(), 0o755)


def cmdline(agent: Agent) -> str:
    """/proc/cmdline."""
    return agent.read("/proc/cmdline").decode().strip()


def functions(agent: Agent) -> dict[str, Function]:
    """Every PCI function, by address."""
    script = (
        "cd /sys/bus/pci/devices && for d in *; do"
        ' printf "%s|%s|%s|%s\\n" "$d" "$(basename "$(readlink $d/driver)")" "$(cat $d/driver_override)"'
        ' "$(basename "$(readlink $d/iommu_group)")"; done'
    )
    found = {}
    for line in agent.sh(script).splitlines():
        address, driver, override, group = line.split("|")
        found[address] = Function(driver, override, group)
    return found


def files(agent: Agent) -> compare.Manifest:
    """The manifest of the machine's files, as compare.py says which."""
    argv = ["python3", f"{PROGRAMS}/manifest.py"]
    for option, names in (("--hash", compare.HASHED), ("--look", compare.LOOKED_AT), ("--skip", compare.LEFT_OUT)):
        argv += [word for name in names for word in (option, name)]
    agent.sh(f"{shlex.join(argv)} >/run/lab-manifest", timeout=limit("initramfs"))  # past the transcript: it is long
    found = json.loads(agent.read("/run/lab-manifest"))
    agent.sh("rm /run/lab-manifest")
    assert isinstance(found, dict)
    return found


def look(agent: Agent) -> Sight:
    """Everything at once."""
    return Sight(cmdline(agent), functions(agent), files(agent))
