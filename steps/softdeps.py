"""The race for a device in early boot: which native modules would take it, and the softdeps that let the stub go first.

udev loads a native module as soon as it sees the device, before the modules listed for the initramfs are loaded; a
softdep makes modprobe load the stub driver first. It names modules, not drivers: xhci_hcd comes from xhci_pci.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps import kmod
from steps.base import Host
from steps.config import Stub
from steps.kmod import ModuleState
from steps.pci import Function

CONF = "/etc/modprobe.d/vfiostate.conf"
_IN_KERNEL = frozenset({ModuleState.LOADABLE, ModuleState.LOADED})
STUB_MODULES = {
    Stub.VFIO_PCI: ("vfio", "vfio_iommu_type1", "vfio_pci"),
    Stub.PCI_STUB: ("pci_stub",),
}
_STUBS = frozenset({"vfio_pci", "pci_stub"})


@dataclass(frozen=True, slots=True)
class Native:
    """A module that would take a device, and what it is in the kernel that will boot."""

    module: str
    state: ModuleState


def natives(host: Host, function: Function, release: str) -> tuple[Native, ...]:
    """The native modules of a function: those its modalias names, and the one of the driver that has it now."""
    names = list(kmod.resolve_alias(host, function.modalias, release)) if function.modalias else []
    built_in = None
    if function.driver is not None:
        bound = kmod.module_of_driver(host, function.driver)
        # A driver without a module link is part of the kernel itself.
        built_in = kmod.normal(function.driver) if bound is None else None
        names += [bound or kmod.normal(function.driver)]
    found = []
    for name in dict.fromkeys(names):
        if name in _STUBS:
            continue
        state = ModuleState.BUILT_IN if name == built_in else kmod.ask(host, name, release)
        found.append(Native(name, state))
    return tuple(found)


def stub_module(stub: Stub) -> str:
    """The module of a stub driver: vfio-pci is vfio_pci."""
    return stub.value.replace("-", "_")


def loadable(state: ModuleState) -> bool:
    """Whether a module is a file that is loaded, rather than part of the kernel or missing."""
    return state in _IN_KERNEL


def needed(found: Sequence[Native]) -> tuple[str, ...]:
    """The native modules that need a softdep: those that are loaded, each once."""
    return tuple(dict.fromkeys(native.module for native in found if loadable(native.state)))


def conf(setup: str, stub: Stub, modules: Sequence[str]) -> bytes:
    """The content of our file in modprobe.d."""
    lines = [
        f"# vfiostate {setup}: {stub.value} takes its devices before their native drivers are loaded.",
        *(f"softdep {module} pre: {stub_module(stub)}" for module in modules),
    ]
    return "".join(f"{line}\n" for line in lines).encode()
