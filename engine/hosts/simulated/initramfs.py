"""The simulated initramfs: a small JSON archive that says what it carries, made and read as initramfs-tools would.

Like a real one it depends only on what went in and on the time it was made.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from engine.hosts.simulated import drivers, kmod
from engine.hosts.simulated.kmod import Index
from engine.hosts.simulated.machine import Machine

FORMAT = "simulated initramfs"
# What MODULES=most takes in (hook-functions, auto_add_modules): disks, networks, USB, input, and with udev, graphics.
MOST = (
    "kernel/drivers/ata/",
    "kernel/drivers/block/",
    "kernel/drivers/gpu/",
    "kernel/drivers/hid/",
    "kernel/drivers/md/",
    "kernel/drivers/mmc/",
    "kernel/drivers/net/ethernet/",
    "kernel/drivers/nvme/",
    "kernel/drivers/scsi/",
    "kernel/drivers/usb/host/",
    "kernel/drivers/usb/storage/",
    "kernel/drivers/virtio/",
    "kernel/drivers/video/",
    "kernel/fs/",
)


@dataclass(frozen=True, slots=True)
class Archive:
    """An initramfs: the files in it that matter (path without the leading slash -> text)."""

    release: str
    files: Mapping[str, str]

    @property
    def modules(self) -> frozenset[str]:
        """The modules in it."""
        return frozenset(kmod.name_of(path) for path in self.files if ".ko" in path.rpartition("/")[2])

    @property
    def wanted(self) -> tuple[str, ...]:
        """The modules its init loads by name, after udev has been started."""
        return module_lines(self.files.get("conf/modules", ""))

    @property
    def modprobe_d(self) -> tuple[str, ...]:
        """The texts of the modprobe.d files in it, in order."""
        return tuple(text for path, text in sorted(self.files.items()) if "/modprobe.d/" in f"/{path}")


def module_lines(text: str) -> tuple[str, ...]:
    """The lines of a file in the manner of /etc/modules: a module and its parameters; comments left out."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith(";"))


def generate(machine: Machine, index: Index, *, installing: bool = False) -> Archive:
    """What mkinitramfs would pack for a kernel on this machine, now; `installing`: no device has its driver yet.

    With MODULES=dep that is what holds a device at this moment: a card on a stub leaves its native driver out.
    """
    prefix = "usr/lib/modules" if machine.description.usrmerge else "lib/modules"
    options = kmod.root_options(machine)
    wanted = module_lines(machine.text("/etc/initramfs-tools/modules"))
    setting = _setting(machine)
    held = {
        drivers.registered(machine).get(drivers.driver_of(machine, one) or "") for one in drivers.addresses(machine)
    }
    names: list[str] = []
    for name, file in index.files.items():
        if file.startswith(MOST) and (setting != "dep" or installing or name in held):
            names.append(name)
    names.extend(kmod.normal(line.split()[0]) for line in wanted)
    order = [one for name in names for one in kmod.loading_order(index, options, name)]
    files = {f"{prefix}/{index.release}/{index.files[one]}": "" for one in order if one in index.files}
    for directory in kmod.CONFIG_DIRECTORIES:
        for name in machine.names(directory):
            if name.endswith(".conf"):
                files[f"{directory.lstrip('/')}/{name}"] = machine.text(f"{directory}/{name}")
    if wanted:
        files["conf/modules"] = "".join(line + " \n" for line in wanted)
    for name in ("init", "bin/busybox", "sbin/modprobe", "scripts/init-top/udev"):
        files[name] = ""
    return Archive(index.release, dict(sorted(files.items())))


def _setting(machine: Machine) -> str:
    """The value of MODULES= (initramfs.conf(5)); a later file wins."""
    texts = [machine.text("/etc/initramfs-tools/initramfs.conf")]
    for name in machine.names("/etc/initramfs-tools/conf.d"):
        texts.append(machine.text(f"/etc/initramfs-tools/conf.d/{name}"))
    values = [line[8:].strip() for text in texts for line in text.splitlines() if line.startswith("MODULES=")]
    return values[-1] if values else "most"


def render(archive: Archive) -> bytes:
    """The bytes of the file; the time it was made is part of them."""
    made = time.time_ns()
    return json.dumps(
        {"format": FORMAT, "made": made, "release": archive.release, "files": dict(archive.files)}, indent=1
    ).encode()


def parse(content: bytes) -> Archive:
    """Read an archive. Raises ValueError for what is none."""
    value = json.loads(content)
    if not isinstance(value, dict) or value.get("format") != FORMAT or not isinstance(value.get("files"), dict):
        raise ValueError("not an initramfs")
    return Archive(str(value["release"]), {str(path): str(text) for path, text in value["files"].items()})
