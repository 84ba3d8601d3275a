"""The script that binds at boot, run by the real sh against a small model of the kernel: attributes are pipes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from journal.errors import UsageError
from steps.bind_script import script, unit
from steps.config import Device

GPU, AUDIO = "0000:03:00.0", "10000:03:00.1"
DEVICES = (Device(GPU, "10de:1200"), Device(AUDIO, "10DE:0e0c"))
SETUP = "0123456789ab"
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


@dataclass(slots=True)
class Kernel:
    """sysfs below a directory. `log` is every write, in order; a driver in `deaf` never answers an unbind."""

    root: Path
    modern: bool = True
    deaf: frozenset[str] = frozenset()
    log: list[tuple[str, str]] = field(default_factory=list)

    @property
    def pci(self) -> Path:
        return self.root / "bus/pci"

    def add(self, address: str, id_: str, driver: str | None) -> None:
        """A function, held by a driver."""
        place = self.pci / "devices" / address
        place.mkdir(parents=True)
        vendor, device = id_.split(":")
        (place / "vendor").write_text(f"0x{vendor}\n")
        (place / "device").write_text(f"0x{device}\n")
        if self.modern:
            self._pipe(place / "driver_override")
        for name in (driver, "vfio-pci"):
            folder = self.pci / "drivers" / (name or "vfio-pci")
            folder.mkdir(parents=True, exist_ok=True)
            for attribute in ("bind", "unbind", "new_id"):
                self._pipe(folder / attribute)
        self._pipe(self.pci / "drivers_probe")
        if driver is not None:
            (place / "driver").symlink_to(f"../../drivers/{driver}")

    def driver(self, address: str) -> str | None:
        """Who holds it."""
        link = self.pci / "devices" / address / "driver"
        return link.readlink().name if link.is_symlink() else None

    def _pipe(self, path: Path) -> None:
        if not path.exists():
            os.mkfifo(path)

    def wrote(self, path: Path, value: str) -> None:
        """What a write does, as far as the script needs it."""
        self.log.append((str(path.relative_to(self.pci)), value))
        if path.name == "unbind":
            (self.pci / "devices" / value / "driver").unlink()
        elif path.name in ("drivers_probe", "bind"):
            (self.pci / "devices" / value / "driver").symlink_to("../../drivers/vfio-pci")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Answer writes until the end."""
        stop = threading.Event()
        pipes = {os.open(pipe, os.O_RDWR | os.O_NONBLOCK): pipe for pipe in self._answering()}

        def serve() -> None:
            import select

            ended = False
            while not ended:
                ended = stop.is_set()  # what was written before that is still answered
                for ready in select.select(list(pipes), [], [], 0.02)[0]:
                    for line in os.read(ready, 4096).decode().splitlines():
                        self.wrote(pipes[ready], line)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            for descriptor in pipes:
                os.close(descriptor)
            for pipe in self._pipes():
                # Lets go of a child that still waits to write to a driver that does not answer.
                os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))

    def _answering(self) -> list[Path]:
        """In the order in which what waits in several of them is answered: a device is free before it is bound."""
        heard = [pipe for pipe in self._pipes() if not (pipe.name == "unbind" and pipe.parent.name in self.deaf)]
        return sorted(heard, key=lambda pipe: pipe.name in ("bind", "drivers_probe"))

    def _pipes(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if path.is_fifo()]


def run(
    kernel: Kernel,
    shell: str,
    patience: float = 5.0,
    devices: Sequence[Device] = DEVICES,
    subsystems: Mapping[str, str] = {},
) -> str:
    """Run the script; what it says. It must end well whatever happens."""
    path = kernel.root.parent / "vfiostate-bind"
    diary = kernel.root.parent / "diary"
    text = script(SETUP, devices, patience, subsystems)
    path.write_bytes(text.replace(b"\nput() {\n", f'\nput() {{\n    echo "$2=$1" >>{diary}\n'.encode()))
    argv = ["busybox", "sh"] if shell == "busybox" else [shell]
    with kernel.running():
        ran = subprocess.run(
            [*argv, str(path), str(kernel.root)], capture_output=True, text=True, timeout=60, check=False
        )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ""
    # On a busy machine several writes wait in their pipes at once; the diary has them as the script came to them.
    asked = [line.split("=", 1) for line in diary.read_text().splitlines()] if diary.exists() else []
    order = [(str(Path(file).relative_to(kernel.pci)), value) for file, value in asked]
    kernel.log.sort(key=order.index)
    return ran.stderr


def kernel(tmp_path: Path, *, modern: bool = True, deaf: frozenset[str] = frozenset()) -> Kernel:
    made = Kernel(tmp_path / "sys", modern, deaf)
    made.add(GPU, "10de:1200", "nouveau")
    made.add(AUDIO, "10de:0e0c", "snd_hda_intel")
    return made


