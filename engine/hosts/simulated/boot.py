"""A boot of the simulated machine: the boot loader's choice, the kernel, the initramfs, the root system.

The order in which modules meet devices is what decides who holds them, and follows what was seen on a real kernel:
built-in drivers first, in link order; in the initramfs what its init loads by name before udev (dracut, mkinitcpio,
booster), then udev's drivers, then the modules named in conf/modules (initramfs-tools: so a stub that is a module loses
against a native driver there, unless a softdep in the initramfs brings it first); on the root udev before /etc/modules.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from engine.hosts.simulated import (
    drivers,
    early,
    effects,
    generators,
    guests,
    hugepages,
    initramfs,
    kmod,
    loaders,
    loading,
    net,
    processors,
    procfs,
    services,
    sysfs,
    udev,
)
from engine.hosts.simulated.initramfs import Archive
from engine.hosts.simulated.kmod import Index, Options
from engine.hosts.simulated.loaders import Item
from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.parts import Init, Iommu, Kernel
from journal.errors import VfiostateError

BOOTING = "/.booting"


class Entry(StrEnum):
    """Which entry of the boot menu is taken."""

    DEFAULT = "default"
    RECOVERY = "recovery"
    PREVIOUS = "previous"


class DoesNotBootError(VfiostateError):
    """The machine would hang in its boot loader or panic: it was not rebooted."""

    code = "does-not-boot"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is loaded: kernel, command line, initramfs."""

    title: str
    kernel: Kernel
    cmdline: str
    initrd: Archive


def reboot(
    machine: Machine, entry: Entry = Entry.DEFAULT, *, cmdline: str | None = None, fails: bool = False
) -> Chosen:
    """Boot the machine, by its boot loader or with a given command line. Raises DoesNotBootError before any change.

    With `fails` the kernel of the entry that is taken hangs, and the machine is booted once more after a power cycle,
    by its default.
    """
    chosen = choose(machine, entry)
    if fails:
        chosen = choose(machine, Entry.DEFAULT)
    if cmdline is not None:
        chosen = replace(chosen, cmdline=cmdline)
    # A crash from here on leaves a machine without a kernel: the next who opens it boots it again (see finish).
    machine.put(BOOTING, entry.value)
    machine.booting = True
    _power_down(machine)
    procfs.populate(machine, chosen.kernel.release, chosen.cmdline)
    iommu = iommu_on(machine, chosen)
    _say_hello(machine, chosen, iommu)
    sysfs.populate(machine, chosen.kernel.release, iommu=iommu)
    processors.populate(machine, chosen.kernel)
    hugepages.populate(machine)
    index = kmod.read_index(machine, chosen.kernel.release)
    assert index is not None
    _builtin(machine, chosen)
    _initramfs_phase(machine, index, chosen)
    _root_phase(machine, index)
    if not {"single", "recovery", "rescue", "emergency"} & set(machine.cmdline):
        services.start_all(machine)
    machine.booting = False
    effects.settle(machine)
    machine.unlink(BOOTING)
    return chosen


def finish(machine: Machine) -> None:
    """Boot a machine whose last boot was cut short, as power coming back does."""
    if machine.exists(BOOTING):
        reboot(machine)


# --- the boot loader


def choose(machine: Machine, entry: Entry) -> Chosen:
    """The entry that is taken, with everything it needs there. Raises DoesNotBootError."""
    loader = loaders.of(machine)
    default = loader.next(machine)
    if default is None:
        raise _stuck(f"{loader.name} finds no entry and stops at its prompt")
    wanted: Item | None = default
    found = loader.menu(machine)
    if entry is Entry.RECOVERY:
        wanted = next((one for one in found if one.recovery and one.release == default.release), None)
    elif entry is Entry.PREVIOUS:
        others = (one for one in found if not one.recovery and one.kernel is not None)
        wanted = next((one for one in others if one.release != default.release), None)
    if wanted is None:
        raise DoesNotBootError(
            f"The boot menu has no {entry} entry beside {default.title!r}.",
            hint="`machine reboot` without --entry takes the default; `machine install-kernel` adds a kernel.",
            evidence=tuple(f"{loader.name}: {one.title}" for one in found),
        )
    # Before anybody sees the menu: it does not matter what is taken from it then.
    loader.taken(machine)
    return _loaded(machine, wanted)


def _loaded(machine: Machine, entry: Item) -> Chosen:
    if entry.kernel is None or not machine.exists(entry.kernel):
        raise _stuck(f"{loaders.of(machine).name} does not find the kernel {entry.kernel} of the entry {entry.title!r}")
    kernel = machine.description.kernel(entry.release)
    if kernel is None or kmod.read_index(machine, kernel.release) is None:
        raise _stuck(f"{entry.kernel} is no kernel with modules in /lib/modules that machine.json describes")
    if f"root={machine.description.root}" not in entry.words:
        raise _stuck(f"kernel panic: the command line of {entry.title!r} has no root={machine.description.root}")
    try:
        content = entry.archive if entry.archive is not None else machine.path(entry.initrd).read_bytes()
        archive = initramfs.parse(content)
    except (OSError, ValueError) as error:
        raise _stuck(f"kernel panic: unable to mount root fs: {entry.initrd} is no initramfs ({error})") from None
    return Chosen(entry.title, kernel, " ".join((*entry.added, *entry.words)), archive)


def _stuck(what: str) -> DoesNotBootError:
    return DoesNotBootError(
        f"The simulated machine does not boot: {what}.",
        hint="Repair its files, or take the way back with `restore.sh` as from a rescue system; then reboot again.",
    )


