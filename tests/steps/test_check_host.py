"""What `checked` says of the host: commands, room, KVM, lockdown, rc.local."""

from __future__ import annotations

import pytest

from steps import host_checks
from steps.base import Finding, Severity
from steps.config import Accel, Cdrom, Config, Device, Disk, Guest, Network, Persist
from tests.support.memory_host import Link, MemoryHost, Node

DEVICES = (Device("0000:03:00.0", "10de:1200"),)
SYSTEMD: dict[str, Node] = {"/run/systemd/system": None, "/etc/modules-load.d": None}
COMMANDS = {"sh", "modprobe", "systemctl", "qemu-system-x86_64", "ip"}


def judged(
    host: MemoryHost, config: Config, *, flag: str | None = "svm", loaded: frozenset[str] = frozenset()
) -> dict[str, Finding]:
    facts = host_checks.read_host(host, config, None, loaded)
    return {finding.code: finding for finding in host_checks.findings(config, facts, flag)}


def load_d(**extra: object) -> Config:
    return Config(DEVICES, persist=Persist.MODULES_LOAD_D, **extra)  # type: ignore[arg-type]


def test_a_host_with_everything_has_nothing_against_it() -> None:
    assert judged(MemoryHost(dict(SYSTEMD), commands=set(COMMANDS)), load_d()) == {}


@pytest.mark.parametrize(
    ("missing", "config"),
    [
        ("modprobe", load_d()),
        ("sh", load_d()),
        ("systemctl", load_d()),
        ("qemu-system-x86_64", load_d(guest=Guest(accel=Accel.TCG))),
        ("ip", load_d(guest=Guest(accel=Accel.TCG, networks=(Network("tap0"),)))),
    ],
)
def test_a_missing_command_is_refused_by_name(missing: str, config: Config) -> None:
    found = judged(MemoryHost(dict(SYSTEMD), commands=COMMANDS - {missing}), config)
    assert set(found) == {"command-missing"} and missing in found["command-missing"].message


@pytest.mark.parametrize(
    ("device", "guest", "path"),
    [
        (DEVICES[0], Guest(disks=(Disk("/srv/none.img"),)), "/srv/none.img"),
        (DEVICES[0], Guest(cdroms=(Cdrom("/srv/none.iso"),)), "/srv/none.iso"),
        (DEVICES[0], Guest(firmware="/usr/share/none.bin"), "/usr/share/none.bin"),
        (DEVICES[0], Guest(ovmf_code="/srv/none.fd", ovmf_vars="/srv/code.fd"), "/srv/none.fd"),
        (DEVICES[0], Guest(ovmf_code="/srv/code.fd", ovmf_vars="/srv/gone.fd"), "/srv/gone.fd"),
        (Device("0000:03:00.0", "10de:1200", romfile="/srv/none.rom"), Guest(), "/srv/none.rom"),
    ],
)
def test_a_file_of_the_guest_that_is_not_there_is_named_before_anything_is_changed(
    device: Device, guest: Guest, path: str
) -> None:
    """Only a warning: it may come until the guest starts."""
    tree = SYSTEMD | {"/dev/kvm": b"", "/srv/code.fd": b"", "/srv/gone.fd": Link("/srv/elsewhere")}
    config = Config((device,), persist=Persist.MODULES_LOAD_D, guest=guest)
    found = judged(MemoryHost(tree, commands=set(COMMANDS)), config)
    assert set(found) == {"file-missing"} and path in found["file-missing"].message
    assert found["file-missing"].severity is Severity.WARNING and "`running`" in found["file-missing"].hint
    assert judged(MemoryHost(tree, commands=set(COMMANDS)), Config((device,), persist=Persist.MODULES_LOAD_D)) == {}


def test_commands_that_no_step_will_run_are_not_asked_for() -> None:
    assert judged(MemoryHost({"/etc/modules-load.d": None}, commands={"sh", "modprobe"}), load_d()) == {}


