"""The race for a device in early boot: which native modules would take it, and the softdeps that let the stub go first.

udev loads a native module as soon as it sees the device, before the modules listed for the initramfs are loaded; a
softdep makes modprobe load the stub driver first. It names modules, not drivers: xhci_hcd comes from xhci_pci. Ours
hides the one that was in force for a module (r8169 brings `pre: realtek` itself), so it says what that one said, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from steps import kmod, modprobe_d
from steps.base import Finding, Host, Severity
from steps.config import Stub
from steps.kmod import ModuleState
from steps.modprobe_d import Softdep
from steps.pci import Function

# Of several softdeps of a module modprobe heeds the first, in the order of the files' names.
CONF = "/etc/modprobe.d/00-vfiostate.conf"
# Its name in setups that were made by 0.1.0.
FORMER = "/etc/modprobe.d/vfiostate.conf"
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


def in_force(
    host: Host, modules: Sequence[str], release: str, *, besides: Sequence[str] = (CONF, FORMER)
) -> Mapping[str, Softdep]:
    """The softdeps that modprobe heeds of these modules; without ours, where nothing else is said."""
    found = {module: modprobe_d.softdep(host, module, release, besides=besides) for module in modules}
    return {module: softdep for module, softdep in found.items() if softdep is not None}


def not_after(stub: Stub, modules: Sequence[str], heeded: Mapping[str, Softdep]) -> tuple[str, ...]:
    """Those of these modules that are loaded without the stub driver before them."""
    return tuple(module for module in modules if module not in heeded or not _names(heeded[module], stub))


def _names(softdep: Softdep, stub: Stub) -> bool:
    return stub_module(stub) in map(kmod.normal, softdep.pre)


def conf(setup: str, stub: Stub, modules: Sequence[str], others: Mapping[str, Softdep]) -> bytes:
    """The content of our file in modprobe.d; `others` are the softdeps that it hides."""
    lines = [
        f"# vfiostate {setup}: {stub.value} takes its devices before their native drivers are loaded.",
        *(_line(module, stub_module(stub), others.get(module, Softdep(""))) for module in modules),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _line(module: str, stub: str, other: Softdep) -> str:
    pre = [stub, *(each for each in other.pre if kmod.normal(each) != stub)]
    post = [each for each in other.post if kmod.normal(each) != stub]
    return " ".join((f"softdep {module} pre:", *pre, *(("post:", *post) if post else ())))


def about_order(stub: Stub, others: Mapping[str, Softdep]) -> Iterator[Finding]:
    """Softdeps that hide ours: their file comes before it, and they do not name the stub driver."""
    etc, _, name = CONF.rpartition("/")
    for module, other in others.items():
        folder, _, theirs = other.path.rpartition("/")
        if theirs < name and not _names(other, stub):
            # modprobe.d(5): of two files of one name, that in /etc alone is read.
            own = (
                f"Copy it to {etc}/{theirs}, which is read in its place, and add {stub_module(stub)} to its pre: there"
            )
            yield Finding(
                "softdep-hidden",
                Severity.REFUSAL,
                f"modprobe heeds one softdep of {module}, that of {other.path}: it comes before {CONF}.",
                (f"{other.path}: softdep {module} without pre: {stub_module(stub)}",),
                f"{f'Give it a name that comes after {name}' if folder == etc else own}, then try again.",
            )
