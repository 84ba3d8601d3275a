"""What the installed QEMU has is found out before the start: by asking it, and refusing what it lacks."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from steps.base import Completed, Severity
from steps.config import Accel, Device, Disk, DiskInterface, Display, Guest, Network
from steps.guest import capabilities, needs
from tests.guest.support import ARTICLE, DEVICES, GPU, QEMU_1_5, QEMU_7, bound_machine, order
from tests.support.memory_host import MemoryHost, completed

QEMU = shutil.which("qemu-system-x86_64")


def real(argv: tuple[str, ...], stdin: bytes) -> Completed:
    """The answer of the QEMU installed here."""
    done = subprocess.run((str(QEMU), *argv[1:]), capture_output=True, check=False, timeout=60)
    return Completed(argv, done.returncode, done.stdout, done.stderr)


@pytest.mark.real
@pytest.mark.skipif(QEMU is None, reason="qemu-system-x86_64 is not installed")
def test_the_installed_qemus_answers_are_understood() -> None:
    host = MemoryHost(commands={"qemu-system-x86_64"}, answer=real)
    found = capabilities.ask(host, order())
    assert found.garbled == ()
    assert found.version is not None and found.version >= (2, 12, 0)
    assert {"pcie-root-port", "vfio-pci", "virtio-blk-pci", "ahci", "ide-cd", "virtio-net-pci"} <= found.devices
    assert {"q35", "pc"} <= found.machines
    assert {"host", "max", "qemu64"} <= found.cpus
    assert "Available" not in found.cpus and "x86" not in found.cpus
    assert found.accels is not None and "tcg" in found.accels
    assert {"x-vga", "host", "romfile"} <= found.vfio_options
    assert found.inherits_socket and found.dsdt is None
    assert needs.missing(order(dataclasses.replace(ARTICLE, accel=Accel.TCG)), found) == ()


@pytest.mark.parametrize("version", ["1.5.0", "2.5.0", "2.9.0", "2.12.0", "4.2.1", "7.2.22", "10.0.2"])
def test_qemus_of_all_times_are_asked_and_have_what_the_article_needs(version: str, tmp_path: Path) -> None:
    found = capabilities.ask(bound_machine(tmp_path / "m", qemu=version), order())
    assert found.garbled == ()
    assert found.version == tuple(int(part) for part in version.split("."))
    assert found.old == (found.version < (2, 9))
    assert found.sandbox == (found.version >= (2, 11))
    assert found.inherits_socket == (found.version >= (2, 12))
    refusals = [one for one in needs.missing(order(), found) if one.severity is Severity.REFUSAL]
    assert refusals == []


@pytest.mark.parametrize(
    ("stdout", "status"), [("", 0), ("", 127), ("hello\n" * 100, 0), ("\x00\xff", 1), ("name \n", 0)]
)
def test_rubbish_for_an_answer_is_a_refusal_with_what_it_said(stdout: str, status: int) -> None:
    host = MemoryHost(
        commands={"qemu-system-x86_64"}, answer=lambda argv, stdin: completed(argv, stdout, status, "said\n")
    )
    found = capabilities.ask(host, order())
    refusals = needs.missing(order(), found)
    assert {one.code for one in refusals} == {"qemu-answer"}
    assert all(any("exit status" in line for line in one.evidence) and one.hint for one in refusals)
    assert all(len(one.evidence) <= capabilities.SHOWN + 1 for one in refusals)


def test_a_qemu_that_hangs_is_a_refusal() -> None:
    def hang(argv: tuple[str, ...], stdin: bytes) -> Completed:
        raise TimeoutError

    found = capabilities.ask(MemoryHost(commands={"qemu-system-x86_64"}, answer=hang), order())
    assert {one.code for one in needs.missing(order(), found)} == {"qemu-answer"}


def test_a_missing_qemu_says_how_to_get_one() -> None:
    found = capabilities.ask(MemoryHost(), order())
    (only,) = needs.missing(order(), found)
    assert only.code == "qemu-missing" and "apt install" in only.hint


def test_a_binary_named_by_its_path_is_taken_from_there() -> None:
    guest = dataclasses.replace(ARTICLE, binary="/opt/qemu/bin/qemu-system-x86_64")
    assert capabilities.ask(MemoryHost(), order(guest)).binary is None
    host = MemoryHost({"/opt/qemu/bin/qemu-system-x86_64": b"\x7fELF"})
    assert capabilities.ask(host, order(guest)).binary == guest.binary


def codes(guest: Guest, devices: tuple[Device, ...] = DEVICES, *, install: bool = False) -> set[str]:
    """The codes of what is missing on QEMU 7.2."""
    return {one.code for one in needs.missing(order(guest, devices, install=install), QEMU_7)}


def change(**fields: object) -> Guest:
    """The article's guest with something changed."""
    return dataclasses.replace(ARTICLE, **fields)  # type: ignore[arg-type]  # the fields are the caller's


