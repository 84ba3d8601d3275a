"""Making a simulated machine from its description: the files that its installer would have left, then a first boot."""

from __future__ import annotations

import dataclasses
import re
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from engine.hosts.simulated import boot, drivers, effects, generators, initramfs, kmod, loaders, sriov
from engine.hosts.simulated.description import RELEASE
from engine.hosts.simulated.machine import DESCRIPTION, STUBS, Machine
from engine.hosts.simulated.parts import Description, Init, Kernel, Module, TextFile
from journal.errors import ConfigurationError

DIRECTORIES = (
    "/dev",
    "/etc/default",
    "/boot",
    "/etc/modprobe.d",
    "/proc",
    "/root",
    "/run/lock",
    "/sys",
    "/usr/bin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/sbin",
    "/var/lib",
    "/var/log",
)
# What every described system has, unless its own `files` say otherwise.
COMMON: dict[str, TextFile] = {
    "/etc/hostname": TextFile("simulated\n"),
    "/etc/passwd": TextFile(
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "/etc/group": TextFile("root:x:0:\nkvm:x:106:\nnogroup:x:65534:\n"),
}
COMMAND = "#!/bin/sh\n# answered by the simulated machine\n"
# What every system has.
ALWAYS = tuple(f"/usr/bin/{name}" for name in ("sh", "mkdir", "rm", "touch", "mount", "umount"))


def create(directory: Path, found: Description) -> None:
    """Make a machine and boot it. Raises ConfigurationError for a directory that holds something else."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigurationError(
            f"{directory} is not an empty directory: a machine is made in an empty one only.",
            hint="Give another directory, or remove this one.",
        )
    made = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    try:
        _make(directory, found)
    except BaseException:
        # Half a machine is none, and would bar the next attempt.
        for one in directory.iterdir():
            shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()
        if made:
            directory.rmdir()
        raise


def _make(directory: Path, found: Description) -> None:
    machine = Machine(directory)
    (directory / DESCRIPTION).touch(0o644)
    machine.describe(found)
    _skeleton(machine)
    loader, generator = loaders.of(machine), generators.of(machine)
    for path, one in {**COMMON, **loader.files, **generator.files, **found.files}.items():
        _file(machine, path, one)
    for path in (*found.commands, *ALWAYS):
        if not machine.exists(path):
            machine.put(path, COMMAND, 0o755)
    for kernel in found.kernels:
        lay_down(machine, kernel)
    _first_boot(machine)


def _skeleton(machine: Machine) -> None:
    found = machine.description
    for path in DIRECTORIES:
        machine.path(path).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib"):
        if found.usrmerge:
            machine.path(f"/usr/{name}").mkdir(parents=True, exist_ok=True)
            machine.link(f"/{name}", f"usr/{name}")
        else:
            machine.path(f"/{name}").mkdir(parents=True, exist_ok=True)
    if found.init is Init.SYSTEMD:
        machine.path("/etc/systemd/system/multi-user.target.wants").mkdir(parents=True)
        machine.path("/etc/modules-load.d").mkdir(parents=True)
    if found.init is Init.OPENRC:
        for path in ("/etc/modules-load.d", "/etc/local.d", "/etc/runlevels/boot", "/etc/runlevels/default"):
            machine.path(path).mkdir(parents=True)
        machine.put("/sbin/openrc-run", "", 0o755)
    machine.put("/etc/machine-id", uuid.uuid4().hex + "\n", 0o444)
    machine.put("/dev/net/tun", "", 0o666)


def _file(machine: Machine, path: str, one: TextFile) -> None:
    if one.link is not None:
        machine.link(path, one.link)
        return
    place = machine.tree.local(path)
    if path.endswith("/"):
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    # Bytes, so that a CRLF file stays one.
    place.write_bytes(one.text.encode("utf-8", errors="surrogateescape"))
    place.chmod(one.mode)


def lay_down(machine: Machine, kernel: Kernel) -> None:
    """Put a kernel's files where its package puts them: /boot and, as depmod writes them, /lib/modules."""
    base = f"/lib/modules/{kernel.release}"
    machine.put(f"/boot/vmlinuz-{kernel.release}", f"simulated kernel {kernel.release}\n", 0o644)
    config = "".join(f"{key}={value}\n" for key, value in kernel.config.items())
    machine.put(f"/boot/config-{kernel.release}", config)
    modules = {kmod.normal(name): one for name, one in kernel.modules.items()}
    loadable = {name: one for name, one in modules.items() if not one.builtin}
    builtin = {name: one for name, one in modules.items() if one.builtin}
    for one in loadable.values():
        machine.put(f"{base}/{one.file}", "")
    tables = {
        "modules.dep": [
            f"{one.file}: {' '.join(loadable[below].file for below in _below(loadable, name))}".rstrip()
            for name, one in loadable.items()
        ],
        "modules.alias": [f"alias {alias} {name}" for name, one in loadable.items() for alias in one.aliases],
        "modules.softdep": [f"softdep {name} pre: {' '.join(one.pre)}" for name, one in loadable.items() if one.pre],
        "modules.builtin": [one.file for one in builtin.values()],
        "modules.order": [one.file for one in loadable.values()],
    }
    for name, lines in tables.items():
        machine.put(f"{base}/{name}", "".join(line + "\n" for line in lines))
    info = [f"{name}.alias={alias}\0" for name, one in builtin.items() for alias in one.aliases]
    info += [f"{name}.file={one.file.removesuffix('.ko')}\0" for name, one in builtin.items()]
    machine.put(f"{base}/modules.builtin.modinfo", "".join(info))


def _below(modules: dict[str, Module], name: str) -> tuple[str, ...]:
    """All that a module depends on, what has to be loaded first last, as modules.dep lists it."""
    found: list[str] = []
    seen = {name}

    def visit(one: str) -> None:
        for below in sorted(kmod.normal(other) for other in modules[one].depends):
            if below in modules and below not in seen:
                seen.add(below)
                visit(below)
                found.append(below)

    visit(name)
    return tuple(reversed(found))


def _first_boot(machine: Machine) -> None:
    found = machine.description
    generator = generators.of(machine)
    for kernel in found.kernels:
        index = kmod.read_index(machine, kernel.release)
        assert index is not None
        content = initramfs.render(generator.generate(machine, index, installing=True))
        image = machine.path(generator.image(kernel.release))
        image.write_bytes(content)
        image.chmod(generator.mode)
    loaders.of(machine).install(machine)
    boot.reboot(machine, cmdline=found.cmdline)
    for one in found.functions:
        if one.total_vfs:
            sriov.as_described(machine, one)
    _bindings(machine, ((one.address, one.driver) for one in found.functions))


def _bindings(machine: Machine, wanted: Iterable[tuple[str, str | None]]) -> None:
    """Bring the bindings to what was described, as far as the drivers are there."""
    for address, driver in wanted:
        if driver is None or drivers.driver_of(machine, address) == driver:
            continue
        if driver in drivers.registered(machine):
            drivers.release(machine, address)
            drivers.probe(machine, driver, address)
    framebuffer = machine.description.framebuffer
    if framebuffer is not None and drivers.driver_of(machine, framebuffer[1]) in (None, *STUBS):
        # It was seen to hold memory, so no native driver had come yet.
        machine.unlink("/.kernel/framebuffer-gone")
        effects.memory_map(machine)


def install_kernel(machine: Machine, release: str) -> None:
    """Add a kernel like the running one under another release. Raises ConfigurationError for one that is there, and for
    what is no release: the description would not be read any more."""
    found = machine.description
    if not re.fullmatch(RELEASE, release):
        raise ConfigurationError(f"{release!r} is no release of a kernel.", hint="Give one such as 6.1.0-19-amd64.")
    if found.kernel(release) is not None:
        raise ConfigurationError(f"Kernel {release} is installed already.", hint="Give another release.")
    kernel = dataclasses.replace(machine.kernel, release=release)
    lay_down(machine, kernel)
    # A crash up to here leaves files of a kernel that the machine does not have; the next attempt writes them again.
    machine.describe(dataclasses.replace(found, kernels=(*found.kernels, kernel)))
