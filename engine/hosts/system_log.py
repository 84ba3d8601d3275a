"""A line to the system's log: to systemd's journal in its own protocol, with fields to ask by; else by syslog(3).

`journalctl SETUP=0123456789ab STATE=bound` finds it. journald hands on to syslog what it gets, as far as it does so at
all, with the facility and the identifier that stand in it. See systemd.journal-fields(7) and, for the protocol,
https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

from __future__ import annotations

import os
import socket
import syslog
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "vfiostate"


def log(text: str, fields: Mapping[str, str], place: str = SOCKET) -> None:
    """Log a line as a notice of authpriv. Never raises: what cannot be logged is told to nobody, as by syslog(3)."""
    if not _to_journald(text, fields, place):
        syslog.openlog(IDENTIFIER, 0, syslog.LOG_AUTHPRIV)
        syslog.syslog(syslog.LOG_NOTICE, text)


def datagram(text: str, fields: Mapping[str, str]) -> bytes:
    """What journald takes for one entry. A value with a newline is given by its length (eight bytes, little-endian)."""
    said = {
        "MESSAGE": text,
        "PRIORITY": str(syslog.LOG_NOTICE),
        "SYSLOG_FACILITY": str(syslog.LOG_AUTHPRIV >> 3),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "SYSLOG_PID": str(os.getpid()),
        **fields,
    }
    return b"".join(_field(name, value.encode(errors="backslashreplace")) for name, value in said.items())


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


def _to_journald(text: str, fields: Mapping[str, str], place: str) -> bool:
    """Whether journald took it. It may be stopped, not be there, or be full for the moment: nobody waits for it."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(2.0)
            channel.connect(place)
            channel.send(datagram(text, fields))
    except OSError:
        return False
    return True
