"""The lab's machine: QEMU with an IOMMU and devices that may be passed through.

QEMU is told to end when the machine reboots and is then started again: 25 s, where a warm reboot inside the emulator
takes up to ten times as long after much work, since it throws all translated code away.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from . import kvm
from .base import OVMF, LabError, limit, run
from .channel import Agent, Gone, Qmp, Ran

PORT_NAME = "org.vfiostate.lab"
# Of Debian's package ovmf: firmware without Secure Boot, and what it remembers before it has booted anything.
FIRMWARE = (("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), ("OVMF_CODE.fd", "OVMF_VARS.fd"))
FIRMWARE_VARIABLES = "firmware-variables.fd"


def firmware() -> tuple[Path, Path]:
    """OVMF's code and its empty variables. LabError where it is not installed."""
    pairs = [(OVMF / code, OVMF / variables) for code, variables in FIRMWARE]
    for code, variables in pairs:
        if code.exists() and variables.exists():
            return code, variables
    raise LabError(f"no {pairs[0][0]}\n  as root: apt-get install ovmf")


@dataclass(frozen=True)
class Shape:
    """What hardware the machine has.

    The slots are pinned: the graphics card with its audio function at 01:00.0 and 01:00.1, the USB controller at
    02:00.0, the network card at 03:00.0, with ``twin`` a second, equal graphics card at 04:00.0, or with ``virtual``
    an NVMe controller at 04:00.0 that can have two virtual functions. The USB controller may be another (``usb``), or
    sit in another slot (``usb_port``).
    """

    iommu: str = "intel"
    twin: bool = False
    virtual: bool = False
    memory: int = 2048
    intremap: bool = True
    processors: int = 2
    usb: str = "qemu-xhci"
    usb_port: int = 2

    def arguments(self, use_kvm: bool) -> list[str]:
        """QEMU's arguments for this hardware, disks and channels apart."""
        remap = "on" if self.intremap else "off"
        board = "q35,smm=off"
        iommu: list[str] = []
        if self.iommu == "intel":
            board += ",kernel_irqchip=split" if self.intremap else ""
            iommu = ["-device", f"intel-iommu,intremap={remap},caching-mode=on"]
        elif self.iommu == "amd":
            iommu = ["-device", f"amd-iommu,intremap={remap}"]
        accelerator = (
            ["-accel", "kvm", "-cpu", "host"]
            if use_kvm
            else ["-accel", "tcg,thread=multi,tb-size=64", "-cpu", "qemu64,-svm"]
        )
        return [
            "-M", board, *accelerator, "-m", str(self.memory), "-smp", str(self.processors),
            "-nodefaults", "-display", "none", *iommu,
            *root_port(1), "-device", "secondary-vga,bus=port1,addr=0,multifunction=on",
            "-device", "intel-hda,bus=port1,addr=0.1",
            *root_port(2), *([] if self.usb_port == 2 else root_port(self.usb_port)),
            "-device", f"{self.usb},bus=port{self.usb_port},addr=0",
            *root_port(3), "-device", "e1000e,bus=port3,addr=0,mac=52:54:00:00:00:03",
            *([*root_port(4), "-device", "secondary-vga,bus=port4,addr=0"] if self.twin else []),
            *([*root_port(4), *WITH_VIRTUAL] if self.virtual else []),
        ]  # fmt: skip


# The virtual queues and interrupts are those that the controller can give away (QEMU's documentation of its NVMe
# emulation, "SR-IOV").
WITH_VIRTUAL = (
    "-device", "nvme-subsys,id=nvme",
    "-device", "nvme,bus=port4,addr=0,serial=lab,subsys=nvme,sriov_max_vfs=2,sriov_vq_flexible=4,sriov_vi_flexible=2",
)  # fmt: skip


def root_port(number: int) -> list[str]:
    """A PCIe root port of its own IOMMU group, whose bus is the number."""
    address = 0x10 + number - 1
    return ["-device", f"pcie-root-port,id=port{number},bus=pcie.0,addr={address:#x},chassis={number},slot={number}"]


def overlay(image: Path, target: Path) -> Path:
    """A disk that starts as the image and takes all changes."""
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image.resolve(), target])
    return target


