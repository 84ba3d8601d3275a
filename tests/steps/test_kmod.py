"""What kmod's answers mean. The texts are those of kmod 30 on Debian 12."""

from __future__ import annotations

import pytest

from journal.errors import VfiostateError
from steps.kmod import ModuleState, ask, loaded, module_of_driver, resolve_alias
from tests.support.memory_host import Link, MemoryHost, completed

RELEASE = "6.1.0-test"
TREE = f"/lib/modules/{RELEASE}/kernel/drivers/vfio"
VFIO_PCI = (
    f"insmod {TREE}/vfio.ko \ninsmod {TREE}/vfio.ko \ninsmod {TREE}/pci/vfio-pci-core.ko \n"
    f"insmod {TREE}/pci/vfio-pci.ko \n"
)


def argv(name: str, release: str = RELEASE) -> tuple[str, ...]:
    return ("modprobe", "-S", release, "-n", "-q", "--show-depends", name)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (VFIO_PCI, ModuleState.LOADABLE),
        (f"insmod {TREE}/pci/vfio-pci.ko.xz \n", ModuleState.LOADABLE),
        (f"insmod {TREE}/vfio_pci.ko.zst disable_vga=1\n", ModuleState.LOADABLE),
        ("builtin vfio_pci\n", ModuleState.BUILT_IN),
        (f"insmod {TREE}/irqbypass.ko \nbuiltin vfio_pci\n", ModuleState.BUILT_IN),
        ("", ModuleState.BUILT_IN),
        ("install /bin/false\n", ModuleState.ABSENT),
        (f"insmod {TREE}/vfio.ko \ninstall /sbin/modprobe --ignore-install vfio-pci\n", ModuleState.LOADABLE),
    ],
)
@pytest.mark.parametrize("spelling", ["vfio-pci", "vfio_pci"])
def test_the_answer_of_show_depends_is_understood(text: str, state: ModuleState, spelling: str) -> None:
    assert ask(MemoryHost({}, answers={argv("vfio_pci"): text}), spelling, RELEASE) is state


def test_a_module_kmod_does_not_find_is_absent() -> None:
    host = MemoryHost({}, answers={"modprobe": completed(("modprobe",), status=1)})
    assert ask(host, "vfio_virqfd", RELEASE) is ModuleState.ABSENT


def test_loaded_is_said_of_the_running_kernel_only() -> None:
    host = MemoryHost(
        {"/proc/modules": b"vfio_pci 16384 0 - Live 0x0\nkvm 1 2 kvm_amd, Live 0x0\n"},
        answers={argv("vfio_pci", "6.2.0-other"): VFIO_PCI},
    )
    assert loaded(host) == {"vfio_pci", "kvm"}
    assert ask(host, "vfio-pci", RELEASE) is ModuleState.LOADED
    assert ask(host, "vfio-pci", "6.2.0-other") is ModuleState.LOADABLE


def test_without_kmod_nothing_is_claimed() -> None:
    with pytest.raises(VfiostateError, match="modprobe was not found"):
        ask(MemoryHost({}), "vfio_pci", RELEASE)


def test_a_modprobe_that_hangs_is_an_error_with_a_hint() -> None:
    def hang(argv: tuple[str, ...], stdin: bytes) -> None:
        raise TimeoutError

    with pytest.raises(VfiostateError, match="did not answer") as caught:
        ask(MemoryHost({}, answer=hang), "vfio_pci", RELEASE)
    assert caught.value.hint


def test_an_alias_gives_every_module_once() -> None:
    query = ("modprobe", "-S", RELEASE, "-n", "-q", "--resolve-alias", "pci:v1234")
    host = MemoryHost({}, answers={query: "bochs\nbochs\nxhci-pci\n"})
    assert resolve_alias(host, "pci:v1234", RELEASE) == ("bochs", "xhci_pci")


def test_the_module_of_a_driver_may_have_another_name() -> None:
    host = MemoryHost({"/sys/bus/pci/drivers/bochs-drm/module": Link("../../../../module/bochs")})
    assert module_of_driver(host, "bochs-drm") == "bochs"
    assert module_of_driver(host, "pcieport") is None
