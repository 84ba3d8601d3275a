"""The drifts: how each is produced on the simulated machine, as a user, a package or another tool brings it about."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.hosts.simulated import SimulatedHost
from steps.actions import StartProcess
from tests.badinput.support import GRUB, run
from tests.field.support import CONF, attribute, command, function, reboot, redescribed

NEWER = "6.1.0-99-amd64"
MODULES = "etc/modules"
DROP_IN = "etc/default/grub.d/99-theirs.cfg"
OVERRIDE = "sys/bus/pci/devices/0000:01:00.0/driver_override"
LINK = "/etc/systemd/system/multi-user.target.wants/vfiostate-bind.service"
IMAGE = "/boot/initrd.img-6.1.0-56-amd64"


@dataclass(frozen=True, slots=True)
class Drift:
    """A row: in which state it happens, how; by which code and at which place `audit` names it; with which exit code
    `advance` and `rollback` answer; which files are the user's since and must stay, and whether ours is taken out of
    them on the way back; which place `status`, which looks at what is cheap, shows with exit code 4 (None: the same
    place, empty: none)."""

    name: str
    state: str
    produce: Callable[[Path], None]
    code: str
    where: str
    advance: int
    rollback: int
    theirs: tuple[str, ...] = ()
    ours_in_it: bool = False
    status: str | None = None


def package(machine: Path, path: str, content: bytes) -> None:
    """As dpkg and ucf put a file in place: a new one beside it, moved over it."""
    new = machine / f"{path}.dpkg-new"
    new.write_bytes(content)
    new.chmod(0o644)
    new.rename(machine / path)


def edited(machine: Path) -> None:
    place = machine / GRUB
    place.write_bytes(place.read_bytes().replace(b"GRUB_TIMEOUT=5", b"GRUB_TIMEOUT=9") + b"# mine\n")


def replaced(machine: Path) -> None:
    package(machine, GRUB, b'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')


def modules_replaced(machine: Path) -> None:
    package(machine, MODULES, b"# from the package\n")


def muddled(machine: Path) -> None:
    place = machine / GRUB
    place.write_bytes(place.read_bytes().replace(b"vfio-pci.ids=", b"pci=nomsi vfio-pci.ids="))


def removed(machine: Path) -> None:
    (machine / CONF).unlink()


def linked(machine: Path) -> None:
    place, target = machine / MODULES, machine / "etc/modules.theirs"
    place.rename(target)
    place.symlink_to("modules.theirs")


def mode(machine: Path) -> None:
    (machine / GRUB).chmod(0o600)


def owner(machine: Path) -> None:
    os.chown(machine / GRUB, 1234, 4321)


def overriding(machine: Path) -> None:
    (machine / DROP_IN).write_text('GRUB_CMDLINE_LINUX_DEFAULT="console=ttyS0"\n')
    command(machine, "update-grub")


def kernel(machine: Path) -> None:
    run(machine, "machine", "install-kernel", NEWER).is_(0)


def image_without_us(machine: Path) -> None:
    """The files are there and the same; the image was built when they were not."""
    kept = [(machine / name, (machine / name).read_bytes()) for name in (CONF, "etc/initramfs-tools/modules")]
    for place, _ in kept:
        place.rename(place.with_name(f"{place.name}.away"))
    command(machine, "update-initramfs", "-u", "-k", "all")
    for place, content in kept:
        place.with_name(f"{place.name}.away").rename(place)
        assert place.read_bytes() == content


def moved(machine: Path) -> None:
    redescribed(machine, lambda found: function(found, "0000:02:00.0").update(address="0000:04:00.0"))
    reboot(machine)


def firmware(machine: Path) -> None:
    redescribed(machine, lambda found: function(found, "0000:02:00.0").update(device="000e"))
    reboot(machine)


def other_tool(machine: Path) -> None:
    attribute(machine, f"/{OVERRIDE}", "nouveau")


def stopped(machine: Path) -> None:
    host = SimulatedHost(machine)
    pid = host.alive("guest")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    host.kill("guest", timeout=5.0)


def started(machine: Path) -> None:
    """The guest's own command, typed in by a user: the journal knows nothing of it."""
    text = run(machine, "guest", "command").out
    argv = tuple(shlex.split(text.replace("\\\n", " ")))
    # By another process: what is a child of this one, its forked children take for ended.
    child = os.fork()
    if child == 0:
        SimulatedHost(machine).start(StartProcess("guest", argv, "by hand", inherit_socket=True))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def disabled(machine: Path) -> None:
    command(machine, "systemctl", "disable", "vfiostate-bind.service")


