"""What the root system starts at the end of a boot: modules by name, the unit or script that binds the devices.

A unit's or start script is not run (it would write to this host's /sys): its effect is worked out from what it
names. A script called `vfiostate-bind` or `vfio-bind` unbinds and binds the PCI addresses in its arguments, or where it
has none, those in its own text (`ADDRESS=VENDOR:DEVICE` there says which device is expected, `ADDRESS) subsystem=ID` of
which subsystem); `modprobe NAME` loads a module; anything else does nothing to the model.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Mapping

from engine.hosts.simulated import drivers, initramfs, kmod, loading
from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.parts import Init

_ADDRESS, _ID = r"\b([0-9a-f]{4,5}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7])\b", "([0-9a-f]{4}:[0-9a-f]{4})"
DEVICE = re.compile(rf"{_ADDRESS}(?!\))(?:={_ID})?")
SUBSYSTEM = re.compile(rf"{_ADDRESS}\) subsystem={_ID}")
BINDERS = ("vfiostate-bind", "vfio-bind")
UNITS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")


def modules_to_load(machine: Machine) -> tuple[str, ...]:
    """The lines of /etc/modules and modules-load.d, each with its parameters."""
    if machine.description.init is Init.RC_LOCAL:
        return initramfs.module_lines(machine.text("/etc/modules"))
    files: dict[str, str] = {}
    for directory in ("/etc/modules-load.d", "/run/modules-load.d", "/usr/lib/modules-load.d"):
        for name in machine.names(directory):
            if name.endswith(".conf"):
                files.setdefault(name, f"{directory}/{name}")
    texts = [machine.text(files[name]) for name in sorted(files)]
    # Debian links modules-load.d/modules.conf to /etc/modules.
    return tuple(dict.fromkeys(line for text in texts for line in initramfs.module_lines(text)))


def start_all(machine: Machine) -> None:
    """Reach the default target: enabled units that the model knows, rc.local, or what OpenRC's `local` runs."""
    if machine.description.init is Init.SYSTEMD:
        machine.path("/run/systemd/system").mkdir(parents=True, exist_ok=True)
        for target in ("sysinit.target", "basic.target", "multi-user.target", "graphical.target"):
            for kind in ("wants", "requires"):
                for name in machine.names(f"/etc/systemd/system/{target}.{kind}"):
                    start(machine, name)
    elif machine.description.init is Init.RC_LOCAL:
        _script(machine, "/etc/rc.local")
    else:
        machine.path("/run/openrc").mkdir(parents=True, exist_ok=True)
        if any("local" in machine.names(f"/etc/runlevels/{level}") for level in ("boot", "default")):
            for name in machine.names("/etc/local.d"):
                if name.endswith(".start"):
                    _script(machine, f"/etc/local.d/{name}")


def _script(machine: Machine, path: str) -> None:
    if machine.exists(path) and machine.path(path).stat().st_mode & 0o111:
        for line in machine.text(path).splitlines():
            if line.split()[:1] == ["exit"]:
                return
            execute(machine, line)


def unit_text(machine: Machine, name: str) -> str | None:
    """The text of a unit, None where there is none; one linked to /dev/null is masked and has none."""
    for directory in UNITS:
        if machine.path(f"{directory}/{name}").is_file():
            return machine.text(f"{directory}/{name}")
    return None


def start(machine: Machine, name: str) -> bool:
    """Start a unit: what its ExecStart= lines do. Whether there is such a unit."""
    text = unit_text(machine, name)
    if text is None:
        return False
    for line in text.replace("\\\n", " ").splitlines():
        key, _, value = line.partition("=")
        if key.strip().startswith("Condition") and not _holds(machine, key.strip(), value.strip()):
            return True
        if key.strip() in ("ExecStartPre", "ExecStart", "ExecStartPost"):
            execute(machine, value.strip().lstrip("-@+!:"))
    machine.put(f"/run/systemd/active/{name}", "")
    return True


def active(machine: Machine, name: str) -> bool:
    """Whether systemd started a unit in this boot: it was wanted, and its conditions held."""
    return machine.exists(f"/run/systemd/active/{name}")


