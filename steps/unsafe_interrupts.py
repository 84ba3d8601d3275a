"""vfio's allow_unsafe_interrupts: only where interrupts are not known to be remapped, and only when the user allows it.

Source: drivers/vfio/vfio_iommu_type1.c (parameter allow_unsafe_interrupts, mode 0644).
"""

from __future__ import annotations

from dataclasses import dataclass

from steps.actions import Action, Write, WriteAttribute
from steps.base import Brief, Finding, Host, Plan, Severity
from steps.insertion import new_file

CONF = "/etc/modprobe.d/vfiostate-iommu.conf"
PARAMETER = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"


@dataclass(frozen=True, slots=True)
class UnsafeFacts:
    """Our file in modprobe.d (None: absent) and the parameter's present value (None: the module is not there)."""

    conf: bytes | None
    value: str | None
    folder: bool


def read(host: Host) -> UnsafeFacts:
    """Read the file and the parameter."""
    conf, value = _read(host, CONF), _read(host, PARAMETER)
    folder = host.lstat("/etc/modprobe.d") is not None
    return UnsafeFacts(conf, None if value is None else value.decode("ascii", errors="replace").strip(), folder)


def wanted(setup: str) -> bytes:
    """The content of our file."""
    return (
        f"# vfiostate {setup}: interrupts are not remapped here, and the configuration allows it\n"
        "options vfio_iommu_type1 allow_unsafe_interrupts=1\n"
    ).encode()


def plan(brief: Brief, facts: UnsafeFacts, remapping: bool | None) -> Plan:
    """The option for the next load of the module, and its parameter where it is loaded already."""
    if not brief.config.allow.unsafe_interrupts:
        return Plan()
    if remapping:
        return Plan(notes=("interrupts are remapped: allow_unsafe_interrupts is not needed and not set",))
    content = wanted(brief.setup)
    if facts.conf not in (None, content) or not facts.folder:
        return Plan(findings=(_in_the_way(facts),))
    actions: list[Action] = []
    if facts.conf is None:
        actions.append(
            new_file(CONF, content, "let vfio work without interrupt remapping, as the configuration allows")
        )
    if facts.value == "N":
        why = "allow it in the module that is loaded already"
        actions.append(WriteAttribute(PARAMETER, "Y", why, Write(PARAMETER, "N")))
    notes = ("allow_unsafe_interrupts is on already and stays",) if facts.value == "Y" else ()
    return Plan(tuple(actions), notes)


def _in_the_way(facts: UnsafeFacts) -> Finding:
    return Finding(
        "unsafe-interrupts-file",
        Severity.REFUSAL,
        f"{CONF} is there and not what vfiostate would write." if facts.folder else "/etc/modprobe.d does not exist.",
        tuple((facts.conf or b"").decode("utf-8", "backslashreplace").splitlines()[:5]),
        "Move it away, then run `vfiostate advance` again." if facts.folder else "Install the package kmod.",
    )


def _read(host: Host, path: str) -> bytes | None:
    try:
        return host.read(path)
    except FileNotFoundError:
        return None
