"""A line to the system's log, as journald gets it, and as syslog gets it where there is no journald."""

from __future__ import annotations

import os
import socket
import syslog
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import heads
from engine.hosts.system_log import log

LINE = heads.line("0123456789ab", "bound", 42, "f" * 64)
FIELDS = heads.fields("0123456789ab", "bound", "bound")


@pytest.fixture
def journald() -> Iterator[socket.socket]:
    """A socket like journald's, bound to the path that it answers to by getsockname."""
    with tempfile.TemporaryDirectory(prefix="v") as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.bind(str(Path(directory) / "socket"))
        own.settimeout(10.0)
        yield own


def entry(datagram: bytes) -> dict[str, str]:
    """A datagram read as https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ says."""
    found = {}
    while datagram:
        name, _, rest = datagram.partition(b"\n")
        if b"=" in name:
            key, _, value = name.partition(b"=")
            datagram = rest
        else:
            key, size = name, int.from_bytes(rest[:8], "little")
            value, datagram = rest[8 : 8 + size], rest[8 + size + 1 :]
        found[key.decode()] = value.decode()
    return found


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What goes to syslog(3)."""
    lines: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda _, text: lines.append(text))
    return lines


def test_journald_gets_the_line_with_its_fields_and_syslog_does_not(journald: socket.socket, said: list[str]) -> None:
    log(LINE, FIELDS, journald.getsockname())
    found = entry(journald.recv(1 << 16))
    assert found == {
        "MESSAGE": LINE,
        "PRIORITY": "5",
        "SYSLOG_FACILITY": "10",
        # `journalctl -t vfiostate` looks for it when the journal is verified.
        "SYSLOG_IDENTIFIER": heads.JOURNALCTL[2],
        "SYSLOG_PID": str(os.getpid()),
        "SETUP": "0123456789ab",
        "STATE": "bound",
        "STEP": "bound",
    }
    assert heads.LINE.search(found["MESSAGE"]) is not None
    assert said == []


def test_a_text_of_several_lines_stays_one_entry(journald: socket.socket) -> None:
    log("one\nPRIORITY=0\ntwo", {"SETUP": "a\nb"}, journald.getsockname())
    found = entry(journald.recv(1 << 16))
    assert (found["MESSAGE"], found["PRIORITY"], found["SETUP"]) == ("one\nPRIORITY=0\ntwo", "5", "a\nb")


def test_without_journald_the_line_goes_to_syslog(tmp_path: Path, said: list[str]) -> None:
    log(LINE, FIELDS, str(tmp_path / "none"))
    (tmp_path / "file").touch()
    log(LINE, FIELDS, str(tmp_path / "file"))
    assert said == [LINE, LINE]


def test_a_line_that_belongs_to_no_step_has_no_such_field() -> None:
    assert heads.fields("0123456789ab", "new", None) == {"SETUP": "0123456789ab", "STATE": "new"}
