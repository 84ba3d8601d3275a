"""A row of the lab's matrix, and a machine on which one is played."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

from . import guests, observe
from .base import LabError, limit
from .channel import Agent, Ran
from .machine import Machine, Shape
from .recipe import BASE, Recipe
from .report import Report

# Address -> (id, native driver). A graphics card with its audio function, and a USB controller.
DEVICES = {
    "0000:01:00.0": ("1234:1111", "bochs-drm"),
    "0000:01:00.1": ("8086:2668", "snd_hda_intel"),
    "0000:02:00.0": ("1b36:000d", "xhci_hcd"),
}
# A guest under emulation within emulation: little memory, and no KVM in it.
GUEST = ("--accel", "tcg", "--cpu", "qemu64", "--memory", "256")
STATES = ("new", "checked", "modules_loaded", "stubbed", "rebooted", "bound", "running")


@dataclass(frozen=True)
class Row:
    """One row of the lab's matrix: a kind of host, its hardware, and the story that is played on it.

    `devices` are the addresses to pass through, each with its id and its native driver; `keeps` are others, each with
    the driver of the host's that must hold it all the time. `settings` are lines of the configuration that `init` has
    no option for, in the place of those with the same key. `given` is what the machine's administrator did before
    anybody thought of passthrough. `late` devices come after the stub driver's turn, and wait for the step `bound`.
    `installed_by` is `wheel` or `deb`.
    """

    name: str
    shows: str
    story: Callable[[Lab], None]
    recipe: Recipe = BASE
    shape: Shape = field(default_factory=Shape)
    stub: str = "vfio-pci"
    devices: Mapping[str, tuple[str, str]] = field(default_factory=lambda: DEVICES)
    keeps: Mapping[str, str] = field(default_factory=lambda: {"0000:03:00.0": "e1000e"})
    options: tuple[str, ...] = ()
    settings: tuple[str, ...] = ("stop_timeout = 5",)  # nothing runs in this guest that could shut it down
    guest: Callable[[Agent, Report, Set[str]], None] = field(default_factory=lambda: guests.of_qemu)
    given: Callable[[Lab], None] | None = None
    late: bool = False
    installed_by: str = "wheel"


@dataclass
class Lab:
    """A run of a row: the machine, the report, and the way to call vfiostate in it."""

    row: Row
    machine: Machine
    report: Report
    told: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def agent(self) -> Agent:
        return self.machine.agent

    @property
    def native(self) -> dict[str, str]:
        """The drivers that hold the devices as long as nobody meddles."""
        return {address: driver for address, (_, driver) in self.row.devices.items()}

    def vfiostate(self, *words: str, timeout: str = "advance") -> Ran:
        """Runs vfiostate through sudo, from an ordinary account; what may change something is remembered."""
        if words[0] in ("advance", "rollback"):
            self.told.append(words)
        return self.agent.run(["runuser", "-u", "lab", "--", "sudo", "-n", "vfiostate", *words], timeout=limit(timeout))

    def reboot(self) -> None:
        """A reboot that vfiostate is not asked for."""
        self.told.append(("machine", "reboot"))
        self.machine.reboot()
        self.settled()

    def settled(self) -> None:
        """Waits for the end of the boot, and of udev's work, which no target waits for: the agent answers before."""
        self.agent.run(["systemctl", "is-system-running", "--wait"], timeout=limit("boot"))
        self.agent.run(["udevadm", "settle"], timeout=limit("boot"))

    def state(self) -> str:
        """The state that `vfiostate status` tells."""
        ran = self.vfiostate("status", "--json")
        try:
            return str(json.loads(ran.stdout)["state"])
        except (ValueError, KeyError, TypeError):
            raise LabError(f"status --json: {ran.rc}\n{ran.stdout}{ran.stderr}") from None

    def drivers(self) -> dict[str, str]:
        """The drivers that hold the devices now."""
        found = observe.functions(self.agent)
        return {address: found[address].driver if address in found else "gone" for address in self.row.devices}

    def host_keeps(self) -> None:
        """A check that the host's own devices are under its own drivers."""
        found = observe.functions(self.agent)
        kept = {address: found[address].driver if address in found else "gone" for address in self.row.keeps}
        self.report.equal("the host keeps its own", kept, dict(self.row.keeps))

    def all_under(self, driver: str) -> dict[str, str]:
        """What `drivers` says when one driver holds every device."""
        return dict.fromkeys(self.row.devices, driver)
