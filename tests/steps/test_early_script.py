"""The script that takes devices by their addresses, run by real shells with nothing but their own words."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from journal.errors import UsageError
from steps.config import Device, Stub
from steps.early_script import CALL, script

SETUP = "0123456789ab"
CARD, TWIN, FAR = "0000:02:00.0", "0000:01:00.0", "10000:e1:00.0"
DEVICES = (Device(CARD, "10de:1b80"), Device(FAR, "144D:a808"))
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
TOKEN = f"root=/dev/sda1 vfiostate.setup={SETUP} quiet"


class Machine:
    """sysfs and proc in a directory, as far as the script looks at them."""

    def __init__(self, root: Path, cmdline: str = TOKEN) -> None:
        self.root = root
        for path, text in {"proc/cmdline": f"{cmdline}\n", "sys/bus/pci/drivers_probe": ""}.items():
            (root / path).parent.mkdir(parents=True)
            (root / path).write_text(text)
        for address, id_ in ((CARD, "10de:1b80"), (TWIN, "10de:1b80"), (FAR, "144d:a808")):
            self.add(address, id_)

    def place(self, address: str) -> Path:
        """The directory of a function."""
        return self.root / "sys/bus/pci/devices" / address

    def add(self, address: str, id_: str) -> None:
        """A function without a driver."""
        place = self.place(address)
        place.mkdir(parents=True, exist_ok=True)
        for name, text in zip(("vendor", "device"), (f"0x{part}\n" for part in id_.split(":")), strict=True):
            (place / name).write_text(text)
        (place / "driver_override").write_text("(null)\n")

    def run(self, shell: str, stub: Stub = Stub.VFIO_PCI, subsystems: Mapping[str, str] = {}) -> str:
        """Source the script with IFS as nobody would expect it, in a shell that goes on afterwards; what it said."""
        text = (
            script(SETUP, stub, DEVICES, subsystems)
            + b"\n"
            + CALL.replace(b"/sys /proc", f"{self.root}/sys {self.root}/proc".encode())
        )
        argv = [shutil.which(shell) or shell, *(["sh"] if shell == "busybox" else [])]
        done = subprocess.run(
            argv,
            input=b"set -u\nIFS=,:\n" + text + b"echo went on\n",
            capture_output=True,
            env={"PATH": "/nonexistent"},
            check=True,
        )
        assert done.stdout == b"went on\n"
        return done.stderr.decode()

    def overrides(self) -> dict[str, str]:
        """What was written."""
        places = {address: self.place(address) / "driver_override" for address in (CARD, TWIN, FAR)}
        return {address: place.read_text().strip() for address, place in places.items() if place.exists()}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    """Each shell there is."""
    return str(request.param)


@pytest.mark.parametrize("stub", list(Stub))
def test_the_named_addresses_are_reserved_and_the_twin_is_not(shell: str, stub: Stub, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.run(shell, stub) == ""
    assert machine.overrides() == {CARD: stub.value, TWIN: "(null)", FAR: stub.value}
    assert (tmp_path / "sys/bus/pci/drivers_probe").read_text() == ""


@pytest.mark.parametrize(
    "words", ["root=/dev/sda1 ro single", f"x=vfiostate.setup={SETUP}", f"vfiostate.setup={SETUP}0", ""]
)
def test_a_boot_without_the_setup_s_token_is_left_alone(shell: str, words: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path, words)
    machine.run(shell)
    assert set(machine.overrides().values()) == {"(null)"}


def test_an_address_that_is_another_device_now_is_left_alone(shell: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.add(CARD, "8086:1533")
    machine.run(shell)
    assert machine.overrides() == {CARD: "(null)", TWIN: "(null)", FAR: "vfio-pci"}


@pytest.mark.parametrize("taken", [True, False])
def test_an_address_that_is_the_twin_s_now_is_left_alone(shell: str, taken: bool, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for name, text in {"subsystem_vendor": "0x1462\n", "subsystem_device": "0xaaaa\n"}.items():
        (machine.place(CARD) / name).write_text(text)
    assert machine.run(shell, subsystems={CARD: "1462:aaaa" if taken else "1462:bbbb"}) == ""
    assert machine.overrides() == {CARD: "vfio-pci" if taken else "(null)", TWIN: "(null)", FAR: "vfio-pci"}


def test_an_address_at_which_there_is_nothing_is_passed_over(shell: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    shutil.rmtree(machine.place(CARD))
    assert machine.run(shell) == ""
    assert machine.overrides()[FAR] == "vfio-pci"


def test_a_kernel_without_driver_override_is_left_alone(shell: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    (machine.place(CARD) / "driver_override").unlink()
    machine.run(shell)
    assert not (machine.place(CARD) / "driver_override").exists()


def test_a_device_that_has_a_driver_already_keeps_it(shell: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    (tmp_path / "sys/bus/pci/drivers/nouveau").mkdir(parents=True)
    (machine.place(CARD) / "driver").symlink_to("../../drivers/nouveau")
    machine.run(shell)
    assert machine.overrides()[CARD] == "(null)"


def test_a_stub_driver_that_is_there_already_is_offered_the_device(shell: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    (tmp_path / "sys/bus/pci/drivers/vfio-pci").mkdir(parents=True)
    machine.run(shell)
    assert (tmp_path / "sys/bus/pci/drivers_probe").read_text() == f"{FAR}\n"


@pytest.mark.parametrize("device", [Device("0000:02:00.0; reboot", "10de:1b80"), Device(CARD, "$(id)")])
def test_nothing_but_addresses_and_ids_gets_into_the_script(device: Device) -> None:
    with pytest.raises(UsageError):
        script(SETUP, Stub.VFIO_PCI, (device,))