def script_gone(machine: Path) -> None:
    (machine / "var/lib/vfiostate/restore.sh").unlink()


def rebooted(machine: Path) -> None:
    reboot(machine)


def recovery(machine: Path) -> None:
    reboot(machine, "recovery")


TABLE = [
    Drift("the file edited", "rebooted", edited, "file-edited", "/etc/default/grub", 0, 3, (GRUB,), ours_in_it=True),
    Drift("the file edited beyond telling", "rebooted", muddled, "file-muddled", "/etc/default/grub", 0, 4, (GRUB,)),
    Drift("replaced by a package", "rebooted", replaced, "file-replaced", "/etc/default/grub", 0, 3, (GRUB,)),
    Drift(
        "replaced before the boot builds on it",
        "modules_loaded",
        modules_replaced,
        "file-replaced",
        "/etc/modules",
        4,
        0,
        (MODULES,),
    ),
    Drift("removed", "stubbed", removed, "file-gone", "/etc/modprobe.d/00-vfiostate.conf", 4, 0),
    Drift("turned into a symlink", "rebooted", linked, "file-symlink", "/etc/modules", 0, 4, ("etc/modules.theirs",)),
    Drift("another mode", "rebooted", mode, "file-attributes", "/etc/default/grub", 0, 3),
    Drift("another owner", "rebooted", owner, "file-attributes", "/etc/default/grub", 0, 3),
    Drift(
        "a drop-in that overrides us",
        "rebooted",
        overriding,
        "command-line-overridden",
        "/etc/default/grub.d/99-theirs.cfg",
        0,
        3,
        (DROP_IN,),
    ),
    Drift("a new kernel before the reboot", "stubbed", kernel, "new-kernel", f"/boot/vmlinuz-{NEWER}", 3, 0),
    Drift("a new kernel", "rebooted", kernel, "new-kernel", f"/boot/vmlinuz-{NEWER}", 0, 3),
    Drift(
        "an initramfs rebuilt without us",
        "stubbed",
        image_without_us,
        "initramfs-incomplete",
        IMAGE,
        4,
        0,
        status="",
    ),
    Drift(
        "an initramfs rebuilt without us, later",
        "rebooted",
        image_without_us,
        "initramfs-incomplete",
        IMAGE,
        0,
        3,
        status="",
    ),
    Drift("the card moved", "bound", moved, "device-absent", "0000:02:00.0", 5, 3),
    Drift("its firmware changed its id", "bound", firmware, "device-id", "0000:02:00.0", 5, 3),
    Drift("another tool's driver_override", "rebooted", other_tool, "driver-override", "0000:01:00.0", 0, 3),
    Drift("another tool's driver_override, bound", "bound", other_tool, "driver-override", "0000:01:00.0", 0, 3),
    Drift("a guest stopped by hand", "running", stopped, "guest-stopped", "guest", 0, 3),
    Drift("a guest started by hand", "bound", started, "guest-by-hand", "guest", 0, 3),
    Drift("the unit disabled", "bound", disabled, "not-permanent", "bound", 0, 3, status=LINK),
    Drift(
        "restore.sh removed",
        "bound",
        script_gone,
        "restore-script",
        "/var/lib/vfiostate/restore.sh",
        0,
        3,
        status="",
    ),
    Drift("the host rebooted", "bound", rebooted, "host-rebooted", "host", 0, 3, status=""),
    Drift("another entry booted", "bound", recovery, "token-missing", "/proc/cmdline", 0, 0),
]
