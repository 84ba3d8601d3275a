"""The article's machine with libvirt on it, and the shipped example as a domain of libvirt."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from engine.cli import main
from engine.hosts.simulated import SimulatedHost, description
from engine.hosts.simulated.parts import TextFile
from journal.errors import Exit
from journal.events import Json
from tests.guest.support import copy

EXAMPLE = (resources.files("engine.config") / "examples/article.toml").read_text("utf-8")
CONFIG = "etc/vfiostate.toml"
DOMAIN = "etc/libvirt/qemu/win7.xml"
OURS = "var/lib/vfiostate/win7.xml"
STRANGER = "<domain type='kvm'>\n  <name>win7</name>\n  <uuid>00000000-0000-4000-8000-000000000007</uuid>\n</domain>\n"


def make(directory: Path, files: Mapping[str, str] | None = None) -> SimulatedHost:
    """The machine, with KVM loaded and the configuration in place."""
    found = description.find("article")
    given = {"/etc/libvirt/qemu/networks/default.xml": "<network/>\n", "/etc/apparmor.d/libvirt/TEMPLATE.qemu": "#\n"}
    given |= files or {}
    made = dataclasses.replace(
        found,
        qemu="7.2.22",
        commands=(*found.commands, "/usr/bin/virsh"),
        files={**found.files, **{path: TextFile(text) for path, text in given.items()}},
    )
    host = SimulatedHost.create(directory, made)
    configure(directory)
    assert host.run(("modprobe", "kvm_amd"), timeout=5.0).ok
    return host


@functools.cache
def _template() -> tempfile.TemporaryDirectory[str]:
    """One such machine, brought to `bound` by vfiostate once and copied for each test."""
    place = tempfile.TemporaryDirectory()
    directory = Path(place.name) / "machine"
    make(directory)
    assert vfiostate(directory, "advance", "--until", "stubbed") == Exit.DONE
    assert vfiostate(directory, "advance", "--reboot") == Exit.REBOOT
    assert vfiostate(directory, "advance", "--until", "bound") == Exit.DONE
    return place


def bound(directory: Path) -> SimulatedHost:
    """The machine in `bound`."""
    shutil.copytree(Path(_template().name) / "machine", directory, symlinks=True, copy_function=copy)
    return SimulatedHost(directory)


def configure(directory: Path, **keys: int) -> None:
    """The shipped example, run by libvirt; `keys` of [guest] have other values."""
    text = EXAMPLE.replace("[guest]\n", '[guest]\nbackend = "libvirt"\nstop_timeout = 5\n', 1)
    for key, value in keys.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} = ") else line for line in text.splitlines()]
        text = "\n".join([*lines, ""])
    (directory / CONFIG).write_text(text)
    (directory / CONFIG).chmod(0o644)


def spoil(directory: Path, **faults: Json) -> None:
    """Let something go wrong on the machine from now on."""
    described = json.loads((directory / "machine.json").read_text())
    (directory / "machine.json").write_text(json.dumps(described | {"faults": faults}))


def vfiostate(directory: Path, *words: str) -> int:
    """Run the program."""
    return int(main(["--simulate", str(directory), *words]))


def virsh(host: SimulatedHost, *words: str) -> str:
    """What virsh says on the machine; it must succeed."""
    done = host.query(("virsh", "-c", "qemu:///system", *words))
    assert done.ok, done.stderr
    return done.text.strip()


def end(host: SimulatedHost) -> None:
    """End what runs on it."""
    for uuid in virsh(host, "list", "--uuid").split():
        host.query(("virsh", "-c", "qemu:///system", "destroy", uuid))