def test_a_full_boot_partition_is_refused_with_the_numbers() -> None:
    tree = SYSTEMD | {"/boot/initrd.img-6.1": b"x" * (2 << 20), "/boot/grub/grub.cfg": b""}
    host = MemoryHost(tree, commands=set(COMMANDS), free_bytes={"/boot": 3 << 20})
    found = judged(host, load_d())
    assert set(found) == {"no-space"}
    assert found["no-space"].evidence == ("/boot: 3.0 MiB free, 3.5 MiB needed",)


def test_room_for_the_before_images_of_every_kernels_image_is_asked_for() -> None:
    tree = SYSTEMD | {f"/boot/initrd.img-6.{n}": b"x" * (1 << 20) for n in range(3)}
    host = MemoryHost(tree, commands=set(COMMANDS), free_bytes={"/var": 18 << 20})
    assert "before-images" in judged(host, load_d())["no-space"].message


@pytest.mark.parametrize(
    ("device", "flag", "loaded", "refused"),
    [
        (True, None, frozenset(), False),
        (False, "svm", frozenset(), False),
        (False, None, frozenset(), True),
        (False, "vmx", frozenset({"kvm", "kvm_intel"}), True),
    ],
)
def test_kvm_is_refused_only_where_it_can_not_come(
    device: bool, flag: str | None, loaded: frozenset[str], refused: bool
) -> None:
    tree = SYSTEMD | ({"/dev/kvm": b""} if device else {})
    host = MemoryHost(tree, commands=set(COMMANDS))
    found = judged(host, load_d(guest=Guest()), flag=flag, loaded=loaded)
    assert ("kvm-missing" in found) is refused
    assert "kvm-missing" not in judged(host, load_d(guest=Guest(accel=Accel.TCG)), flag=flag, loaded=loaded)
    assert "kvm-missing" not in judged(host, load_d(), flag=flag, loaded=loaded)


@pytest.mark.parametrize(
    ("content", "noted"),
    [(b"none [integrity] confidentiality\n", True), (b"[none] integrity confidentiality\n", False)],
)
def test_a_kernel_that_is_locked_down_is_noted(content: bytes, noted: bool) -> None:
    found = judged(MemoryHost(SYSTEMD | {host_checks.LOCKDOWN: content}, commands=set(COMMANDS)), load_d())
    assert set(found) == ({"lockdown"} if noted else set())
    assert all(finding.severity is Severity.NOTE for finding in found.values())


@pytest.mark.parametrize(("content", "noted"), [(b"\6\0\0\0\1", True), (b"\6\0\0\0\0", False), (b"", False)])
def test_secure_boot_is_noted(content: bytes, noted: bool) -> None:
    found = judged(MemoryHost(SYSTEMD | {host_checks.SECURE_BOOT: content}, commands=set(COMMANDS)), load_d())
    assert set(found) == ({"secure-boot"} if noted else set())


@pytest.mark.parametrize(("mode", "refused"), [(0o644, True), (0o755, False)])
def test_an_rc_local_that_would_not_run_is_refused_where_there_is_no_systemd(mode: int, refused: bool) -> None:
    tree: dict[str, Node] = {"/etc/modules-load.d": None, "/etc/rc.local": b"#!/bin/sh\nexit 0\n"}
    host = MemoryHost(tree, commands={"sh", "modprobe"}, modes={"/etc/rc.local": mode})
    assert ("rc-local-not-executable" in judged(host, load_d())) is refused
    assert judged(MemoryHost(tree | SYSTEMD, commands=set(COMMANDS)), load_d()) == {}


@pytest.mark.parametrize("level", ["default", "nonetwork", None])
def test_openrc_that_does_not_start_local_is_refused(level: str | None) -> None:
    tree: dict[str, Node] = {"/etc/modules-load.d": None, "/sbin/openrc-run": b"", "/etc/rc.local": b"exit 0\n"}
    tree |= {f"/etc/runlevels/{level}/local": Link("/etc/init.d/local")} if level else {}
    found = judged(MemoryHost(tree, commands={"sh", "modprobe"}), load_d())
    assert ("openrc-local-off" in found) is (level is None) and "rc-local-not-executable" not in found
