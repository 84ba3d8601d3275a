"""QEMU, started directly as a process of ours: its monitor on a private socket, its rights set before it begins."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from steps.actions import Action, StartProcess, StopProcess
from steps.base import Finding, Host
from steps.config import Guest
from steps.guest import access, capabilities, monitor, needs, tuned
from steps.guest.base import RUN_DIR, Given, Order, called
from steps.guest.capabilities import Capabilities
from steps.guest.qemu_command import command, drops_root
from steps.guest.seen import Seen, Silence
from steps.reading import text_of

MIB = 1 << 20
# What is pinned besides the guest's memory (firmware, ROMs, the VGA card's window); libvirt allows as much.
MEMLOCK_SLACK = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Start:
    """How to start it: the command; whether its standard input is its listening monitor socket; whether it gives up
    root by itself, having opened what it needs."""

    argv: tuple[str, ...]
    inherits_socket: bool
    drops_root: bool


class Qemu:
    """The way of QEMU, started directly. See steps.guest.base.Way."""

    name = "qemu"
    voice = "QMP"
    mounts = True

    def look(self, host: Host, order: Order) -> Seen | Silence | None:
        """What it says over QMP."""
        return monitor.look(host, order)

    def process(self, host: Host, name: str) -> int | None:
        """The process that the engine started."""
        return host.alive(name)

    def threads(self, host: Host, order: Order) -> tuple[int, Mapping[int, int]]:
        """The process that the engine started, and what QEMU says of its vCPUs."""
        pid, *_ = [*text_of(host, f"{RUN_DIR}/{order.guest.name}.pid").split(), "0"]
        return int(pid), monitor.threads(host, order.guest.name)

    def log(self, name: str) -> str:
        """Its standard output and error."""
        return f"{RUN_DIR}/{name}.log"

    def user(self, guest: Guest) -> str:
        """The account it runs as."""
        return guest.user

    def ask(self, host: Host, order: Order) -> Capabilities:
        """What the installed QEMU has."""
        return capabilities.ask(host, order)

    def missing(self, order: Order, found: Capabilities) -> tuple[Finding, ...]:
        """What the order needs and it has not."""
        return needs.missing(order, found)

    def opens_as_root(self, order: Order, found: Capabilities) -> bool:
        """Where it has to make its monitor's socket itself, it starts as root."""
        return found.binary is not None and drops_root(order, found)

    def start(self, order: Order, found: Capabilities) -> Start:
        """The whole command line. Raises ConfigurationError when the guest has more devices than its bus has slots."""
        return Start(command(order, found), found.inherits_socket, drops_root(order, found))

    def actions(self, order: Order, found: Capabilities, given: Given) -> Iterator[Action]:
        """One process, with its rights, and its threads pinned."""
        guest, start = order.guest, self.start(order, found)
        rootless = not start.drops_root and guest.user != access.ROOT
        yield StartProcess(
            guest.name,
            start.argv,
            f"the {called(guest.name)}" + (", without the devices, to be installed" if order.install else ""),
            user=guest.user if rootless else None,
            memlock=guest.memory * MIB + MEMLOCK_SLACK if order.devices else None,
            devices=given.devices if rootless else (),
            timeout=guest.stop_timeout,
            groups=given.groups,
            inherit_socket=start.inherits_socket,
            cpus=None if order.install else guest.emulatorpin,
        )
        yield from tuned.pin(order)

    def stop(self, order: Order, why: str) -> StopProcess:
        """By its power button, by QEMU's quit, by signals."""
        return StopProcess(order.guest.name, why, order.guest.stop_timeout)

    def shown(self, order: Order, found: Capabilities) -> str:
        """The command line, one option a line."""
        return shown(self.start(order, found).argv)


def shown(argv: Sequence[str]) -> str:
    """An argument list as a shell command, one option a line."""
    lines = [shlex.quote(argv[0])]
    for word in argv[1:]:
        if word.startswith("-"):
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {shlex.quote(word)}"
    return " \\\n".join(lines)


BACKENDS = (Qemu(),)