# --- the kernel


def _power_down(machine: Machine) -> None:
    for pid in guests.running(machine):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    for directory in ("/sys", "/proc", "/dev/vfio", "/.kernel", "/tmp"):
        machine.remove_tree(directory)
    for name in machine.names("/run"):
        # The lock of whoever asked for the reboot goes on being held.
        if name != "lock":
            machine.remove_tree(f"/run/{name}")
            machine.unlink(f"/run/{name}")
    machine.put("/var/log/kern.log", "")


def iommu_on(machine: Machine, chosen: Chosen) -> bool:
    """Whether this boot has an IOMMU: firmware table, kernel defaults and command line (kernel-parameters.txt)."""
    found = machine.description
    words = chosen.cmdline.split()
    table = {Iommu.AMD: "IVRS", Iommu.INTEL: "DMAR"}.get(found.iommu)
    if table is None or table not in found.acpi_tables:
        return False
    if any(word.startswith("iommu=") and "off" in word[6:].split(",") for word in words):
        return False
    config = chosen.kernel.config
    default = config.get("CONFIG_INTEL_IOMMU_DEFAULT_ON") == "y"
    on = found.iommu is Iommu.AMD or default or config.get("CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF") == "y"
    for word in words:
        key, _, value = word.partition("=")
        if key == f"{found.iommu}_iommu":
            for one in value.split(","):
                on = False if one == "off" else True if one == "on" and found.iommu is Iommu.INTEL else on
    return on


def _say_hello(machine: Machine, chosen: Chosen, iommu: bool) -> None:
    found = machine.description
    remapping = found.interrupt_remapping and not {"intremap=off", "nointremap"} & set(machine.cmdline)
    machine.log(f"Linux version {chosen.kernel.release} (simulated)", 0.0)
    machine.log(f"Command line: {chosen.cmdline}", 0.0)
    if "DMAR" in found.acpi_tables:
        machine.log("ACPI: DMAR 0x00000000BFFE0000 000090 (v01 SIMUL  SIMUL    00000001      00000001)", 0.004)
    if iommu and found.iommu is Iommu.INTEL:
        if any(word.startswith("intel_iommu=") and "on" in word for word in machine.cmdline):
            machine.log("DMAR: IOMMU enabled", 0.02)
        if remapping:
            machine.log("DMAR-IR: Enabled IRQ remapping in xapic mode", 0.2)
        machine.log("DMAR: Intel(R) Virtualization Technology for Directed I/O", 1.279788)
    for word in machine.cmdline:
        if word.startswith("amd_iommu=") and word[10:] not in ("off", "fullflush", "force_isolation"):
            machine.log(f"AMD-Vi: Unknown option - '{word[10:]}'", 0.02)
    if iommu and found.iommu is Iommu.AMD:
        where = next((one.address for one in found.functions if one.device_class == "080600"), "0000:00:00.2")
        machine.log(f"AMD-Vi: Found IOMMU at {where} cap 0x40", 1.279788)
        if remapping:
            machine.log("AMD-Vi: Interrupt remapping enabled", 1.279790)
        machine.log("AMD-Vi: Lazy IO/TLB flushing enabled", 1.292879)


def _builtin(machine: Machine, chosen: Chosen) -> None:
    machine.log("pci 0000:00:00.0: bus ready", 3.1)
    options = kmod.read_options({}, machine.cmdline)
    for name, module in chosen.kernel.modules.items():
        if module.builtin:
            loading.initialise(machine, name, options.options.get(name, ()))


# --- user space


def _initramfs_phase(machine: Machine, whole: Index, chosen: Chosen) -> None:
    index = _restricted(whole, chosen.initrd)
    options = kmod.read_options(chosen.initrd.modprobe_d, machine.cmdline)
    machine.log("Run /init as init process", 3.3)
    generator = generators.of(machine)
    early.run(machine, generator.script(chosen.initrd))
    _load(machine, index, options, generator.early(chosen.initrd))
    coldplug(machine, index, options)
    _load(machine, index, options, chosen.initrd.wanted)


def _load(machine: Machine, index: Index, options: Options, lines: Iterable[str]) -> None:
    for line in lines:
        name, *arguments = line.split()
        with contextlib.suppress(LookupError):
            loading.probe(machine, index, options, name, arguments)


def _restricted(index: Index, archive: Archive) -> Index:
    """The modules of a kernel that an archive carries."""
    present = archive.modules
    return Index(
        index.release,
        {name: file for name, file in index.files.items() if name in present},
        index.depends,
        index.builtin,
        tuple(pair for pair in index.aliases if pair[1] in present),
        index.builtin_aliases,
        index.softdeps,
    )


def coldplug(machine: Machine, index: Index, options: Options) -> None:
    """udevadm trigger: every function's alias is looked up, and what matches is loaded unless it is blacklisted."""
    for address in drivers.addresses(machine):
        loading.hotplug(machine, index, options, address)


def _root_phase(machine: Machine, index: Index) -> None:
    machine.log("systemd[1]: Starting" if machine.description.init is Init.SYSTEMD else "init: starting", 5.0)
    options = kmod.root_options(machine)
    with udev.watching(machine):
        coldplug(machine, index, options)
        for name in machine.description.autoload:
            with contextlib.suppress(LookupError):
                loading.probe(machine, index, options, name)
        for line in services.modules_to_load(machine):
            name, *arguments = line.split()
            with contextlib.suppress(LookupError):
                if kmod.normal(name) not in options.blacklist:
                    loading.probe(machine, index, options, name, arguments)
    net.configure(machine)
