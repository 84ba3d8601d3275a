"""The interface of a way to run a guest, and what the ways share: what is ordered, and how to start it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from steps.actions import Action, Shutdown, StopProcess
from steps.base import Finding, Host
from steps.config import Device, Guest, HugePages
from steps.guest.seen import Seen, Silence

RUN_DIR = "/run/vfiostate"
# Not below RUN_DIR, where nobody but root comes in: QEMU opens it as the guest's account.
HUGETLBFS = "/run/vfiostate-hugepages"


@dataclass(frozen=True, slots=True)
class Order:
    """The guest that is to run: its configuration, the functions it is given (none in install mode, where its display
    is on VNC), and the setup it belongs to. `left` are the files that it wrote or had made (path -> sha256 as left);
    `qcow2` are the paths of its UEFI images that are in that format."""

    guest: Guest
    devices: tuple[Device, ...]
    setup: str
    install: bool = False
    left: Mapping[str, str] = field(default_factory=dict)
    qcow2: frozenset[str] = frozenset()

    def format_of(self, image: str) -> str:
        """The format of a UEFI image."""
        return "qcow2" if image in self.qcow2 else "raw"

    @property
    def socket(self) -> str:
        """Where its monitor listens, when QEMU is started directly."""
        return f"{RUN_DIR}/{self.guest.name}.qmp"


@dataclass(frozen=True, slots=True)
class Given:
    """What a guest that does not run as root is lent by the host: device nodes, and groups to be in (names)."""

    devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


C = TypeVar("C")


class Way(Protocol[C]):
    """A way to run a guest. `look`, `process` and `ask` read from the host; the rest is pure.

    `name` is what `backend` in [guest] says, `voice` what the guest's answers come over; `mounts` whether it takes huge
    pages from a file system that is mounted for it.
    """

    name: str
    voice: str
    mounts: bool

    def look(self, host: Host, order: Order) -> Seen | Silence | None:
        """What the guest says; None where none was started under that name (or it was stopped)."""
        ...

    def process(self, host: Host, name: str) -> int | None:
        """The pid of a guest of ours that runs. Raises ConnectionError where that cannot be told."""
        ...

    def threads(self, host: Host, order: Order) -> tuple[int, Mapping[int, int]]:
        """The pid of a guest that runs, and the thread of each of its vCPUs. Raises ConnectionError, TimeoutError or
        ValueError where it does not say."""
        ...

    def log(self, name: str) -> str:
        """Where the guest's own output goes."""
        ...

    def user(self, guest: Guest) -> str:
        """The account that must be able to open what the guest needs, and that its taps belong to."""
        ...

    def ask(self, host: Host, order: Order) -> C:
        """What the installed program can do. Answers that make no sense are kept, to be told by `missing`."""
        ...

    def missing(self, order: Order, found: C) -> tuple[Finding, ...]:
        """What the order needs and the installed program does not have, or must not be asked for."""
        ...

    def opens_as_root(self, order: Order, found: C) -> bool:
        """Whether what the guest needs is opened by root, whoever it then runs as."""
        ...

    def actions(self, order: Order, found: C, given: Given) -> Iterator[Action]:
        """How to start it, in the form right for what is installed. Raises ConfigurationError when it does not fit."""
        ...

    def stop(self, order: Order, why: str) -> StopProcess | Shutdown:
        """How to end it."""
        ...

    def shown(self, order: Order, found: C) -> str:
        """What starts it, for reading."""
        ...


def called(name: str) -> str:
    """A guest in a sentence; the name that one has by default says nothing more."""
    return "guest" if name == Guest().name else f"guest {name}"


def hugetlbfs_of(size: HugePages) -> str:
    """Where huge pages of a size are mounted for a guest of ours."""
    return f"{HUGETLBFS}-{size.value}"


def device_id(address: str) -> str:
    """The id of a host function inside the guest (`query-pci` calls it qdev_id): a letter first, no colons."""
    return f"vfio-{address.replace(':', '-')}"
