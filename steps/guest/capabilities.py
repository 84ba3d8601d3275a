"""What the installed QEMU has, asked of itself. It cannot be told from a version: distributions leave parts out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from steps.base import Completed, Finding, Host, Severity
from steps.guest.base import Order

T = TypeVar("T")

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
INHERITED = "socket,id=qmp,fd=0,server=on,wait=off"
# Before 1.7 QEMU did not make q35's ACPI tables itself; this is where Debian and Ubuntu had them (the article).
DSDT = "/usr/share/seabios/q35-acpi-dsdt.aml"
SHOWN = 5

_VERSION = re.compile(r"^QEMU (?:PC )?emulator version (\d+)\.(\d+)(?:\.(\d+))?", re.MULTILINE)
_DEVICE = re.compile(r'^name "([^"]+)"(?:.*?, alias "([^"]+)")?', re.MULTILINE)
_MACHINE = re.compile(r"^([\w.-]+)\s+\S", re.MULTILINE)
_CPU = re.compile(r"^\s*(?:x86\s+)?\[?([A-Za-z0-9][\w.+-]*)\]?(?:\s|$)", re.MULTILINE)
_ACCEL = re.compile(r"\b(kvm|tcg|xen|hax|hvf|whpx|nvmm|qtest)\b")
# `vfio-pci.x-vga=on/off` before 2.x, `  x-vga=<bool> - on/off` since.
_OPTION = re.compile(r"^\s*(?:[\w-]+\.)?([\w-]+)=", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the installed QEMU is and has. `binary` is None where there is none; `accels` None where it cannot be asked;
    `vfio_options` and `disk_options` are empty where they were not asked for; `garbled` are the answers that
    could not be understood."""

    binary: str | None
    version: tuple[int, int, int] | None = None
    devices: frozenset[str] = frozenset()
    machines: frozenset[str] = frozenset()
    cpus: frozenset[str] = frozenset()
    accels: frozenset[str] | None = None
    vfio_options: frozenset[str] = frozenset()
    disk_options: frozenset[str] = frozenset()
    sandbox: bool = False
    inherits_socket: bool = False
    dsdt: str | None = None
    garbled: tuple[Finding, ...] = ()

    @property
    def old(self) -> bool:
        """Whether it is of the article's time, without pcie-root-port (which came with 2.9)."""
        return "pcie-root-port" not in self.devices


def ask(host: Host, order: Order) -> Capabilities:
    """Ask the configured QEMU for all that the order may need. Each question is one start of QEMU."""
    binary = host.which(order.guest.binary) if "/" not in order.guest.binary else _existing(host, order.guest.binary)
    if binary is None:
        return Capabilities(None)
    talk = _Talk(host, binary)
    both = talk.accepts("-sandbox", SANDBOX, "-chardev", INHERITED)
    version = talk.parse(("-version",), _read_version, "the line `QEMU emulator version …`")
    devices = talk.parse(("-device", "help"), _read_devices, 'lines such as `name "ahci", bus PCI`')
    old = "pcie-root-port" not in (devices or ())
    x_vga = any(device.x_vga for device in order.devices)
    return Capabilities(
        binary,
        version,
        devices or frozenset(),
        talk.parse(("-machine", "help"), _read_machines, "a list of machines") or frozenset(),
        talk.parse(("-cpu", "help"), _read_cpus, "a list of CPUs") or frozenset(),
        _read_accels(talk.say("-accel", "help")),
        _read_options(talk.say("-device", "vfio-pci,help")) if x_vga else frozenset(),
        _read_options(talk.say("-device", "virtio-blk-pci,help")) if old else frozenset(),
        both or talk.accepts("-sandbox", SANDBOX),
        both or talk.accepts("-chardev", INHERITED),
        DSDT if (version or (9,)) < (1, 7) and host.lstat(DSDT) is not None else None,
        tuple(talk.garbled),
    )


class _Talk:
    """The questions to one binary, and what was odd about its answers."""

    def __init__(self, host: Host, binary: str) -> None:
        self.host = host
        self.binary = binary
        self.garbled: list[Finding] = []

    def say(self, *args: str) -> Completed | None:
        """One question; None when it does not answer in time."""
        try:
            return self.host.query((self.binary, *args), timeout=60.0)
        except TimeoutError:
            return None

    def accepts(self, *args: str) -> bool:
        """Whether options are understood: they are parsed one after the other, and -version ends it after them."""
        answer = self.say(*args, "-version")
        return answer is not None and answer.ok

    def parse(self, args: Sequence[str], read: Callable[[str], T | None], expected: str) -> T | None:
        """The answer as `read` understands it (older ones print help on standard error); noted when it does not."""
        answer = self.say(*args)
        text = "" if answer is None else _both(answer)
        found = read(text)
        if found is None:
            lines = [line for line in text.splitlines() if line.strip()][:SHOWN]
            said = "gave no answer within 60 s" if answer is None else f"exit status {answer.status}"
            self.garbled.append(
                Finding(
                    "qemu-answer",
                    Severity.REFUSAL,
                    f"{self.binary} does not answer `{' '.join(args)}` as QEMU does: expected {expected}.",
                    (said, *lines),
                    "See whether `binary` in [guest] names a working QEMU: run the command yourself.",
                )
            )
        return found


def _existing(host: Host, path: str) -> str | None:
    try:
        return path if host.lstat(host.resolve(path)) is not None else None
    except OSError:
        return None


def _both(answer: Completed) -> str:
    return answer.text + "\n" + answer.stderr.decode(errors="replace")


def _read_version(text: str) -> tuple[int, int, int] | None:
    match = _VERSION.search(text)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3] or 0))


def _read_devices(text: str) -> frozenset[str] | None:
    return frozenset(name for pair in _DEVICE.findall(text) for name in pair if name) or None


def _read_machines(text: str) -> frozenset[str] | None:
    _, found, after = text.partition("Supported machines are:")
    return frozenset(_MACHINE.findall(after)) or None if found else None


def _read_cpus(text: str) -> frozenset[str] | None:
    listing, _, _ = text.partition("Recognized CPUID flags")
    names = frozenset(_CPU.findall(listing.replace("Available CPUs:", "")))
    return names if names & {"qemu64", "host", "max"} else None


def _read_accels(answer: Completed | None) -> frozenset[str] | None:
    """The accelerators; None for a QEMU that has no `-accel help` yet (it came with 2.9)."""
    if answer is None or not answer.ok:
        return None
    return frozenset(_ACCEL.findall(_both(answer))) or None


def _read_options(answer: Completed | None) -> frozenset[str]:
    return frozenset() if answer is None else frozenset(_OPTION.findall(_both(answer)))
