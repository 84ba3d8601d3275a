"""Whether there is an IOMMU in use: four answers, each with its evidence, and one more for a kernel that cannot.

Sources: Documentation/admin-guide/kernel-parameters.txt (intel_iommu, amd_iommu, iommu, intremap), drivers/iommu.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from steps.base import Finding, Host, Severity
from steps.cmdline import options, shown, split
from steps.cpu import CpuVendor, forbidden, read_cpu
from steps.firmware import Switch, named
from steps.pci import GROUPS
from steps.reading import content_of, names_in

TABLES = "/sys/firmware/acpi/tables"
CLASS = "/sys/class/iommu"


class IommuState(StrEnum):
    """What is to be said of the IOMMU."""

    NO_SUPPORT = "no support in the CPU"
    OFF_IN_FIRMWARE = "off in the firmware"
    OFF_ON_COMMAND_LINE = "off in the kernel's command line"
    NEEDS_OPTION = "available, intel_iommu=on is needed"
    NOT_USED = "not used by the kernel"
    ON = "on"


@dataclass(frozen=True, slots=True)
class IommuFacts:
    """What the host says of its IOMMU. `table` is the ACPI table that describes one, `remapping` whether interrupts are
    remapped (None: not known), `log` the kernel's own lines about it (None: the log may not be read), `forbidden` those
    that say that the firmware has the CPU's virtualization off."""

    vendor: CpuVendor
    virtualization: str | None
    table: str | None
    units: tuple[str, ...]
    groups: int
    words: tuple[str, ...]
    remapping: bool | None
    log: tuple[str, ...] | None
    forbidden: tuple[str, ...] = ()


def read_iommu(host: Host) -> IommuFacts:
    """Read everything that says something about the IOMMU."""
    vendor, flags = read_cpu(host)
    words = split(content_of(host, "/proc/cmdline").rstrip(b"\n"))
    log = read_log(host)
    tables = names_in(host, TABLES)
    return IommuFacts(
        vendor=vendor,
        virtualization=next((flag for flag in ("vmx", "svm") if flag in flags), None),
        table=next((table for table in ("DMAR", "IVRS") if table in tables), None),
        units=names_in(host, CLASS),
        groups=len(names_in(host, GROUPS)),
        words=words,
        remapping=_remapping(words, log),
        log=None if log is None else tuple(line for line in log if re.search(r"DMAR|AMD-Vi|iommu", line, re.I))[:12],
        forbidden=forbidden(log or ()),
    )


def read_log(host: Host) -> tuple[str, ...] | None:
    """The kernel log's lines, None where it may not be read (dmesg_restrict) or there is no dmesg."""
    try:
        answer = host.query(("dmesg",), timeout=20.0)
    except (OSError, TimeoutError):
        return None
    return tuple(answer.text.splitlines()) if answer.ok and answer.stdout.strip() else None


def judge(facts: IommuFacts) -> IommuState:
    """Which of the answers it is. Groups prove that it is on; without them the evidence is read in order.

    The CPU's flags are asked last: a virtual machine may have an IOMMU without virtualization of its own.
    """
    if facts.groups:
        return IommuState.ON
    if facts.table is None:
        can = facts.virtualization is not None or facts.forbidden
        return IommuState.OFF_IN_FIRMWARE if can else IommuState.NO_SUPPORT
    if off_words(facts):
        return IommuState.OFF_ON_COMMAND_LINE
    if facts.table == "DMAR" and "on" not in options(facts.words, "intel_iommu"):
        return IommuState.NEEDS_OPTION
    return IommuState.NOT_USED


def off_words(facts: IommuFacts) -> tuple[str, ...]:
    """The words of the running command line that turn this IOMMU off."""
    own = "amd_iommu" if facts.table == "IVRS" else "intel_iommu"
    said = [option for option in options(facts.words, own) if option in {"on", "off"}]
    off = [f"{own}=off"] if said and said[-1] == "off" else []
    return (*off, *(["iommu=off"] if "off" in options(facts.words, "iommu") else []))


