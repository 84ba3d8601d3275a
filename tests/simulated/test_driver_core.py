"""The driver core's invariants under any sequence of writes, module loads and reboots."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.hosts.simulated import description, drivers
from engine.hosts.simulated.host import SimulatedHost

ADDRESSES = ("0000:01:00.0", "0000:01:00.1", "0000:02:00.0", "0000:03:00.0", "0000:00:04.0")
NAMES = ("vfio-pci", "pci-stub", "bochs-drm", "snd_hda_intel", "xhci_hcd", "e1000e", "pcieport")
IDS = ("1234 1111", "8086 2668", "1b36 000d", "8086 10d3", "rubbish")
MODULES = ("vfio-pci", "pci_stub", "bochs", "snd_hda_intel", "xhci_pci", "e1000e")
DEVICES, DRIVERS = "/sys/bus/pci/devices", "/sys/bus/pci/drivers"
# Nothing else may come out of these writes on any kernel.
LEGAL = {errno.ENODEV, errno.EBUSY, errno.EINVAL, errno.EEXIST, errno.ENOENT}

_original: list[tempfile.TemporaryDirectory[str]] = []


def original() -> Path:
    """A machine to copy, made once; removed when the interpreter ends."""
    if not _original:
        _original.append(tempfile.TemporaryDirectory(prefix="vfiostate-core-"))
        SimulatedHost.create(Path(_original[0].name) / "machine", description.find("debian12-lab"))
    return Path(_original[0].name) / "machine"


class DriverCore(RuleBasedStateMachine):
    """Any writes to any attributes, beside a model that knows only who may hold what."""

    @initialize()
    def boot(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="vfiostate-core-")) / "machine"
        shutil.copytree(original(), self.directory, symlinks=True)
        self.host = SimulatedHost(self.directory)

    def teardown(self) -> None:
        shutil.rmtree(self.directory.parent, ignore_errors=True)

    def holder(self, address: str) -> str | None:
        return drivers.driver_of(self.host.machine, address)

    def write(self, path: str, value: str) -> int:
        try:
            self.host.write_attribute(path, value, timeout=1)
        except OSError as error:
            assert error.errno in LEGAL, error
            return error.errno or 0
        return 0

    @rule(driver=st.sampled_from(NAMES), address=st.sampled_from(ADDRESSES))
    def unbind(self, driver: str, address: str) -> None:
        before = self.holder(address)
        answer = self.write(f"{DRIVERS}/{driver}/unbind", address)
        assert (answer == 0) == (before == driver)
        if answer == 0:
            assert self.holder(address) is None

    @rule(driver=st.sampled_from(NAMES), address=st.sampled_from(ADDRESSES))
    def bind(self, driver: str, address: str) -> None:
        before = self.holder(address)
        answer = self.write(f"{DRIVERS}/{driver}/bind", address)
        assert self.holder(address) == (driver if answer == 0 else before)

    @rule(driver=st.sampled_from([*NAMES, "nosuch", "\n", ""]), address=st.sampled_from(ADDRESSES))
    def override(self, driver: str, address: str) -> None:
        before = self.holder(address)
        assert self.write(f"{DEVICES}/{address}/driver_override", driver) == 0
        assert self.holder(address) == before
        if driver:
            assert drivers.override_of(self.host.machine, address) == (driver.strip() or None)

    @rule(address=st.sampled_from(ADDRESSES))
    def probe(self, address: str) -> None:
        before = self.holder(address)
        assert self.write("/sys/bus/pci/drivers_probe", address) == 0
        assert before is None or self.holder(address) == before

    @rule(driver=st.sampled_from(NAMES), value=st.sampled_from(IDS))
    def new_id(self, driver: str, value: str) -> None:
        before = {address: self.holder(address) for address in ADDRESSES}
        self.write(f"{DRIVERS}/{driver}/new_id", value)
        for address, held in before.items():
            assert held is None or self.holder(address) == held
            assert self.holder(address) in (held, driver)

    @rule(driver=st.sampled_from(NAMES), value=st.sampled_from(IDS))
    def remove_id(self, driver: str, value: str) -> None:
        before = [self.holder(address) for address in ADDRESSES]
        self.write(f"{DRIVERS}/{driver}/remove_id", value)
        assert [self.holder(address) for address in ADDRESSES] == before

    @rule(module=st.sampled_from(MODULES))
    def load(self, module: str) -> None:
        assert self.host.run(["modprobe", module], timeout=5).ok

    @rule(module=st.sampled_from(MODULES))
    def unload(self, module: str) -> None:
        self.host.run(["modprobe", "-r", module], timeout=5)

    @precondition(lambda self: self.host is not None)
    @rule()
    def open_again(self) -> None:
        self.host = SimulatedHost(self.directory)

    @invariant()
    def links_are_symmetric_and_overrides_hold(self) -> None:
        machine = self.host.machine
        for address in ADDRESSES:
            held = self.holder(address)
            holding = [name for name in machine.names(DRIVERS) if address in machine.names(f"{DRIVERS}/{name}")]
            assert holding == ([held] if held else [])
            uevent = machine.text(f"{DEVICES}/{address}/uevent")
            assert uevent.startswith(f"DRIVER={held}\n") == (held is not None)

    @invariant()
    def vfio_nodes_are_those_of_the_groups_that_vfio_holds(self) -> None:
        held = {
            drivers.group_of(self.host.machine, address)
            for address in drivers.addresses(self.host.machine)
            if self.holder(address) == "vfio-pci"
        }
        assert set(self.host.machine.names("/dev/vfio")) - {"vfio"} == held

    @invariant()
    def a_driver_is_there_exactly_while_its_module_is(self) -> None:
        loaded = self.host.machine.text("/proc/modules")
        for driver, module in (("vfio-pci", "vfio_pci"), ("xhci_hcd", "xhci_pci")):
            assert (self.host.lstat(f"{DRIVERS}/{driver}") is not None) == (f"{module} " in loaded)


TestDriverCore = DriverCore.TestCase
TestDriverCore.settings = settings(
    max_examples=10, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