@dataclass
class Machine:
    """One machine in one directory: its disk, serial log, sockets and process. Power cycles keep the directory."""

    directory: Path
    disk: Path
    shape: Shape = field(default_factory=Shape)
    disk_format: str = "qcow2"
    data: Path | None = None
    direct: tuple[Path, Path, str] | None = None
    uefi: bool = False
    on_run: Callable[[Ran], None] | None = None
    boots: list[str] = field(default_factory=list)
    _agent: Agent | None = None
    _process: subprocess.Popen[bytes] | None = None

    @property
    def serial(self) -> Path:
        """What the serial console said, over all boots."""
        return self.directory / "serial.log"

    @property
    def agent(self) -> Agent:
        """The agent in the running machine."""
        if self._agent is None:
            self._agent = Agent(self.directory / "agent.sock", self.on_run)
        return self._agent

    def arguments(self) -> list[str]:
        """The whole QEMU command line."""
        disk = f"file={self.disk},format={self.disk_format},if=none,id=disk0,cache=writeback,discard=unmap"
        arguments = ["qemu-system-x86_64", *self.shape.arguments(kvm.usable())]
        if self.uefi:
            arguments += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={firmware()[0]}"]
            arguments += ["-drive", f"if=pflash,unit=1,format=raw,file={self.directory / FIRMWARE_VARIABLES}"]
        arguments += ["-drive", disk, "-device", "virtio-blk-pci,drive=disk0,bus=pcie.0,addr=0x4,bootindex=1"]
        if self.data:
            arguments += ["-drive", f"file={self.data},format=raw,if=none,id=disk1,readonly=on"]
            arguments += ["-device", "virtio-blk-pci,drive=disk1,bus=pcie.0,addr=0x5"]
        for name in ("agent", "qmp"):
            path = self.directory / f"{name}.sock"
            arguments += ["-chardev", f"socket,id={name},path={path},server=on,wait=off"]
        arguments += ["-device", "virtio-serial-pci,bus=pcie.0,addr=0x6"]
        arguments += ["-device", f"virtserialport,chardev=agent,name={PORT_NAME}", "-mon", "chardev=qmp,mode=control"]
        console = f"socket,id=serial,path={self.directory / 'console.sock'},server=on,wait=off"
        arguments += ["-chardev", f"{console},logfile={self.serial},logappend=on", "-serial", "chardev:serial"]
        arguments += ["-no-reboot", "-pidfile", str(self.directory / "pid")]
        if self.direct:
            kernel, initrd, words = self.direct
            arguments += ["-kernel", str(kernel), "-initrd", str(initrd), "-append", words]
        return arguments

    def power_on(self) -> None:
        """Starts QEMU and waits for nothing that goes on in the machine."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in ("agent.sock", "qmp.sock", "console.sock", "pid"):
            (self.directory / name).unlink(missing_ok=True)
        arguments = self.arguments()
        (self.directory / "command.json").write_text(json.dumps(arguments, indent=1) + "\n")
        with open(self.directory / "qemu.log", "ab") as log:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def start(self, nominal: str = "boot") -> str:
        """Starts QEMU and waits for the agent; returns the boot id."""
        self.power_on()
        try:
            boot = self.agent.wait(limit(nominal))
        except LabError as error:
            raise LabError(f"the machine does not come up: {error}\n{self.last_words()}") from error
        self.boots.append(boot)
        return boot

    def last_words(self) -> str:
        """The ends of QEMU's own log and of the serial console."""
        parts = []
        for path in (self.directory / "qemu.log", self.serial):
            if path.exists():
                text = path.read_bytes()[-2500:].decode("utf-8", "replace")
                parts.append(f"  {path.name}: …\n{text}")
        return "\n".join(parts)

    def pid(self) -> int | None:
        """QEMU's process, if it runs."""
        try:
            pid = int((self.directory / "pid").read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if str(self.directory).encode() in words else None

    def wait_off(self, timeout: float) -> bool:
        """Waits for QEMU's end; False if it did not come."""
        deadline = time.monotonic() + timeout
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            self._reap()
            time.sleep(0.1)
        self._reap()
        self._forget()
        return True

    def _reap(self) -> None:
        """Takes leave of our own process when it has ended, so that its pid is free."""
        if self._process:
            self._process.poll()

    def _forget(self) -> None:
        if self._agent:
            self._agent.close()
        self._agent = None

    def reboot(self, argv: tuple[str, ...] = ("systemctl", "reboot")) -> str:
        """Reboots by a command in the machine and starts QEMU again; returns the new boot id."""
        with contextlib.suppress(Gone):
            self.agent.run(list(argv), timeout=limit("command")).check()
        return self.come_back()

    def come_back(self) -> str:
        """After a reboot was asked for by whatever: waits for the end of this boot and starts the next one."""
        if not self.wait_off(limit("shutdown")):
            raise LabError(f"the machine does not shut down\n{self.last_words()}")
        return self.start()

    def power_off(self) -> None:
        """Shuts the machine down in order."""
        with contextlib.suppress(Gone):
            self.agent.run(["systemctl", "poweroff"], timeout=limit("command"))
        if not self.wait_off(limit("shutdown")):
            raise LabError(f"the machine does not shut down\n{self.last_words()}")

    def cut_power(self) -> None:
        """SIGKILL to QEMU: what the machine had not yet handed to its disk is lost."""
        if (pid := self.pid()) is not None:
            os.kill(pid, signal.SIGKILL)
            self.wait_off(10)

    def qmp(self) -> Qmp:
        """A new connection to QEMU itself."""
        return Qmp(self.directory / "qmp.sock")

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut_power()