@pytest.mark.parametrize("shell", SHELLS)
def test_an_address_that_is_the_twin_s_now_is_left_alone(tmp_path: Path, shell: str) -> None:
    model = kernel(tmp_path)
    for address in (GPU, AUDIO):
        for name, text in {"subsystem_vendor": "0x1462\n", "subsystem_device": "0xaaaa\n"}.items():
            (model.pci / "devices" / address / name).write_text(text)
    said = run(model, shell, subsystems={GPU: "1462:bbbb", AUDIO: "1462:aaaa"})
    assert f"{GPU} is of the subsystem 1462:aaaa, expected 1462:bbbb: left alone" in said
    assert (model.driver(GPU), model.driver(AUDIO)) == ("nouveau", "vfio-pci")


@pytest.mark.parametrize("shell", SHELLS)
def test_all_are_unbound_then_overridden_and_probed(tmp_path: Path, shell: str) -> None:
    model = kernel(tmp_path)
    run(model, shell)
    assert model.log == [
        ("drivers/nouveau/unbind", GPU),
        ("drivers/snd_hda_intel/unbind", AUDIO),
        (f"devices/{GPU}/driver_override", "vfio-pci"),
        ("drivers_probe", GPU),
        (f"devices/{AUDIO}/driver_override", "vfio-pci"),
        ("drivers_probe", AUDIO),
    ]
    assert (model.driver(GPU), model.driver(AUDIO)) == ("vfio-pci", "vfio-pci")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_kernel_without_driver_override_is_told_the_id(tmp_path: Path, shell: str) -> None:
    model = kernel(tmp_path, modern=False)
    run(model, shell)
    assert ("drivers/vfio-pci/new_id", "10de 1200") in model.log and ("drivers/vfio-pci/bind", GPU) in model.log


@pytest.mark.parametrize("shell", SHELLS)
def test_another_device_at_the_address_is_not_touched(tmp_path: Path, shell: str) -> None:
    model = kernel(tmp_path)
    (model.pci / "devices" / GPU / "device").write_text("0x1b80\n")
    said = run(model, shell)
    assert f"{GPU} is 10de:1b80, expected 10de:1200: left alone" in said
    assert model.driver(GPU) == "nouveau" and model.driver(AUDIO) == "vfio-pci"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_device_that_is_gone_is_said_and_no_failure(tmp_path: Path, shell: str) -> None:
    model = kernel(tmp_path)
    shutil.rmtree(model.pci / "devices" / GPU)
    assert f"{GPU} is not there, expected 10de:1200" in run(model, shell)
    assert model.driver(AUDIO) == "vfio-pci"


@pytest.mark.parametrize("shell", SHELLS)
def test_what_vfio_pci_holds_is_left_alone(tmp_path: Path, shell: str) -> None:
    model = Kernel(tmp_path / "sys")
    model.add(GPU, "10de:1200", "vfio-pci")
    model.add(AUDIO, "10de:0e0c", "vfio-pci")
    assert run(model, shell) == "" and model.log == []


@pytest.mark.parametrize("shell", SHELLS)
def test_an_unbind_that_hangs_does_not_hang_the_boot(tmp_path: Path, shell: str) -> None:
    model = kernel(tmp_path, deaf=frozenset({"nouveau"}))
    said = run(model, shell, patience=1.0)
    assert "nouveau/unbind hangs" in said and f"nouveau does not let go of {GPU}" in said
    assert (model.driver(GPU), model.driver(AUDIO)) == ("nouveau", "vfio-pci")
    assert not [path for path, value in model.log if GPU in path or value == GPU]


@pytest.mark.parametrize(
    "device",
    [Device("0000:03:00.0; reboot", "10de:1200"), Device("0000:03:00.0", "$(reboot)"), Device("'", "10de:1200")],
)
def test_nothing_but_addresses_and_ids_gets_into_a_script_that_root_runs(device: Device) -> None:
    with pytest.raises(UsageError):
        script(SETUP, (device,), 30)


def test_the_unit_outlasts_the_scripts_patience_and_carries_the_setup() -> None:
    text = unit(SETUP, 4, 30.0).decode()
    assert "TimeoutStartSec=450" in text and SETUP in text and not re.search("@[A-Z]+@", text)
    assert "ExecStart=/usr/local/sbin/vfiostate-bind\n" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "vfiostate-bind.service"
    path.write_bytes(unit(SETUP, 2, 30.0).replace(b"/usr/local/sbin/vfiostate-bind", b"/bin/true"))
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(path)]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert "vfiostate-bind.service" not in ran.stderr, ran.stderr
