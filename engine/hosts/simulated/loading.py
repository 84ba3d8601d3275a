"""Modules going into the simulated kernel and out of it, as insmod and rmmod do after modprobe has worked out which."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from engine.hosts.simulated import drivers, effects, guests, kmod
from engine.hosts.simulated.drivers import failure
from engine.hosts.simulated.kmod import Index, Options
from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.parts import Module

# What the CPU must have for a module to go in (its init answers EOPNOTSUPP without).
NEEDS = {"kvm_amd": "svm", "kvm_intel": "vmx"}


class UnsupportedError(LookupError):
    """The module is there and this CPU has not what it needs; the text is the module's name."""


def loaded(machine: Machine) -> tuple[str, ...]:
    """The modules in /proc/modules, the last one loaded first."""
    return tuple(line.split()[0] for line in machine.text("/proc/modules").splitlines() if line.strip())


def _module(machine: Machine, name: str) -> Module:
    return machine.kernel.modules.get(name) or Module(file=f"kernel/{name}.ko")


def initialise(machine: Machine, name: str, arguments: Iterable[str]) -> None:
    """What a module's init function does: its parameters, its drivers."""
    found = _module(machine, name)
    given = dict(one.partition("=")[::2] for one in arguments)
    for parameter in found.parameters or drivers.KNOWN_PARAMETERS.get(name, ()):
        machine.put(f"/sys/module/{name}/parameters/{parameter}", given.get(parameter, "N") + "\n")
    if name == "vfio":
        machine.log("VFIO - User Level meta-driver version: 0.3")
    ids = drivers.parse_ids(given.get("ids", ""))
    for driver in drivers.default_drivers(name, found.drivers):
        drivers.register(machine, driver, name, ids)
    effects.vfio_nodes(machine)


def insert(machine: Machine, index: Index, name: str, arguments: Iterable[str]) -> None:
    """Put one module in; one that is in, or built in, is left alone. Raises UnsupportedError."""
    if name in loaded(machine) or name in index.builtin:
        return
    if name in NEEDS and NEEDS[name] not in machine.description.cpu_flags:
        machine.log(f"kvm: no hardware support for '{name}'")
        raise UnsupportedError(name)
    machine.put(f"/sys/module/{name}/initstate", "live\n", 0o444)
    machine.put(f"/sys/module/{name}/refcnt", "0\n", 0o444)
    machine.put("/proc/modules", f"{name} 16384 0 - Live 0x0000000000000000\n" + machine.text("/proc/modules"), 0o444)
    _count(machine, index)
    initialise(machine, name, arguments)


def probe(machine: Machine, index: Index, options: Options, name: str, arguments: Iterable[str] = ()) -> None:
    """Load a module with all that has to come before it, as modprobe does. `arguments` are the module's own.

    Raises LookupError for a module that this kernel has not, UnsupportedError for one that this CPU does not do.
    """
    names = kmod.resolve(index, options, name)
    if not names:
        raise LookupError(name)
    for target in names:
        for one in kmod.loading_order(index, options, target):
            if options.install.get(one, "").rpartition("/")[2] in ("false", "true"):
                continue
            own = tuple(arguments) if one == target else ()
            insert(machine, index, one, (*options.options.get(one, ()), *own))


def hotplug(machine: Machine, index: Index, options: Options, address: str) -> None:
    """udev on the uevent of a function: what its alias names is loaded unless it is blacklisted."""
    alias = machine.text(f"{drivers.DEVICES}/{address}/modalias").strip()
    for name in index.matches(alias):
        if name not in options.blacklist:
            probe(machine, index, options, name)


def remove(machine: Machine, index: Index, name: str) -> None:
    """Take a module out, and then what nobody needs any more. Raises OSError: ENOENT, EBUSY."""
    if name not in loaded(machine):
        raise failure(errno.ENOENT, name)
    in_use = name == "vfio_pci" and any(guests.hold(machine, one) for one in drivers.addresses(machine))
    if in_use or any(name in index.depends.get(one, ()) for one in loaded(machine)):
        raise failure(errno.EBUSY, name)
    for driver, module in drivers.registered(machine).items():
        if module == name:
            drivers.unregister(machine, driver)
    machine.remove_tree(f"/sys/module/{name}")
    kept = [line for line in machine.text("/proc/modules").splitlines() if line.split()[0] != name]
    machine.put("/proc/modules", "".join(line + "\n" for line in kept), 0o444)
    _count(machine, index)
    effects.vfio_nodes(machine)


def _count(machine: Machine, index: Index) -> None:
    """Write the use counts and the users of each module, as /proc/modules shows them."""
    present = loaded(machine)
    lines = []
    for one in present:
        users = [other for other in present if one in index.depends.get(other, ())]
        shown = "".join(f"{user}," for user in users) or "-"
        lines.append(f"{one} 16384 {len(users)} {shown} Live 0x0000000000000000\n")
        machine.put(f"/sys/module/{one}/refcnt", f"{len(users)}\n", 0o444)
    machine.put("/proc/modules", "".join(lines), 0o444)
