"""rEFInd in front of the boot loader: it may start the kernel itself, and is warned of."""

from __future__ import annotations

import pytest

from steps.base import Severity
from steps.boot.recognised import LOADER_INFO, utf16
from steps.boot.refind import EFIVARS, GLOBAL, LINUX_CONF
from steps.stub import STEP
from tests.boot.machine import Machine, brief
from tests.support.memory_host import Node

HEAD = b"\x06\x00\x00\x00"
CURRENT: dict[str, Node] = {f"{EFIVARS}/BootCurrent-{GLOBAL}": HEAD + b"\x0a\x00"}
FILE = utf16("\\EFI\\Refind\\refind_x64.efi\0")


def option(file: bytes) -> dict[str, Node]:
    """The load option that CURRENT names."""
    return {f"{EFIVARS}/Boot000A-{GLOBAL}": HEAD + b"\x01\x00\x00\x00" + utf16("x\0") + file}


SPOKE: dict[str, Node] = {LOADER_INFO: HEAD + utf16("rEFInd 0.14.2\0")}
GRUB: dict[str, Node] = {LOADER_INFO: HEAD + utf16("GRUB 2.12\0")}


@pytest.mark.parametrize(
    ("tree", "evidence"),
    [
        (SPOKE, "holds 'rEFInd'"),
        (CURRENT | option(FILE), "Boot000A"),
        (SPOKE | {LINUX_CONF: b'"x" "root=/dev/sda1"\n'}, LINUX_CONF),
    ],
)
def test_a_refind_that_started_the_host_is_warned_of(tree: dict[str, Node], evidence: str) -> None:
    machine = Machine()
    machine.host.tree |= tree
    (finding,) = STEP.plan(brief(), STEP.probe(machine.host, brief())).findings
    assert (finding.code, finding.severity) == ("refind-in-front", Severity.WARNING)
    assert evidence in "\n".join(finding.evidence) and "/etc/default/grub" in finding.message


@pytest.mark.parametrize(
    "tree",
    [
        {},
        GRUB | CURRENT | option(FILE),
        CURRENT | option(utf16("\\EFI\\ubuntu\\shimx64.efi\0")),
        CURRENT,
        {f"{EFIVARS}/BootCurrent-{GLOBAL}": HEAD},
        {LINUX_CONF: b"left over\n"},
    ],
)
def test_where_something_else_started_it_nothing_is_said(tree: dict[str, Node]) -> None:
    machine = Machine()
    machine.host.tree |= tree
    assert STEP.plan(brief(), STEP.probe(machine.host, brief())).findings == ()
