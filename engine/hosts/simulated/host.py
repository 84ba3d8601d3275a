"""The simulated machine as a host: the protocol of engine.hosts.base over a directory and the kernel model."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine.hosts.base import PATH, Attributes
from engine.hosts.processes import ProcessTree
from engine.hosts.simulated import attributes, boot, create, description, faults, generators, loaders, qemu, threads
from engine.hosts.simulated.boot import Chosen, Entry
from engine.hosts.simulated.doubles import base, ip, kmod, system, virsh
from engine.hosts.simulated.machine import DESCRIPTION, Machine
from engine.hosts.simulated.parts import Description
from engine.hosts.simulated.qemu_help import parse_version
from journal.errors import ConfigurationError
from steps.actions import StartProcess
from steps.base import Completed

QEMU = "qemu-system-"
DOUBLES: Mapping[str, base.Double] = {
    **kmod.DOUBLES,
    **system.DOUBLES,
    **ip.DOUBLES,
    **virsh.DOUBLES,
}


class SimulatedHost(ProcessTree):
    """See engine.hosts.base.ChangeableHost. Nothing is kept between calls but in the directory.

    Without root the directory belongs to a user; the machine sees that user as its root.
    """

    booted = True

    def __init__(self, directory: Path) -> None:
        """Open the machine in a directory. Raises ConfigurationError where there is none."""
        super().__init__(directory)
        if not self.is_in(self.root):
            raise ConfigurationError(
                f"{directory} holds no simulated machine: it has no {DESCRIPTION}.",
                hint=f"Make one: `vfiostate --simulate {shlex.quote(str(directory))} machine create`.",
            )
        self.machine = Machine(self.root)
        boot.finish(self.machine)

    @staticmethod
    def is_in(directory: Path) -> bool:
        """Whether a directory holds a machine."""
        return (directory / DESCRIPTION).is_file()

    @classmethod
    def create(cls, directory: Path, found: Description) -> SimulatedHost:
        """Make a machine in a directory that is empty or not there, and boot it. Raises ConfigurationError."""
        create.create(directory, found)
        return cls(directory)

    @classmethod
    def create_if_missing(cls, directory: Path, name: str = "article") -> SimulatedHost:
        """The machine in a directory; the one shipped under that name is made where there is none."""
        if cls.is_in(directory):
            return cls(directory)
        return cls.create(directory, description.find(name))

    @property
    def label(self) -> str:
        """How to name it to the user."""
        return f"the simulated machine in {self.root}"

    @property
    def release(self) -> str:
        """The running kernel's release."""
        return self.machine.release

    @property
    def boot_id(self) -> str:
        """The boot id of the running kernel."""
        return self.read("/proc/sys/kernel/random/boot_id").decode("ascii").strip()

    # --- owners

    def ids_inside(self, uid: int, gid: int) -> tuple[int, int]:
        """Without root, our own user is the machine's root."""
        if os.geteuid() == 0:
            return uid, gid
        return 0 if uid == os.geteuid() else uid, 0 if gid == os.getegid() else gid

    def ids_outside(self, uid: int, gid: int) -> tuple[int, int]:
        """Without root, the machine's root is our own user."""
        if os.geteuid() == 0:
            return uid, gid
        return uid or os.geteuid(), gid or os.getegid()

    # --- files, with the faults that the description asks for

    def write_file(self, path: str, content: bytes, attributes: Attributes) -> None:
        """Replace or make a file, durably."""
        faults.before_write(self.machine, path, len(content))
        super().write_file(path, content, attributes)

    def put_file(self, path: str, source: Path, attributes: Attributes) -> None:
        """As write_file, with the content of a local file."""
        faults.before_write(self.machine, path, source.stat().st_size)
        super().put_file(path, source, attributes)

    def remove_file(self, path: str) -> None:
        """Remove a file, durably."""
        faults.before_write(self.machine, path, 0)
        super().remove_file(path)

    def free(self, path: str) -> int:
        """Bytes that may still be written: the real ones, or fewer where the description says so."""
        left = faults.space(self.machine)
        real = super().free(path)
        return real if left is None else min(real, left)

    # --- commands

    def which(self, name: str) -> str | None:
        """The path of a command on the fixed PATH: an executable file of the machine."""
        if "/" in name:
            return None
        for directory in PATH.split(":"):
            if self._executable(f"{directory}/{name}"):
                return f"{directory}/{name}"
        return None

    def _executable(self, path: str) -> bool:
        place = self.machine.path(path)
        return place.is_file() and bool(place.stat().st_mode & 0o111)

    def query(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        """Answer a command by its double; `sh` and `bash` are this host's, fed through standard input."""
        found = argv[0] if argv[0].startswith("/") and self._executable(argv[0]) else self.which(argv[0])
        if found is None:
            return base.answer(argv, stderr=f"{argv[0]}: not found\n", status=127)
        name = found.rpartition("/")[2]
        spoilt = faults.command(self.machine, name, argv)
        if spoilt is not None:
            return spoilt
        if name in ("sh", "dash", "bash"):
            return self._shell(argv, stdin, timeout)
        if name.startswith(QEMU):
            return self._qemu(argv, stdin, timeout)
        double = self._double(name)
        if double is None:
            return self._unknown(argv, found)
        return double(self.machine, argv, stdin)

    def _double(self, name: str) -> base.Double | None:
        theirs = {**generators.of(self.machine).doubles, **loaders.of(self.machine).doubles}
        return DOUBLES.get(name) or theirs.get(name)

    def _unknown(self, argv: Sequence[str], found: str) -> Completed:
        from engine.hosts.simulated import services

        if found.rpartition("/")[2] in services.BINDERS:
            services.execute(self.machine, " ".join(argv))
            return base.answer(argv)
        return base.answer(argv, stderr=f"{argv[0]}: the simulated machine has no double for it\n", status=127)

    def _shell(self, argv: Sequence[str], stdin: bytes, timeout: float) -> Completed:
        # PATH leads nowhere: a script given to the machine's shell must not run this host's commands.
        if any(not word.startswith("-") for word in argv[1:]) or "-c" in argv:
            return base.answer(argv, stderr="sh: the simulated machine's sh reads standard input only\n", status=126)
        shell = "/bin/bash" if argv[0].rpartition("/")[2] == "bash" else "/bin/sh"
        return self._spawn((shell, *argv[1:]), argv, stdin, timeout)

    def _qemu(self, argv: Sequence[str], stdin: bytes, timeout: float) -> Completed:
        said = qemu.answer(argv, parse_version(self.machine.description.qemu or ""))
        if said is not None:
            return base.answer(argv, said.stdout, stderr=said.stderr, status=said.status)
        return self._spawn(self._qemu_argv(argv), argv, stdin, timeout)

    def _spawn(self, real: Sequence[str], argv: Sequence[str], stdin: bytes, timeout: float) -> Completed:
        environment = {"PATH": "/nonexistent", "LC_ALL": "C"}
        try:
            done = subprocess.run(
                real, input=stdin, capture_output=True, timeout=timeout, env=environment, cwd=self.root, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{argv[0]} gave no answer within {timeout:g} s") from error
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)

    def _qemu_argv(self, argv: Sequence[str], cpus: str = "") -> tuple[str, ...]:
        return (sys.executable, "-m", "engine.hosts.simulated.qemu", "--machine", str(self.root), cpus, *argv)

    def run(self, argv: Sequence[str], *, timeout: float, on_line: Callable[[str], None] | None = None) -> Completed:
        """Answer a command that changes the machine; its output comes together, as on a terminal."""
        done = self.query(argv, timeout=timeout)
        output = done.stdout + done.stderr
        if on_line is not None:
            for line in output.decode(errors="replace").splitlines():
                on_line(line)
        return dataclasses.replace(done, stdout=output, stderr=b"")

    # --- the kernel

    def write_attribute(self, path: str, value: str, *, timeout: float) -> None:
        """Write to an attribute of the model. A write that would hang is told at once."""
        attributes.write(self.machine, path, value)

    def request_reboot(self) -> None:
        """Reboot, at once. Raises DoesNotBootError, with the machine as it was, where it would not come up."""
        boot.reboot(self.machine)

    def reboot(self, entry: Entry = Entry.DEFAULT, *, fails: bool = False) -> Chosen:
        """Reboot by an entry of the menu; with `fails` that boot hangs, and the next one follows after a power cycle.

        Raises DoesNotBootError, with the machine as it was.
        """
        return boot.reboot(self.machine, entry, fails=fails)

    def install_kernel(self, release: str) -> None:
        """Install a kernel as a package upgrade would: its modules, its initramfs, its boot entries."""
        create.install_kernel(self.machine, release)
        for each in (generators.of(self.machine), loaders.of(self.machine)):
            self.run(each.kernel_installed(release), timeout=60.0)

    # --- processes

    def start(self, process: StartProcess) -> int:
        """Start the QEMU double, a real process. Owners and limits are this host's and are left alone."""
        if (
            not process.argv[0].rpartition("/")[2].startswith(QEMU)
            or self.which(process.argv[0].rpartition("/")[2]) is None
        ):
            raise FileNotFoundError(2, "the simulated machine has no such program", process.argv[0])
        ours = dataclasses.replace(
            process,
            argv=self._qemu_argv(process.argv, process.cpus or ""),
            user=None,
            memlock=None,
            devices=(),
            groups=(),
            cpus=None,
        )
        return super().start(ours)

    def set_affinity(self, thread: int, cpus: tuple[int, ...]) -> None:
        """Let a thread of a guest run on these CPUs of the machine only."""
        threads.set_affinity(self.machine, thread, cpus)

    def system_log(self, text: str, **fields: str) -> None:
        """One line to the machine's system log; as syslog(3), it tells nobody when it could not be written."""
        place = self.machine.path("/var/log/syslog")
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("a", encoding="utf-8") as stream:
                stream.write(f"vfiostate: {text}\n")