def _holds(machine: Machine, condition: str, value: str) -> bool:
    """Whether a condition of a unit holds (systemd.unit(5)); those that the model does not know do.

    The program that simulates the machine counts as installed on it.
    """
    wanted, value = not value.startswith("!"), value.removeprefix("!")
    if condition == "ConditionKernelCommandLine":
        words = [*machine.cmdline, *(word.partition("=")[0] for word in machine.cmdline)]
        return (value in words) is wanted
    if condition in ("ConditionPathExists", "ConditionPathIsDirectory", "ConditionFileIsExecutable"):
        ours = condition == "ConditionFileIsExecutable" and value.rpartition("/")[2] == "vfiostate"
        return (ours or machine.exists(value)) is wanted
    return True


def execute(machine: Machine, line: str) -> None:
    """One command line of a unit or of a start script."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return
    while words and words[0].rpartition("/")[2] in ("sh", "bash", "exec"):
        words = words[1:]
    if not words:
        return
    name = words[0].rpartition("/")[2]
    if name in BINDERS and (not words[0].startswith("/") or machine.exists(words[0])):
        text = machine.text(words[0])
        code = "\n".join(one for one in text.splitlines() if not one.lstrip().startswith("#"))
        bind(machine, dict(DEVICE.findall(" ".join(words[1:])) or DEVICE.findall(code)), dict(SUBSYSTEM.findall(code)))
    elif name == "modprobe":
        index = kmod.read_index(machine, machine.release)
        for module in (word for word in words[1:] if not word.startswith("-")):
            with contextlib.suppress(LookupError):
                if index is not None:
                    loading.probe(machine, index, kmod.root_options(machine), module)


def bind(machine: Machine, devices: Mapping[str, str], subsystems: Mapping[str, str]) -> None:
    """What the binding script does: load vfio-pci, unbind every function, then bind every one. A function with another
    id than the expected one (empty: any) or another subsystem is left alone, and so is one that vfio-pci holds already,
    or whose driver does not let go."""
    index = kmod.read_index(machine, machine.release)
    if index is None:
        return
    with contextlib.suppress(LookupError):
        loading.probe(machine, index, kmod.root_options(machine), "vfio_pci")
    there = [one for one, wanted in devices.items() if _is_there(machine, one, wanted, subsystems.get(one, ""))]
    free = []
    for address in (one for one in there if drivers.driver_of(machine, one) != "vfio-pci"):
        if drivers.driver_of(machine, address) is not None:
            found = machine.description.function(address)
            if found is not None and found.hangs:
                machine.log(f"vfiostate-bind: writing {address} to unbind hangs")
                continue
            drivers.release(machine, address)
        free.append(address)
    for address in free:
        if machine.exists(f"{drivers.DEVICES}/{address}/driver_override"):
            machine.put(f"{drivers.DEVICES}/{address}/driver_override", "vfio-pci\n")
        else:
            given = drivers.DynamicId(
                drivers.number(machine, address, "vendor"), drivers.number(machine, address, "device")
            )
            if given not in drivers.dynamic_ids(machine, "vfio-pci"):
                drivers.keep_ids(machine, "vfio-pci", (*drivers.dynamic_ids(machine, "vfio-pci"), given))
            if machine.exists(f"{drivers.DRIVERS}/vfio-pci"):
                drivers.attach_driver(machine, "vfio-pci")
        drivers.attach_device(machine, address)


def _is_there(machine: Machine, address: str, wanted: str, subsystem: str) -> bool:
    if address not in drivers.addresses(machine):
        return False
    found, maker = (
        ":".join(f"{drivers.number(machine, address, key):04x}" for key in keys)
        for keys in (("vendor", "device"), ("subsystem_vendor", "subsystem_device"))
    )
    if wanted not in ("", found):
        machine.log(f"vfiostate-bind: {address} is {found}, expected {wanted}: left alone")
    elif subsystem not in ("", maker):
        machine.log(f"vfiostate-bind: {address} is of the subsystem {maker}, expected {subsystem}: left alone")
    else:
        return True
    return False
