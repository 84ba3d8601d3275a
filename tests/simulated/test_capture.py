"""Capturing a machine: the description makes the same machine again, and nothing in it names anybody."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.capture import redact
from engine.capture.describe import capture
from engine.capture.redact import Redactor
from engine.cli import main
from engine.hosts.simulated import description, drivers
from engine.hosts.simulated.host import SimulatedHost
from tests.simulated.conftest import Fresh

SECRETS = {
    "host": "zeus-workstation",
    "domain": "olymp.example.net",
    "user": "alice",
    "real": "Wunderland",
    "serial": "S3Z9NB0K123456X",
    "board": "MB-0987654321",
    "usb": "AA00000000012345",
    "mac": "52:54:00:ab:cd:ef",
    "mac-dashed": "01-52-54-00-ab-cd-ef",
    "uuid": "6c616200-7666-4973-8000-76666c616273",
    "fat": "ABCD-1234",
    "mbr": "1a2b3c4d-02",
    "machine": "0123456789abcdef0123456789abcdef",
    "ip": "10.20.30.40",
    "ipv6": "fe80::5054:ff:feab:cdef",
    "label": "ALICES-DATA",
    "by-id": "ata-Samsung_SSD_860_EVO_500GB",
}


@pytest.mark.parametrize("name", description.shipped())
def test_a_captured_machine_captured_again_is_identical(fresh: Fresh, tmp_path: Path, name: str) -> None:
    host = fresh(name)
    first = capture(host)
    again = SimulatedHost.create(tmp_path / "again", first)
    assert description.render(capture(again)) == description.render(first)
    for one in first.functions:
        assert drivers.driver_of(again.machine, one.address) == drivers.driver_of(host.machine, one.address)
    assert again.read("/proc/cmdline") == host.read("/proc/cmdline")
    assert again.list("/sys/kernel/iommu_groups") == host.list("/sys/kernel/iommu_groups")


def test_what_runs_is_captured_bindings_and_command_line_too(fresh: Fresh, tmp_path: Path) -> None:
    host = fresh("debian12-lab")
    host.run(["modprobe", "vfio-pci"], timeout=5)
    usb = "0000:02:00.0"
    host.write_attribute(f"/sys/bus/pci/devices/{usb}/driver_override", "vfio-pci", timeout=5)
    host.write_attribute("/sys/bus/pci/drivers/xhci_hcd/unbind", usb, timeout=5)
    host.write_attribute("/sys/bus/pci/drivers_probe", usb, timeout=5)
    place = host.machine.path("/proc/cmdline")
    place.chmod(0o600)
    place.write_text(place.read_text().strip() + " intel_iommu=on\n")
    again = SimulatedHost.create(tmp_path / "again", capture(host))
    assert drivers.driver_of(again.machine, usb) == "vfio-pci"
    assert b"intel_iommu=on" in again.read("/proc/cmdline")


def plant(host: SimulatedHost) -> None:
    """Put secrets wherever a real machine has them."""
    put, s = host.machine.put, SECRETS
    put("/etc/hostname", s["host"] + "\n")
    put("/proc/sys/kernel/hostname", s["host"] + "\n")
    put("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {s['host']}.{s['domain']} {s['host']}\n")
    put(
        "/etc/passwd",
        f"root:x:0:0:root:/root:/bin/sh\n{s['user']}:x:1000:1000:Ms {s['real']},,,:/home/{s['user']}:/bin/sh\n",
    )
    put("/etc/machine-id", s["machine"] + "\n")
    put("/sys/class/dmi/id/product_serial", s["board"] + "\n")
    put("/sys/block/vda/device/serial", s["serial"] + "\n")
    put("/sys/block/vda/device/wwid", f"t10.ATA     Samsung SSD      {s['serial']}\n")
    put("/sys/bus/usb/devices/1-1/serial", s["usb"] + "\n")
    put("/sys/class/net/enp3s0/address", s["mac"] + "\n")
    words = (
        f"root=UUID={s['uuid']} resume=PARTUUID={s['mbr']} rd.x=UUID={s['fat']} BOOTIF={s['mac-dashed']} "
        f"ip={s['ip']}::10.20.30.1:255.255.255.0:{s['host']}:eth0 systemd.machine_id={s['machine']} "
        f"home=LABEL={s['label']} "
        f"x=/dev/disk/by-id/{s['by-id']}_{s['serial']} crypt={s['usb']} log=[{s['ipv6']}]"
    )
    put("/proc/cmdline", f"BOOT_IMAGE=/boot/vmlinuz-6.1.0-56-amd64 {words} quiet\n")
    put(
        "/etc/default/grub",
        f"# by {s['user']}@{s['host']}.{s['domain']}, Ms {s['real']}\n"
        f'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nX="{words}"\n',
    )
    put(
        "/etc/modprobe.d/me.conf",
        f"# {s['user'].upper()}'s disk is {s['serial']}, board {s['board']}, {s['mac'].upper()}\n",
    )
    put("/etc/rc.local", f"#!/bin/sh\n/home/{s['user']}/start --from {s['host']}\n")
    put(f"/etc/default/grub.d/{s['host']}.cfg", "# nothing\n")
    put("/proc/mounts", f"/dev/vda1 / ext4 rw 0 0\n/dev/vda2 /media/{s['user']}/{s['label']} ext4 rw 0 0\n")


def test_no_secret_that_a_machine_carries_is_in_what_is_captured(fresh: Fresh) -> None:
    host = fresh("debian12-lab")
    plant(host)
    text = description.render(capture(host)).lower()
    for name, secret in SECRETS.items():
        assert secret.lower() not in text, name
    # What is needed to simulate it is still there, and what was the same is the same.
    found = json.loads(text)
    assert "root=uuid=00000000-0000-4000-8000-000000000001" in found["cmdline"] and "quiet" in found["cmdline"]
    assert found["files"]["/etc/default/grub"]["text"].count("root=uuid=00000000-0000-4000-8000-000000000001") == 1
    assert "grub_cmdline_linux_default" in found["files"]["/etc/default/grub"]["text"]
    assert len(found["functions"]) == 13


def test_a_redacted_description_still_makes_a_machine(fresh: Fresh, tmp_path: Path) -> None:
    host = fresh("debian12-lab")
    plant(host)
    found = capture(host)
    again = SimulatedHost.create(tmp_path / "again", found)
    assert capture(again) == found


def test_neither_a_packages_account_nor_a_person_of_that_name_changes_a_descriptions_own_words(fresh: Fresh) -> None:
    host = fresh("debian12-lab")
    host.machine.put(
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n"
        "libvirt-qemu:x:64055:107:Libvirt Qemu,,,:/var/lib/libvirt:/usr/sbin/nologin\n"
        "disks:x:1002:1002:Memory Mounts:/home/disks:/bin/bash\n",
    )
    found = capture(host)
    assert any(path.endswith("/qemu-system-x86_64") for path in found.commands)
    assert found.disks and found.memory and found.mounts


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet='0123456789abcdefABCDEF:-./=_ U\n"xyzUID', max_size=80))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    once = Redactor(["S3Z9NB0K"], ["zeus"], ["alice"]).text(text)
    assert Redactor(["S3Z9NB0K"], ["zeus"], ["alice"]).text(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "pci-stub.ids=10de:1200,10de:0e0c",
        "vfio-pci.ids=10de:1200:1458:3519:030000:ffffff",
        "0000:03:00.0 10000:e1:00.0",
        "pci:v000010DEd00001200sv00001458sd00003519bc03sc00i00",
        "6.1.0-18-amd64 7.2.9",
        "console=ttyS0,115200n8 host user localhost 127.0.0.1",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor(["S3Z9NB0K"], ["zeus"], ["alice"]).text(text) == text


def test_the_command_writes_the_format_that_create_reads(
    fresh: Fresh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host, file = fresh("article"), tmp_path / "machine.json"
    assert main(["--simulate", str(host.root), "capture", "-o", str(file)]) == 0
    assert main(["--simulate", str(tmp_path / "new"), "machine", "create", "--from", str(file)]) == 0
    assert main(["--simulate", str(host.root), "capture"]) == 0
    assert re.search(r'"format": "vfiostate-machine"', capsys.readouterr().out)


def test_a_capture_takes_the_place_of_an_older_one_and_of_nothing_else(
    fresh: Fresh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim, file = tmp_path / "victim", tmp_path / "machine.json"
    victim.write_text("mine")
    file.symlink_to(victim)
    command = ["--simulate", str(fresh("article").root), "capture", "-o", str(file)]
    assert main(command) == 5
    assert "--force" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    assert victim.read_text() == "mine"
    assert not file.is_symlink()
    assert main(command) == 0
    file.write_text("mine")
    assert main(command) == 5
    assert file.read_text() == "mine"


def test_the_address_of_a_usb_controller_is_no_serial_though_its_root_hub_says_so(fresh: Fresh) -> None:
    host = fresh("debian12-lab")
    hub = host.local("/sys/bus/usb/devices/usb1")
    hub.mkdir(parents=True)
    (hub / "serial").write_text("0000:02:00.0\n")
    assert "0000:02:00.0" in {one.address for one in capture(host).functions}
    assert redact.for_host(host).text("0000:02:00.0 is free") == "0000:02:00.0 is free"
