"""The answers about the IOMMU, each from the evidence that a real machine shows."""

from __future__ import annotations

import pytest

from steps.base import Severity
from steps.iommu import IommuState, findings, judge, read_iommu
from tests.support.memory_host import MemoryHost, Node, completed

INTEL = b"processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vmx sse\n\nprocessor\t: 1\nflags\t: svm\n"
AMD = b"processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu svm sse\n"
OLD = b"processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu sse\n"
DMAR: dict[str, Node] = {"/sys/firmware/acpi/tables/DMAR": b""}
IVRS: dict[str, Node] = {"/sys/firmware/acpi/tables/IVRS": b""}
GROUPS: dict[str, Node] = {"/sys/kernel/iommu_groups/3/devices": None, "/sys/class/iommu/dmar0": None}
START = "[    0.000000] Linux version 6.1.0\n"


def host(cpu: bytes, cmdline: str, *trees: dict[str, Node], log: str | None = None) -> MemoryHost:
    tree: dict[str, Node] = {"/proc/cpuinfo": cpu, "/proc/cmdline": f"{cmdline}\n".encode()}
    for each in trees:
        tree |= each
    answer = completed(("dmesg",), status=1) if log is None else completed(("dmesg",), log)
    return MemoryHost(tree, answers={"dmesg": answer})


CASES = [
    (host(OLD, "quiet"), IommuState.NO_SUPPORT, "iommu-no-support"),
    (host(INTEL, "quiet"), IommuState.OFF_IN_FIRMWARE, "iommu-off-in-firmware"),
    (host(AMD, "quiet"), IommuState.OFF_IN_FIRMWARE, "iommu-off-in-firmware"),
    (host(INTEL, "intel_iommu=off", DMAR), IommuState.OFF_ON_COMMAND_LINE, "iommu-off-on-command-line"),
    (host(INTEL, "intel_iommu=on intel_iommu=off", DMAR), IommuState.OFF_ON_COMMAND_LINE, "iommu-off-on-command-line"),
    (host(AMD, "amd_iommu=off", IVRS), IommuState.OFF_ON_COMMAND_LINE, "iommu-off-on-command-line"),
    (host(AMD, "iommu=off", IVRS), IommuState.OFF_ON_COMMAND_LINE, "iommu-off-on-command-line"),
    (host(INTEL, "quiet", DMAR), IommuState.NEEDS_OPTION, "iommu-needs-option"),
    (host(INTEL, "quiet amd_iommu=off", DMAR), IommuState.NEEDS_OPTION, "iommu-needs-option"),
    (host(INTEL, "intel_iommu=on,sm_on", DMAR), IommuState.NOT_USED, "iommu-not-used"),
    (host(AMD, "quiet", IVRS), IommuState.NOT_USED, "iommu-not-used"),
    (host(AMD, "amd_iommu=on", IVRS), IommuState.NOT_USED, "iommu-not-used"),
    (host(INTEL, "quiet", DMAR, GROUPS), IommuState.ON, None),
    (host(OLD, "quiet", DMAR, GROUPS), IommuState.ON, None),
    (host(AMD, "quiet", GROUPS), IommuState.ON, None),
]


@pytest.mark.parametrize(("machine", "state", "code"), CASES)
def test_each_machine_gets_its_own_answer(machine: MemoryHost, state: IommuState, code: str | None) -> None:
    facts = read_iommu(machine)
    assert judge(facts) is state
    assert [finding.code for finding in findings(facts, allow_unsafe=False, guest=True)] == ([code] if code else [])


@pytest.mark.parametrize(("machine", "state", "code"), CASES)
def test_every_answer_that_is_not_on_brings_evidence_and_a_next_step(
    machine: MemoryHost, state: IommuState, code: str | None
) -> None:
    for finding in findings(read_iommu(machine), allow_unsafe=False, guest=True):
        assert finding.hint and any("/proc/cmdline" in line for line in finding.evidence)
        weight = Severity.WARNING if state is IommuState.NEEDS_OPTION else Severity.REFUSAL
        assert finding.severity is weight


def test_that_an_intel_machine_only_waits_for_the_option_is_no_refusal_and_names_the_later_check() -> None:
    (finding,) = findings(read_iommu(host(INTEL, "quiet", DMAR)), allow_unsafe=False, guest=True)
    assert finding.severity is Severity.WARNING and "checked again after the reboot" in finding.message


@pytest.mark.parametrize(
    ("cmdline", "log", "remapping"),
    [
        ("quiet", None, None),
        ("intremap=off", None, False),
        ("nointremap", None, False),
        ("quiet", START + "[    0.1] DMAR-IR: Enabled IRQ remapping in x2apic mode\n", True),
        ("quiet", "[    0.4] AMD-Vi: Interrupt remapping enabled\n", True),
        ("quiet", START + "[    0.2] nothing\n", False),
        ("quiet", "[ 9999.1] a log that has lost its beginning\n", None),
        # Logged on Intel machines too: no evidence of anything.
        ("quiet", "[    0.1] AMD-Vi: AMD IOMMUv2 functionality not available on this system\n", None),
    ],
)
def test_interrupt_remapping_is_only_denied_where_it_is_proved(
    cmdline: str, log: str | None, remapping: bool | None
) -> None:
    facts = read_iommu(host(INTEL, cmdline, DMAR, GROUPS, log=log))
    assert facts.remapping is remapping
    codes = [finding.code for finding in findings(facts, allow_unsafe=False, guest=True)]
    assert codes == (["no-interrupt-remapping"] if remapping is False else [])
    assert findings(facts, allow_unsafe=True, guest=True) == ()
    weights = {
        guest: [one.severity for one in findings(facts, allow_unsafe=False, guest=guest)] for guest in (True, False)
    }
    denied = remapping is False
    assert weights == {True: [Severity.REFUSAL] * denied, False: [Severity.WARNING] * denied}


def test_a_log_that_may_not_be_read_is_said_to_be_so() -> None:
    (finding,) = findings(read_iommu(host(AMD, "quiet")), allow_unsafe=False, guest=True)
    assert "kernel log: not readable" in finding.evidence


def test_a_host_that_shows_nothing_at_all_gets_an_answer() -> None:
    assert judge(read_iommu(MemoryHost({}))) is IommuState.NO_SUPPORT
