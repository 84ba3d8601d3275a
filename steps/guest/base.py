"""The interface of a way to run a guest, and what the ways share: what is ordered, and how to start it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from steps.base import Finding, Host
from steps.config import Device, Guest

RUN_DIR = "/run/vfiostate"


@dataclass(frozen=True, slots=True)
class Order:
    """The guest that is to run: its configuration, the functions it is given (none in install mode, where its display
    is on VNC), and the setup it belongs to."""

    guest: Guest
    devices: tuple[Device, ...]
    setup: str
    install: bool = False

    @property
    def socket(self) -> str:
        """Where its monitor listens."""
        return f"{RUN_DIR}/{self.guest.name}.qmp"

    @property
    def log(self) -> str:
        """Where its output goes."""
        return f"{RUN_DIR}/{self.guest.name}.log"


@dataclass(frozen=True, slots=True)
class Start:
    """How to start it: the command; whether its standard input is its listening monitor socket; whether it gives up
    root by itself, having opened what it needs."""

    argv: tuple[str, ...]
    inherits_socket: bool
    drops_root: bool


C = TypeVar("C")


class Runner(Protocol[C]):
    """A way to run a guest. `ask` reads from the host what is installed; the rest is pure."""

    name: str

    def ask(self, host: Host, order: Order) -> C:
        """What the installed program can do. Answers that make no sense are kept, to be told by `missing`."""
        ...

    def missing(self, order: Order, found: C) -> tuple[Finding, ...]:
        """What the order needs and the installed program does not have, or must not be asked for."""
        ...

    def start(self, order: Order, found: C) -> Start:
        """How to start it, in the form right for what is installed. Raises ConfigurationError when it does not fit."""
        ...


def device_id(address: str) -> str:
    """The id of a host function inside the guest (`query-pci` calls it qdev_id): a letter first, no colons."""
    return f"vfio-{address.replace(':', '-')}"
