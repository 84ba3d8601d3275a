"""The step `stubbed` on a Debian root: planned, carried out by the real tools, verified, taken back; told as JSON.

Runs in a mount namespace of its own: `unshare -m python -m tests.boot.real.inside ROOT`. What a machine has (sysfs, its
own /proc) comes from memory, files and commands are those of the root.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.hosts.linux import LinuxHost
from steps.actions import EditFile, Inverse, RunCommand
from steps.base import Brief, Host, Stat
from steps.boot.base import Entry
from steps.boot.grub import CFG, Grub
from steps.boot.grub_default import DEFAULT
from steps.boot.grub_trial import ENV
from steps.cmdline import run_of
from steps.config import Config, Device, Stub
from steps.insertion import sha256, take_out
from steps.stub import STEP
from steps.trial import check
from tests.support.memory_host import Link, MemoryHost

SETUP = "0123456789ab"
ADDRESS = "0000:01:00.0"
IN_MEMORY = ("/sys/", "/proc/")
SINGLE_QUOTED = b"GRUB_CMDLINE_LINUX_DEFAULT='quiet loglevel=3'\n"


def machine() -> MemoryHost:
    """A bochs graphics card, as the emulated machine has it, with an IOMMU."""
    base = f"/sys/bus/pci/devices/{ADDRESS}"
    return MemoryHost(
        {
            f"{base}/vendor": b"0x1234\n",
            f"{base}/device": b"0x1111\n",
            f"{base}/class": b"0x038000\n",
            f"{base}/modalias": b"pci:v00001234d00001111sv00001AF4sd00001100bc03sc80i00\n",
            f"{base}/driver": Link("../../../bus/pci/drivers/bochs-drm"),
            f"{base}/iommu_group": Link("../../../kernel/iommu_groups/7"),
            f"/sys/kernel/iommu_groups/7/devices/{ADDRESS}": b"",
            "/sys/bus/pci/drivers/bochs-drm/module": Link("../../../../module/bochs"),
            "/sys/firmware/acpi/tables/DMAR": b"DMAR",
            "/proc/cmdline": b"root=/dev/sda1 ro quiet\n",
            "/proc/modules": b"bochs 1 0 - Live 0x0\n",
        }
    )


class Layered(LinuxHost):
    """Files and commands of a root, sysfs and /proc from memory."""

    def __init__(self, root: Path, kernel: str) -> None:
        super().__init__(root)
        self.memory = machine()
        self.kernel = kernel

    @property
    def release(self) -> str:
        """The kernel of the root, as if it ran."""
        return self.kernel

    @property
    def boot_id(self) -> str:
        """One and the same boot."""
        return self.memory.boot_id

    def read(self, path: str) -> bytes:
        """See Host."""
        return self.memory.read(path) if path.startswith(IN_MEMORY) else super().read(path)

    def lstat(self, path: str) -> Stat | None:
        """See Host."""
        return self.memory.lstat(path) if path.startswith(IN_MEMORY) else super().lstat(path)

    def list(self, path: str) -> tuple[str, ...]:
        """See Host."""
        return self.memory.list(path) if path.startswith(IN_MEMORY) else super().list(path)

    def readlink(self, path: str) -> str:
        """See Host."""
        return self.memory.readlink(path) if path.startswith(IN_MEMORY) else super().readlink(path)


def mounted(root: Path) -> None:
    """Make the root a mount of its own with /dev, /proc and /sys in it: grub-probe asks for the device below `/`."""
    for argv in (
        ("mount", "--bind", root, root),
        ("mount", "--rbind", "/dev", root / "dev"),
        ("mount", "-t", "proc", "proc", root / "proc"),
        ("mount", "--rbind", "/sys", root / "sys"),
    ):
        subprocess.run(argv, check=True)


def files(host: Host) -> dict[str, str | None]:
    """The sha256 of every file that the step may touch; of the images their list of names."""
    named = ("/etc/initramfs-tools/modules", "/etc/modprobe.d/00-vfiostate.conf", DEFAULT, CFG)
    found: dict[str, str | None] = {
        path: sha256(host.read(path)) if host.lstat(path) is not None else None for path in named
    }
    found["image"] = sha256(host.query(("lsinitramfs", f"/boot/initrd.img-{host.release}")).stdout)
    return found


def apply(host: Layered, action: object) -> None:
    """Carry out an action as the engine does."""
    if isinstance(action, EditFile):
        place = host.local(action.path)
        place.write_bytes(action.content)
        if action.before is None:
            place.chmod(action.mode)
        return
    assert isinstance(action, RunCommand)
    done = host.run(action.argv, timeout=action.timeout)
    assert done.ok, done.stdout[-2000:] + done.stderr[-2000:]


def undo(host: Layered, actions: Sequence[object]) -> None:
    """Take the edits back by their insertions, then regenerate."""
    for action in actions:
        if isinstance(action, EditFile):
            place = host.local(action.path)
            back = take_out(place.read_bytes(), action.inserted)
            assert back is not None
            place.unlink() if action.before is None else place.write_bytes(back)
    for action in actions:
        if isinstance(action, RunCommand):
            apply(host, action)


def whole_way(root: Path, stub: Stub) -> dict[str, object]:
    """There and back with one stub driver; what was seen on the way."""
    kernel = next(path.name for path in sorted((root / "lib/modules").iterdir()))
    host = Layered(root, kernel)
    told = Brief(Config((Device(ADDRESS, "1234:1111"),), stub), SETUP, host.boot_id, trial=False)
    # As the installer leaves a system.
    assert host.run(("update-grub",), timeout=60.0).ok
    before = files(host)
    plan = STEP.plan(told, STEP.probe(host, told))
    for action in plan.actions:
        apply(host, action)
    facts = STEP.probe(host, told)
    boot = Grub().read(host, SETUP)
    run = run_of(boot.words, SETUP)
    seen: dict[str, object] = {
        "findings": [finding.code for finding in (*plan.findings, *STEP.verify(told, facts))],
        "actions": len(plan.actions),
        "release": plan.remember["release"] == kernel,
        "words": list(boot.words),
        "normal": [list(run[1]) == list(entry.words[-len(run[1]) :]) for entry in _entries(boot.entries, False) if run],
        "recovery": [f"vfiostate.setup={SETUP}" in entry.words for entry in _entries(boot.entries, True)],
        "stub in image": bool(facts.initramfs and facts.initramfs.has_module(stub.value)),
        "again": len(STEP.plan(told, facts).actions),
        "softdeps": host.read("/etc/modprobe.d/00-vfiostate.conf").decode().splitlines()[1:],
        "modprobe": host.query(("modprobe", "-c")).text.count(f"softdep bochs pre: {stub.value.replace('-', '_')}"),
    }
    undo(host, plan.actions)
    after = files(host)
    return {**seen, "differs": [path for path, was in before.items() if after[path] != was]}


def trial_boot(root: Path) -> dict[str, object]:
    """What the real tools make of a trial: its script, its choice in the environment block, and both taken back."""
    kernel = next(path.name for path in sorted((root / "lib/modules").iterdir()))
    host = Layered(root, kernel)
    assert host.run(("update-grub",), timeout=60.0).ok
    generated = host.read(CFG)
    facts = Grub().read(host, SETUP)
    tokens = (f"vfiostate.setup={SETUP}", "vfio-pci.ids=1234:1111")
    (edit,) = Grub().stage(facts, tokens, SETUP)
    (choice,) = Grub().choose(facts)
    assert isinstance(edit, EditFile) and isinstance(choice, RunCommand) and isinstance(choice.undo, Inverse)
    host.local(edit.path).write_bytes(edit.content)
    host.local(edit.path).chmod(edit.mode)
    assert host.run(("update-grub",), timeout=60.0).ok
    blocks = {name: _block(host, choice, before) for name, before in BLOCKS.items()}
    # The last of them is chosen still.
    apply(host, choice)
    staged = Grub().read(host, SETUP)
    script = host.query(("sh", edit.path))
    checked = host.query(("grub-script-check", CFG))
    host.local(edit.path).unlink()
    assert host.run(("update-grub",), timeout=60.0).ok
    return {
        "obstacles": list(facts.trial.obstacles),
        "probed": [host.query(("grub-probe", f"--target={each}", "/boot/grub")).text for each in ("abstraction", "fs")],
        "findings": [each.code for each in check(staged, tokens)],
        "words": list(staged.trial.words or ()),
        "default": list(staged.default.words) if staged.default else [],
        "pending": staged.trial.pending,
        "script": [script.status, script.stderr.decode(), script.stdout == edit.content.split(b"\n", 3)[3]],
        "script-check": [checked.status, checked.stderr.decode()],
        "blocks": blocks,
        "as before": host.read(CFG) == generated,
    }


BLOCKS: dict[str, tuple[str, ...] | None] = {"none": None, "empty": (), "theirs": ("saved_entry=0", "a=b c")}


def _block(host: Layered, choice: RunCommand, variables: tuple[str, ...] | None) -> list[object]:
    """Set and unset on an environment block as grub-editenv makes it: its list while it is set, and what is left."""
    place = host.local(ENV)
    place.unlink(missing_ok=True)
    before = b""
    if variables is not None:
        assert host.run(("grub-editenv", ENV, "create"), timeout=60.0).ok
        for each in variables:
            assert host.run(("grub-editenv", ENV, "set", each), timeout=60.0).ok
        before = place.read_bytes()
    apply(host, choice)
    listed = host.query(("grub-editenv", ENV, "list")).text.splitlines()
    size = len(place.read_bytes())
    assert isinstance(choice.undo, Inverse)
    assert host.run(choice.undo.argv, timeout=60.0).ok
    left = [line for line in place.read_text().splitlines() if line.strip("#")]
    same = place.read_bytes() == before if variables is not None else all(line.startswith("#") for line in left)
    return [sorted(listed), size, same]


def _entries(entries: Sequence[Entry] | None, recovery: bool) -> list[Entry]:
    return [entry for entry in entries or () if entry.recovery is recovery]


def main(root: Path) -> None:
    """Both stub drivers without a trial boot, once more with a single-quoted value; and the trial's entry."""
    mounted(root)
    told: dict[str, object] = {stub.value: whole_way(root, stub) for stub in Stub}
    (root / "etc/default/grub").write_bytes(SINGLE_QUOTED)
    told["single quotes"] = whole_way(root, Stub.PCI_STUB)
    told["trial"] = trial_boot(root)
    print(json.dumps(told))  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    os.umask(0o022)
    main(Path(sys.argv[1]).resolve())