def evidence(facts: IommuFacts) -> tuple[str, ...]:
    """What the answer rests on, a line each."""
    lines = [
        f"{TABLES}: {facts.table or 'neither DMAR nor IVRS'}",
        f"/proc/cpuinfo: {facts.vendor.value}, {facts.virtualization or 'neither vmx nor svm'}",
        f"{CLASS}: {', '.join(facts.units) or 'empty'}",
        f"{GROUPS}: {facts.groups} groups",
        f"/proc/cmdline: {shown(facts.words)}",
    ]
    if facts.log is None:
        return (*lines, "kernel log: not readable")
    return (*lines, *(f"kernel log: {line}" for line in dict.fromkeys((*facts.forbidden, *facts.log))))


def findings(facts: IommuFacts, *, allow_unsafe: bool, guest: bool) -> tuple[Finding, ...]:
    """What is to be said about the IOMMU before anything is changed; `guest` is whether we are to start one."""
    state = judge(facts)
    said = _answers(facts).get(state)
    found = [] if said is None else [said]
    usable = state in {IommuState.ON, IommuState.NEEDS_OPTION}
    if usable and facts.remapping is False and not allow_unsafe:
        found.append(
            Finding(
                "no-interrupt-remapping",
                # It is for the user to decide, before the way begins: at its end QEMU may not have the devices.
                Severity.REFUSAL if guest else Severity.WARNING,
                "Interrupts are not remapped: vfio gives a device to a guest only with allow_unsafe_interrupts.",
                evidence(facts),
                f"In the firmware's setup turn on {named(Switch.REMAPPING, facts.vendor)}, and take intremap=off out of"
                " the command line; or accept that a guest may forge interrupts: [allow] unsafe_interrupts = true.",
            )
        )
    return tuple(found)


def _answers(facts: IommuFacts) -> dict[IommuState, Finding]:
    name = "AMD-Vi" if facts.vendor is CpuVendor.AMD or facts.table == "IVRS" else "VT-d"
    switches = [named(Switch.IOMMU, facts.vendor)]
    switches += [named(Switch.VIRTUALIZATION, facts.vendor)] if facts.virtualization is None else []
    rows: Sequence[tuple[IommuState, str, Severity, str, str]] = (
        (
            IommuState.NO_SUPPORT,
            "iommu-no-support",
            Severity.REFUSAL,
            "This CPU shows no hardware virtualization and the firmware describes no IOMMU.",
            f"Look in the firmware's setup for {named(Switch.VIRTUALIZATION, facts.vendor)}: what is off there may not"
            " show at all. Where there is no such switch, the machine cannot, and another is needed.",
        ),
        (
            IommuState.OFF_IN_FIRMWARE,
            "iommu-off-in-firmware",
            Severity.REFUSAL,
            f"The CPU can, but the firmware describes no IOMMU: {name} is off there, or the mainboard has none.",
            f"In the firmware's setup turn on {' and '.join(switches)}; boot again, then run `vfiostate doctor`.",
        ),
        (
            IommuState.OFF_ON_COMMAND_LINE,
            "iommu-off-on-command-line",
            Severity.REFUSAL,
            f"The IOMMU is turned off by the kernel's command line: {' '.join(off_words(facts))}.",
            "Take it out of the boot loader's configuration, boot again, then run `vfiostate advance`.",
        ),
        (
            IommuState.NEEDS_OPTION,
            "iommu-needs-option",
            Severity.WARNING,
            "The IOMMU is there and waits for intel_iommu=on, which the step `stubbed` adds; groups cannot be seen"
            " yet and are checked again after the reboot.",
            "Nothing is to be done now.",
        ),
        (
            IommuState.NOT_USED,
            "iommu-not-used",
            Severity.REFUSAL,
            f"The firmware describes an IOMMU and nothing turns it off, but this kernel ({name}) does not use it.",
            "Boot the distribution's standard kernel (a cloud kernel may lack the driver), or look at the kernel log.",
        ),
    )
    return {state: Finding(code, weight, text, evidence(facts), hint) for state, code, weight, text, hint in rows}


def _remapping(words: Sequence[str], log: Sequence[str] | None) -> bool | None:
    """From the command line, or from a log that reaches back to the boot: one without its beginning proves nothing."""
    if "off" in options(words, "intremap") or "nointremap" in words:
        return False
    if log is None:
        return None
    if any(re.search(r"Enabled IRQ remapping|Interrupt remapping enabled", line) for line in log):
        return True
    return False if any("Linux version" in line for line in log[:5]) else None
