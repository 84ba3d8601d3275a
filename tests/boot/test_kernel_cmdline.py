"""/etc/kernel/cmdline: where words go in, what the bytes around them are, and with what nothing is attempted."""

from __future__ import annotations

import pytest

from steps import cmdline
from steps.boot import kernel_cmdline
from steps.boot.kernel_cmdline import PATH, Line
from steps.insertion import take_out
from tests.support.memory_host import Denied, Link, MemoryHost, Node

SETUP = "0123456789ab"
TOKENS = (f"{cmdline.SETUP}={SETUP}", "vfio-pci.ids=10de:1200")
RUN = b" vfiostate.setup=0123456789ab vfio-pci.ids=10de:1200"


def line(node: Node | None, *, tree: dict[str, Node] | None = None) -> Line:
    found = {PATH: node, **(tree or {})} if node is not None else dict(tree or {})
    return kernel_cmdline.read(MemoryHost(found), SETUP, command="refresh")


@pytest.mark.parametrize(
    ("content", "after"),
    [
        (b"root=/dev/sda1 ro quiet\n", b"root=/dev/sda1 ro quiet" + RUN + b"\n"),
        (b"root=/dev/sda1 ro quiet", b"root=/dev/sda1 ro quiet" + RUN),
        (b"  root=/dev/sda1\tro quiet  \n", b"  root=/dev/sda1\tro quiet" + RUN + b"  \n"),
        (b"root=/dev/sda1 quiet\r\n", b"root=/dev/sda1 quiet" + RUN + b"\r\n"),
        (b"root=/dev/sda1 quiet\nof no effect\n", b"root=/dev/sda1 quiet" + RUN + b"\nof no effect\n"),
        (b'root=/dev/sda1 dyndbg="file a +p"\n', b'root=/dev/sda1 dyndbg="file a +p"' + RUN + b"\n"),
        (b"root=/dev/sda1 x=\xff\n", b"root=/dev/sda1 x=\xff" + RUN + b"\n"),
    ],
)
def test_the_words_come_last_on_the_line_and_every_other_byte_stays(content: bytes, after: bytes) -> None:
    found = line(content)
    assert found.findings == () and found.site is not None
    insertion = found.site.insertion(TOKENS)
    assert insertion.apply(content) == after
    first = after.partition(b"\n")[0]
    assert cmdline.split(first) == (*found.words, *TOKENS)
    assert take_out(after, insertion.run) == content


def test_what_the_user_puts_on_the_line_meanwhile_stays_when_ours_are_taken_out() -> None:
    found = line(b"root=/dev/sda1 quiet\n")
    assert found.site is not None
    edited = found.site.insertion(TOKENS).apply(found.content).replace(b"quiet", b"splash").replace(b"\n", b" mine\n")
    assert take_out(edited, found.site.insertion(TOKENS).run) == b"root=/dev/sda1 splash mine\n"


def test_the_file_behind_a_symlink_is_the_one_that_is_edited() -> None:
    found = line(Link("../cmdline"), tree={"/etc/cmdline": b"root=/dev/sda1\n"})
    assert found.path == "/etc/cmdline"
    assert found.site is not None and found.site.path == "/etc/cmdline"


def test_words_that_are_there_already_need_no_place() -> None:
    found = line(b"root=/dev/sda1" + RUN + b"\n")
    assert found.site is None and found.findings == ()
    assert found.words[1:] == TOKENS


@pytest.mark.parametrize(
    ("node", "code"),
    [
        (None, "kernel-cmdline-missing"),
        (Link("../nowhere"), "kernel-cmdline-missing"),
        (Denied(), "kernel-cmdline-unreadable"),
        (Link("/proc/cmdline"), "kernel-cmdline-unreadable"),
        (b"", "kernel-cmdline-empty"),
        (b"\n", "kernel-cmdline-empty"),
        (b" \t\nroot=/dev/sda1\n", "kernel-cmdline-empty"),
        (b"root=/dev/sda1\0quiet\n", "kernel-cmdline-binary"),
        (b"# mine\nroot=/dev/sda1\n", "kernel-cmdline-comment"),
        (b'root=/dev/sda1 dyndbg="file a\n', "kernel-cmdline-quote"),
    ],
)
def test_what_cannot_be_edited_is_refused_with_its_evidence_and_the_next_thing_to_do(node: Node, code: str) -> None:
    found = line(node, tree={"/proc/cmdline": b"root=/dev/sda1\n"})
    assert [finding.code for finding in found.findings] == [code]
    assert found.site is None
    assert all(finding.evidence and finding.hint for finding in found.findings)


def test_a_directory_in_its_place_is_refused() -> None:
    found = line(None, tree={f"{PATH}/x": b""})
    assert [finding.code for finding in found.findings] == ["kernel-cmdline-unreadable"]
