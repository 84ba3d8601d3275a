"""A disk with vfiostate installed and configured, and what every file was then: where lives begin."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from . import installed, observe
from .base import limit, say
from .channel import Ran
from .image import Image
from .lab import DEVICES, GUEST
from .machine import Machine, Shape

# On a machine that is short of processor time the emulated timer ticks too late for the kernel's check of it: a panic
# that is the lab's fault.
PATIENT = (
    "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&no_timer_check /' /etc/default/grub && grep -q no_timer_check /etc/default/grub"
    " && update-grub && sync"
)
REVISION = 4  # one more whenever the function below prepares another disk of the same program


@dataclass(frozen=True)
class Prepared:
    """The disk, never to be written to, and what the machine was."""

    image: Image
    before: observe.Sight

    @property
    def disk(self) -> Path:
        """The disk's file."""
        return self.image.disk

    def machine(self, directory: Path, *, processors: int = 2) -> Machine:
        """A machine whose disk begins as this one."""
        return self.image.machine(directory, Shape(processors=processors))


def vfiostate(machine: Machine, *words: str, nominal: str = "advance") -> Ran:
    """Runs vfiostate in the machine, as root."""
    return machine.agent.run(["vfiostate", *words], timeout=limit(nominal))


def ensure(stub: str = "vfio-pci") -> Prepared:
    """The prepared disk of the present program, from the cache or made now."""
    base = installed.ensure()
    more = (REVISION, stub, GUEST, DEVICES)
    directory = installed.cached("prepared", base, more, lambda work: prepare(base, stub, work))
    sight = json.loads((directory / "before.json").read_text(encoding="utf-8"))
    functions = {address: observe.Function(**one) for address, one in sight["functions"].items()}
    before = observe.Sight(sight["cmdline"], functions, sight["files"])
    return Prepared(installed.image_in(directory, base), before)


def prepare(base: Image, stub: str, work: Path) -> None:
    """Configures vfiostate as its user would, looks at every file, shuts down."""
    say("preparing a disk with vfiostate configured …")
    with base.machine(work) as machine:
        machine.start()
        machine.agent.sh(PATIENT, timeout=limit("initramfs"))
        machine.reboot()
        devices = [word for address, (ids, _) in DEVICES.items() for word in ("--device", f"{address}={ids}")]
        vfiostate(machine, "init", *devices, "--stub", stub, *GUEST).check()
        # Nothing runs in this guest that could shut it down.
        machine.agent.sh("sed -i 's/^# stop_timeout = .*/stop_timeout = 5/' /etc/vfiostate.toml; sync")
        before = observe.look(machine.agent)
        machine.power_off()
    (work / "before.json").write_text(json.dumps(asdict(before)), encoding="utf-8")