@pytest.mark.parametrize(
    ("guest", "code"),
    [
        (change(machine="q36"), "qemu-machine"),
        (change(cpu="Pentium9,+sse"), "qemu-cpu"),
        (change(networks=(Network("tap0", model="ne3000"),)), "qemu-device"),
        (change(name="../x"), "guest-name"),
        (change(display=Display.VNC, vnc="0.0.0.0:0"), "vnc-open"),
        (change(display=Display.VNC, vnc="192.168.1.2:1"), "vnc-open"),
        (change(display=Display.VNC, vnc=":0"), "vnc-open"),
        (change(display=Display.VNC, vnc="127.0.0.1:0,websocket=on"), "vnc-open"),
        (change(display=Display.VNC, vnc="example.org:0"), "vnc-open"),
        (change(disks=(Disk("/x", interface=DiskInterface.SATA, readonly=True),)), "disk-interface"),
        (change(ovmf_vars="/v"), "firmware"),
        (change(user="root"), "guest-root"),
        (change(display=Display.VNC), "two-displays"),
    ],
)
def test_what_must_not_be_is_named(guest: Guest, code: str) -> None:
    assert code in codes(guest)


@pytest.mark.parametrize("vnc", ["127.0.0.1:0", "127.8.8.8:59", "localhost:1", "[::1]:2"])
def test_displays_on_loopback_are_taken(vnc: str) -> None:
    assert codes(change(display=Display.VNC, vnc=vnc), devices=()) == set()


def test_an_open_vnc_display_is_refused_in_install_mode_too() -> None:
    assert codes(change(vnc="0.0.0.0:0"), install=True) == {"vnc-open"}
    assert codes(change(vnc="0.0.0.0:0")) == set()


@pytest.mark.parametrize(
    "lost", ["ahci", "ide-cd", "virtio-blk-pci", "virtio-net-pci", "virtio-balloon-pci", "vfio-pci"]
)
def test_a_device_that_the_distribution_left_out_is_named(lost: str) -> None:
    found = dataclasses.replace(QEMU_7, devices=QEMU_7.devices - {lost})
    (only,) = needs.missing(order(), found)
    assert only.code == "qemu-device" and lost in only.message and "7.2.22" in only.evidence[0]


def test_without_any_root_port_nothing_is_passed_through() -> None:
    found = dataclasses.replace(QEMU_7, devices=QEMU_7.devices - {"pcie-root-port", "ioh3420"})
    assert "qemu-device" in {one.code for one in needs.missing(order(), found)}
    assert needs.missing(order(install=True), found) == ()


def test_a_qemu_without_kvm_or_x_vga_is_found_out() -> None:
    found = dataclasses.replace(QEMU_7, accels=frozenset({"tcg"}), vfio_options=frozenset({"host"}))
    assert {one.code for one in needs.missing(order(devices=(GPU,)), found)} == {"qemu-accel", "qemu-option"}


def test_a_qemu_that_cannot_be_confined_is_a_warning_only() -> None:
    (only,) = needs.missing(order(), QEMU_1_5)
    assert (only.code, only.severity) == ("no-sandbox", Severity.WARNING)
