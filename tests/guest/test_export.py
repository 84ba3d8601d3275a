"""The guest written for other tools: libvirt's schema takes it, and it has every device where ours has it."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from engine.cli import main
from engine.hosts.simulated import SimulatedHost
from journal.errors import Exit
from steps.guest.libvirt_xml import domain, exported
from steps.guest.qemu_command import command
from steps.guest.qemu_command import exported as exported_command
from tests.guest.support import DEVICES, QEMU_1_5, QEMU_7, order
from tests.guest.test_guest_commands import EXAMPLE
from tests.guest.test_libvirt_xml import BINARY, GUESTS, places


@pytest.mark.skipif(
    None in (shutil.which("virt-xml-validate"), shutil.which("xmllint")),
    reason="virt-xml-validate or xmllint is not installed (libvirt-clients, libxml2-utils)",
)
@pytest.mark.parametrize("name", GUESTS)
def test_libvirts_schema_takes_every_exported_domain(name: str, tmp_path: Path) -> None:
    path = tmp_path / "guest.xml"
    path.write_bytes(exported(order(GUESTS[name]), BINARY))
    argv = ("virt-xml-validate", str(path), "domain")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", GUESTS)
def test_an_exported_domain_is_not_taken_for_ours_and_its_taps_are_libvirts(name: str) -> None:
    ours = ElementTree.fromstring(domain(order(GUESTS[name]), BINARY))
    found = ElementTree.fromstring(exported(order(GUESTS[name]), BINARY))
    assert found.find("uuid") is None
    assert "vfiostate" not in ElementTree.tostring(found, encoding="unicode")
    for network, interface in zip(GUESTS[name].networks, found.iterfind("devices/interface"), strict=True):
        assert interface.get("type") == ("bridge" if network.bridge else "ethernet")
        assert interface.find("target") is None
    passed = [ElementTree.tostring(one) for one in ours.iterfind("devices/hostdev")]
    assert len(passed) == len(DEVICES)
    assert [ElementTree.tostring(one) for one in found.iterfind("devices/hostdev")] == passed


@pytest.mark.parametrize("found", [QEMU_7, QEMU_1_5], ids=["7.2", "1.5"])
@pytest.mark.parametrize("name", ["the article", "UEFI", "many disks"])
def test_an_exported_command_has_the_devices_and_needs_no_socket_of_ours(name: str, found: object) -> None:
    assert dataclasses.is_dataclass(found)
    words = exported_command(order(GUESTS[name]), found)  # type: ignore[arg-type]
    assert places(words) == places(command(order(GUESTS[name]), found))  # type: ignore[arg-type]
    assert not {"-chardev", "-mon"} & set(words)
    assert words[words.index("-runas") + 1] == "nobody"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The article's machine with the example in place."""
    SimulatedHost.create_if_missing(tmp_path / "machine")
    (tmp_path / "machine/etc/vfiostate.toml").write_bytes(EXAMPLE.read_bytes())
    (tmp_path / "machine/etc/vfiostate.toml").chmod(0o644)
    return tmp_path / "machine"


def test_both_forms_are_written_before_anything_is_set_up(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--simulate", str(machine), "guest", "export", "--libvirt"]) == Exit.DONE
    xml = ElementTree.fromstring(capsys.readouterr().out)
    assert len(list(xml.iterfind("devices/hostdev"))) == len(DEVICES)
    assert main(["--simulate", str(machine), "guest", "export", "--qemu"]) == Exit.DONE
    words = tuple(shlex.split(capsys.readouterr().out))
    assert sum(word.startswith("vfio-pci,") for word in words) == len(DEVICES)
    assert main(["--simulate", str(machine), "guest", "export"]) == Exit.USAGE
