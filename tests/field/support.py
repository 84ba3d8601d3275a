"""Machines made, spoilt and asked: what the tests of the field share beyond tests.badinput.support."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from engine.hosts.simulated.host import SimulatedHost
from engine.hosts.simulated.initramfs import Archive, parse
from journal.events import Kind
from steps.base import State
from tests.badinput.support import Answer, At, copy, last, run, unchanged

CFG = "boot/grub/grub.cfg"
CONF = "etc/modprobe.d/00-vfiostate.conf"
GRUBENV = "boot/grub/grubenv"
KERNEL = "6.1.0-56-amd64"
IDS = "vfio-pci.ids=1234:1111,8086:2668,1b36:000d"
LAB = ("--device=01:00.0", "--device=01:00.1", "--device=02:00.0", "--accel=tcg", "--cpu=qemu64")
ADDRESSES = ("0000:01:00.0", "0000:01:00.1", "0000:02:00.0")
NATIVE = ["bochs-drm", "snd_hda_intel", "xhci_hcd"]
STUBBED = ["vfio-pci"] * 3
Description = dict[str, Any]


def made(directory: Path, name: str, *init: str, change: Callable[[Description], None] | None = None) -> Path:
    """A machine like a shipped one, with its description changed; configured where `init` has arguments."""
    description = json.loads((files("engine.hosts.simulated") / "machines" / f"{name}.json").read_text())
    if change is not None:
        change(description)
    source = directory / f"{name}.json"
    source.write_text(json.dumps(description))
    machine = directory / name
    run(machine, "machine", "create", "--from", str(source)).is_(0)
    if init:
        run(machine, "init", *init).is_(0)
    return machine


def modules(description: Description) -> Description:
    """The modules of the machine's only kernel."""
    found: Description = description["kernels"][0]["modules"]
    return found


def function(description: Description, address: str) -> Description:
    """One PCI function of a description."""
    found: Description = next(one for one in description["functions"] if one["address"] == address)
    return found


def redescribed(machine: Path, change: Callable[[Description], None]) -> None:
    """Change what the machine is made of; it shows at the next boot."""
    place = machine / "machine.json"
    description = json.loads(place.read_text())
    change(description)
    place.write_text(json.dumps(description))


def refused(machine: Path, code: str, *words: str) -> Answer:
    """`advance` refuses with this finding, its evidence and what to do next, and changes nothing."""
    with unchanged(machine):
        answer = run(machine, "advance").is_(5, *words)
    findings: list[dict[str, Any]] = last(machine, Kind.STEP_REFUSED).data["findings"]  # type: ignore[assignment]
    found = next((one for one in findings if one["code"] == code), None)
    assert found is not None and found["evidence"], findings
    for part in (found["message"], found["hint"], *found["evidence"]):
        assert part and part in answer.text, (part, answer.text)
    return answer


def advanced(machine: Path, *words: str) -> Answer:
    """`advance` takes its step and says these words."""
    return run(machine, "advance").is_(0, *words)


def untried(at: At) -> Path:
    """A copy of the lab's machine in the state `stubbed`, its command line made the default without a trial boot."""
    machine = at("modules_loaded")
    run(machine, "advance", "--no-trial").is_(0, "no trial boot: the new command line becomes the default at once")
    return machine


def reboot(machine: Path, entry: str = "default") -> None:
    """Reboot it."""
    run(machine, "machine", "reboot", "--entry", entry).is_(0)


def command(machine: Path, *argv: str) -> None:
    """A command of the system that somebody else runs."""
    done = SimulatedHost(machine).run(argv, timeout=60.0)
    assert done.ok, done


def attribute(machine: Path, path: str, value: str) -> None:
    """Somebody else's write to the kernel."""
    SimulatedHost(machine).write_attribute(path, value, timeout=10.0)


def driver(machine: Path, address: str) -> str | None:
    """Who holds a function."""
    link = machine / "sys/bus/pci/devices" / address / "driver"
    return link.resolve().name if link.is_symlink() else None


def drivers(machine: Path) -> list[str | None]:
    """Who holds the three devices of the lab's machine."""
    return [driver(machine, address) for address in ADDRESSES]


def overrides(machine: Path) -> list[str]:
    """Their driver_override, as the kernel shows it."""
    return [(machine / "sys/bus/pci/devices" / one / "driver_override").read_text().strip() for one in ADDRESSES]


def words(machine: Path) -> list[str]:
    """The command line of the running kernel."""
    return (machine / "proc/cmdline").read_text().split()


def has_token(text: list[str]) -> bool:
    """Whether a command line is that of a set-up."""
    return any(word.startswith("vfiostate.setup=") for word in text)


def image(machine: Path, release: str = KERNEL) -> Archive:
    """The initramfs of a kernel."""
    return parse((machine / f"boot/initrd.img-{release}").read_bytes())


def replaced(path: Path, old: str, new: str) -> bytes:
    """Edit a file as a user does; its new content."""
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))
    return path.read_bytes()


def up_to_bound(base: Path) -> dict[State, Path]:
    """The lab's machine in each state up to `bound`, each a copy of its own; `new` is configured and untouched."""
    machine = made(base, "debian12-lab", *LAB)
    found = {State.NEW: copy(machine, base / "new")}
    for state in list(State)[1:-1]:
        if state is State.REBOOTED:
            reboot(machine)
        advanced(machine)
        found[state] = copy(machine, base / state.value)
    return found
