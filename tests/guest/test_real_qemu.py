"""Our command line and our monitor against the QEMU installed here: started, asked, stopped, confined."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.back.stopping import stop_guest
from engine.guests import launch
from engine.guests.pinning import pin_threads
from engine.guests.qmp import query_qmp
from engine.hosts.linux import LinuxHost
from engine.hosts.simulated.qemu_guest import build
from steps.actions import PinThreads, StartProcess
from steps.base import Json
from steps.config import Accel, Cdrom, Disk, DiskInterface, Guest
from steps.guest import capabilities, monitor, tuned
from steps.guest.base import Order
from steps.guest.qemu import Qemu

QEMU = shutil.which("qemu-system-x86_64", path="/usr/bin:/usr/local/bin")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(QEMU is None, reason="qemu-system-x86_64 is not installed"),
]


class Host(LinuxHost):
    """This host, with the runtime directory in a directory of the test."""

    runtime: Path

    def start(self, process: StartProcess) -> int:
        """Start it there."""
        return launch.launch(process, self.runtime)

    def alive(self, name: str) -> int | None:
        """Whether it runs."""
        return launch.alive(name, self.runtime)

    def kill(self, name: str, *, timeout: float) -> None:
        """End it."""
        launch.end(name, self.runtime, timeout=timeout)

    def qmp(self, name: str, command: str, arguments: object = None, *, timeout: float = 10.0) -> Json:
        """Ask it."""
        given = arguments if isinstance(arguments, dict) else None
        return query_qmp(self.runtime / f"{name}.qmp", command, given, timeout=timeout)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """This host."""
    made = Host()
    made.runtime = tmp_path / "run"
    yield made
    made.kill("test", timeout=5.0)


def free_display() -> int:
    """A VNC display that nobody uses: other tests run at the same time."""
    for display in range(100 + os.getpid() % 1000, 60000):
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", 5900 + display))
            return display
    raise AssertionError("no port is free")


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    """A small guest with a disk of each kind and a CD; a comma in a path must not matter."""
    top = Path(tempfile.gettempdir())
    for path in (tmp_path, *tmp_path.parents):
        # As root the guest runs as another user, who must come as far as its images.
        if path.is_relative_to(top) and path != top and path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o011)
    images = []
    for name in ("a,b.img", "sata.img", "cd.iso"):
        image = tmp_path / name
        image.write_bytes(bytes(1 << 20))
        image.chmod(0o666)
        images.append(str(image))
    return Guest(
        name="test",
        accel=Accel.TCG,
        memory=64,
        balloon=True,
        disks=(Disk(images[0], bootindex=2), Disk(images[1], interface=DiskInterface.SATA)),
        cdroms=(Cdrom(images[2], bootindex=1),),
        vnc=f"127.0.0.1:{free_display()}",
        boot_menu=True,
    )


def process_of(host: Host, guest: Guest) -> StartProcess:
    """How it is started in install mode."""
    order = Order(guest, (), "0123456789ab", install=True)
    start = Qemu().start(order, capabilities.ask(host, order))
    return StartProcess("test", start.argv, "a test", user=guest.user, inherit_socket=start.inherits_socket)


def test_install_mode_runs_on_the_real_qemu_with_every_device_and_stops(host: Host, guest: Guest) -> None:
    host.start(process_of(host, guest))
    answer = host.qmp("test", "query-status", timeout=30.0)
    assert isinstance(answer, dict) and (answer["status"], answer["running"]) == ("running", True)
    functions = monitor.read_pci(host.qmp("test", "query-pci"))
    assert {"disk0", "ahci0", "balloon0"} <= {one.id for one in functions}
    # Its firmware finds nothing to boot and does not listen to the power button.
    assert "switched off" in stop_guest(host, "test", 0.5)
    assert host.alive("test") is None


def test_the_real_qemu_runs_without_root_under_a_filter_on_a_private_socket(host: Host, guest: Guest) -> None:
    pid = host.start(process_of(host, guest))
    host.qmp("test", "query-status", timeout=30.0)
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    expected = pwd.getpwnam(guest.user).pw_uid if os.geteuid() == 0 else os.geteuid()
    assert set(fields["Uid"].split()) == {str(expected)} and expected != 0
    assert fields["Seccomp"].strip() == "2"
    assert int(fields["CapEff"], 16) == 0
    assert stat.S_IMODE((host.runtime / "test.qmp").lstat().st_mode) == 0o600
    assert stat.S_IMODE(host.runtime.lstat().st_mode) == 0o700
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    port = f":{5900 + int(guest.vnc.rpartition(':')[2]):04X} "
    assert [line.split()[1] for line in listening.splitlines() if port in line.split("00000000:0000")[0]] == [
        f"0100007F{port.strip()}"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_the_real_qemu_started_as_an_old_one_answers_as_soon_as_it_is_started(host: Host, guest: Guest) -> None:
    order = Order(guest, (), "0123456789ab", install=True)
    found = dataclasses.replace(capabilities.ask(host, order), inherits_socket=False)
    start = Qemu().start(order, found)
    argv = (word.replace(order.socket, str(host.runtime / "test.qmp")) for word in start.argv)
    assert start.drops_root
    pid = host.start(StartProcess("test", tuple(argv), "a test"))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(host.runtime / "test.qmp"))
    assert isinstance(host.qmp("test", "query-status", timeout=30.0), dict)
    uids = {line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid")}
    assert uids == {str(pwd.getpwnam(guest.user).pw_uid)}


def test_the_real_qemus_last_lines_are_in_its_log(host: Host, guest: Guest) -> None:
    process = process_of(host, dataclasses.replace(guest, args=("-device", "no-such-device")))
    host.start(process)
    with pytest.raises(ConnectionError):
        host.qmp("test", "query-status", timeout=30.0)
    assert "no-such-device" in (host.runtime / "test.log").read_text()


def test_the_double_puts_devices_where_the_real_qemu_puts_them(host: Host, guest: Guest, tmp_path: Path) -> None:
    process = process_of(host, guest)
    host.start(process)
    real = monitor.read_pci(host.qmp("test", "query-pci", timeout=30.0))
    placed = build(Path("/"), process.argv[1:], (7, 2, 22)).placed
    wanted = {(one.id, one.slot, one.function, one.vendor, one.device) for one in placed if one.id}
    assert {(one.id, one.slot, one.function, one.vendor, one.device) for one in real if one.id} == wanted


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="pinning needs two CPUs")
def test_the_real_qemus_threads_go_where_they_are_pinned_under_its_filter(host: Host, guest: Guest) -> None:
    one, other = (str(cpu) for cpu in sorted(os.sched_getaffinity(0))[:2])
    before = os.sched_getaffinity(0)
    placed = dataclasses.replace(guest, cores=2, vcpupin=(other, one), emulatorpin=one)
    pid = host.start(dataclasses.replace(process_of(host, placed), cpus=one))
    assert os.sched_getaffinity(0) == before
    assert pin_threads(host, PinThreads("test", placed.vcpupin, "a test")) == "2 threads"
    threads = monitor.threads(host, "test")
    found = tuned.placed(host, Order(placed, (), ""), pid, threads)
    assert (found.vcpus, found.first) == ({0: (int(other),), 1: (int(one),)}, (int(one),))
    assert list(tuned.misplaced(Order(placed, (), ""), found)) == []
    host.set_affinity(threads[0], (int(one), int(other)))
    again = tuned.placed(host, Order(placed, (), ""), pid, threads)
    assert [each.code for each in tuned.misplaced(Order(placed, (), ""), again)] == ["threads-not-pinned"]
