"""Whether a function can be reset, so that the next guest, and the host, find it as after power-on.

Sources: reset and reset_method in Documentation/ABI/testing/sysfs-bus-pci (reset_method since 5.15);
pci_reset_fn_methods in drivers/pci/pci.c; vfio_pci_dev_set_hot_reset in drivers/vfio/pci/vfio_pci_core.c: where one
guest has every function of a bus, they are reset together by the bridge above them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from steps.base import Finding, Severity
from steps.pci import DEVICES, Function, Listed


def ways(function: Function) -> str:
    """How it is reset, in words."""
    if function.reset_methods:
        return ", then ".join(function.reset_methods)
    return "a method that this kernel does not report" if function.resets else "no way of its own"


def notes(functions: Sequence[Function]) -> tuple[str, ...]:
    """How each function is reset, the first way being tried first."""
    return tuple(f"{function.address} is reset by {ways(function)}" for function in functions if not function.is_bridge)


def findings(functions: Sequence[Function], listed: Sequence[Listed], own: Collection[str]) -> Iterator[Finding]:
    """Functions that have no reset, or one that leaves much as it was."""
    for function in functions:
        if function.is_bridge or function.class_code >> 16 == 0x06:
            continue
        if not function.reset_methods and not function.resets:
            yield _without(function, listed, own)
        elif function.reset_methods == ("pm",) and function.is_display:
            yield Finding(
                "weak-reset",
                Severity.NOTE,
                f"{function.address} is reset by its power state only, which leaves many graphics cards as they were:"
                " a guest may start once, and not again before the host is switched off.",
                (f"{DEVICES}/{function.address}/reset_method: pm",),
            )


def _without(function: Function, listed: Sequence[Listed], own: Collection[str]) -> Finding:
    bus = function.address.rpartition(":")[0]
    staying = [one.address for one in listed if one.address.rpartition(":")[0] == bus and one.address not in own]
    evidence = (f"{DEVICES}/{function.address}/reset does not exist",)
    if function.parent is not None and not staying:
        return Finding(
            "reset-by-bus",
            Severity.NOTE,
            f"{function.address} has no reset of its own; the bridge {function.parent} resets its whole bus, all of"
            " which goes to the guest.",
            evidence,
        )
    why = f", and {', '.join(staying)} on its bus stays with the host" if function.parent is not None else ""
    return Finding(
        "no-reset",
        Severity.WARNING,
        f"{function.address} cannot be reset{why}: it may work for the first guest only, until the host is switched"
        " off and on.",
        evidence,
        f"Add {', '.join(staying)} to the devices, so that the bridge {function.parent} can reset them together."
        if staying and function.parent is not None
        else "Try it with a guest that is started twice, before you rely on it.",
    )
