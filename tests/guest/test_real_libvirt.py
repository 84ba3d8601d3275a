"""Our domain against the libvirt installed here: its schema, its parser, and what its QEMU driver makes of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from steps.guest.libvirt_xml import domain
from steps.guest.qemu_command import command
from tests.guest.support import DEVICES, QEMU_7, order
from tests.guest.test_libvirt_xml import BINARY, GUESTS, places

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/nonexistent"}
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("virsh") is None, reason="virsh is not installed (libvirt-clients)"),
]


def run(*argv: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run a command of libvirt."""
    return subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, timeout=timeout, check=False)


@pytest.fixture(params=list(GUESTS))
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The name of a guest, and its domain in a file."""
    path = tmp_path / "guest.xml"
    path.write_bytes(domain(order(GUESTS[request.param]), BINARY))
    return request.param, path


@pytest.mark.skipif(
    None in (shutil.which("virt-xml-validate"), shutil.which("xmllint")),
    reason="virt-xml-validate or xmllint is not installed (libvirt-clients, libxml2-utils)",
)
def test_libvirts_schema_takes_every_domain(written: tuple[str, Path]) -> None:
    done = run("virt-xml-validate", str(written[1]), "domain")
    assert done.returncode == 0, done.stderr


def test_libvirts_parser_takes_every_domain_and_keeps_its_uuid(written: tuple[str, Path]) -> None:
    _, path = written
    done = run("virsh", "-c", "test:///default", f"define {path}; domuuid {GUESTS[written[0]].name}")
    assert done.returncode == 0, done.stderr
    match = re.search(r"<uuid>(.*)</uuid>", path.read_text())
    assert match is not None and match[1] in done.stdout


@pytest.fixture
def embedded() -> Iterator[str]:
    """The address of a QEMU driver within virsh itself, its files below a directory; skips where none comes up.

    The directory's name is short: sockets lie below it, and an address holds 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="v", dir="/tmp") as directory:
        # QEMU is asked what it can do as libvirt's own account, which may not come in here.
        settings = Path(directory) / "etc/qemu.conf"
        settings.parent.mkdir()
        settings.write_text('user = "root"\ngroup = "root"\n')
        address = f"qemu:///embed?root={directory}"
        done = run("virsh", "-c", address, "version")
        if done.returncode != 0:
            pytest.skip(f"libvirt's QEMU driver does not come up here: {done.stderr.strip().splitlines()[-1]}")
        yield address


@pytest.mark.skipif(os.geteuid() != 0, reason="libvirt's QEMU driver is asked as root")
@pytest.mark.skipif(not os.path.exists(BINARY), reason="qemu-system-x86_64 is not installed")
@pytest.mark.parametrize("name", ["emulated", "many disks", "placed"])
def test_libvirts_qemu_driver_puts_the_devices_where_we_do(name: str, embedded: str, tmp_path: Path) -> None:
    path = tmp_path / "guest.xml"
    text = domain(order(GUESTS[name]), BINARY).decode()
    path.write_text(text.replace('type="kvm"', 'type="qemu"').replace("host-passthrough", "maximum"))
    done = run("virsh", "-c", embedded, "domxml-to-native", "qemu-argv", str(path))
    assert done.returncode == 0, done.stderr
    assert places_of_json(done.stdout) == places(command(order(GUESTS[name]), QEMU_7))
    huge = re.findall(r"-object '(\{[^']*\"memory-backend-memfd\"[^']*\})'", done.stdout)
    kept = [{key: json.loads(one).get(key) for key in ("hugetlb", "hugetlbsize", "prealloc")} for one in huge]
    assert kept == [{"hugetlb": True, "hugetlbsize": 2 << 20, "prealloc": True}] * (name == "placed")
    assert ('"x-vga":true' in done.stdout) == any(device.x_vga for device in DEVICES)


def places_of_json(line: str) -> dict[str, str]:
    """The same of libvirt's command line, whose devices are in JSON."""
    found = [json.loads(one) for one in re.findall(r"-device '(\{.*?\})'", line)]
    return places(tuple(_word(one) for one in found))


def _word(device: dict[str, object]) -> str:
    slot, _, function = str(device.get("addr", "0")).partition(".")
    place = f"bus={device.get('bus')},addr={int(slot, 16):x}.{int(function or '0', 16):x}"
    head = f"{device['driver']},host={device['host']}" if "host" in device else str(device["driver"])
    several = ",multifunction=on" if device.get("multifunction") else ""
    return f"{head},id={device.get('id')},{place}{several}"
