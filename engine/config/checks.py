"""Checks of single values of the configuration: each returns the value in its one canonical form or raises ValueError
with what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

from steps.tuning import cpulist

Check: TypeAlias = Callable[[object], object]

_ADDRESS = re.compile(r"(?:([0-9a-f]{4,5}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])", re.ASCII)
_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}", re.ASCII)
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", re.ASCII)
_MODULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,54}", re.ASCII)
_VNC = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\]):([0-9]{1,5})|unix:/[^,]+", re.ASCII)
_URL = re.compile(r"[a-z][a-z0-9]*(?:\+[a-z0-9_]+)?://.*", re.ASCII | re.DOTALL)
_SQLITE = re.compile(r"sqlite(?:\+[a-z0-9_]+)?://(.*)", re.ASCII | re.DOTALL)
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_.-]{0,31}\$?", re.ASCII)


def anything(value: object) -> object:
    """Every value of the right type is right."""
    return value


def address(value: object) -> str:
    """A PCI address, with its domain: `03:00.0` becomes `0000:03:00.0`. A domain may have five digits (VMD)."""
    text = str(value).lower()
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[3], 16) > 0x1F:
        raise ValueError("expected a PCI address such as 0000:03:00.0 (domain:bus:device.function, hexadecimal)")
    return text if match[1] else f"0000:{text}"


def device_id(value: object) -> str:
    """A vendor and a device id, as `lspci -nn` shows them."""
    text = str(value).lower()
    if not _ID.fullmatch(text):
        raise ValueError("expected vendor:device such as 10de:1200, four hexadecimal digits each")
    return text


def mac(value: object) -> str:
    """A MAC address of one interface (not a multicast one)."""
    text = str(value).lower()
    if not _MAC.fullmatch(text) or int(text[:2], 16) & 1:
        raise ValueError("expected a MAC address of one interface such as 52:54:00:12:34:56")
    return text


def path(value: object) -> str:
    """An absolute path without `..`."""
    text = str(value)
    if not text.startswith("/") or ".." in text.split("/"):
        raise ValueError("expected an absolute path without '..'")
    return text


def metrics(value: object) -> str:
    """A file that node_exporter's textfile collector reads: it takes *.prom only."""
    if not str(value).endswith(".prom"):
        raise ValueError("expected a file that ends in .prom")
    return path(value)


def vnc(value: object) -> str:
    """A VNC display that other machines cannot reach."""
    text = str(value)
    match = _VNC.fullmatch(text)
    if match is None or (match[1] is not None and int(match[1]) > 59635):
        raise ValueError("expected a display on loopback such as 127.0.0.1:0, or unix:/PATH: VNC here has no password")
    return text


def cpus(value: object) -> str:
    """A list of CPUs, at least one, as the kernel writes it: `5,2-4` becomes `2-5`."""
    found = cpulist.parse(str(value))
    if not found:
        raise ValueError("expected a list of CPUs such as 2-5,8")
    return cpulist.render(found)


def url(value: object) -> str:
    """An SQLAlchemy database URL."""
    if not _URL.fullmatch(str(value)):
        raise ValueError("expected a database URL such as postgresql+psycopg://host/vfiostate")
    return str(value)


def sqlite_file(url: str) -> str | None:
    """The file of an SQLAlchemy URL for SQLite as it has it: a path, empty or `:memory:`; None for another database.

    Source: docs.sqlalchemy.org, "SQLite": `sqlite:///` and the path, which may be relative.
    """
    match = _SQLITE.fullmatch(url)
    return None if match is None else match[1].partition("?")[0].removeprefix("/")


def named(pattern: re.Pattern[str], expected: str) -> Check:
    """A check that the whole value matches."""

    def check(value: object) -> object:
        if not pattern.fullmatch(str(value)):
            raise ValueError(f"expected {expected}")
        return value

    return check


name = named(_NAME, "a name of letters, digits, '.', '_' and '-', starting with a letter or digit")
interface = named(_INTERFACE, "an interface name of at most 15 letters, digits, '.', '_' and '-'")
module = named(_MODULE, "the name of a kernel module")
account = named(_ACCOUNT, "the name of an account")


def one_of(*values: str) -> Check:
    """A check that the value is one of these."""

    def check(value: object) -> object:
        if value not in values:
            raise ValueError(f"expected one of {', '.join(values)}")
        return value

    return check


def known(names: Callable[[], Iterable[str]], usual: str = "auto") -> Check:
    """A check that the value is the usual one or one of the names, which are asked for only where it is not."""

    def check(value: object) -> object:
        if value != usual and value not in (found := sorted(names())):
            raise ValueError(f"expected one of {', '.join(dict.fromkeys((usual, *found)))}")
        return value

    return check


def between(low: float, high: float, unit: str = "") -> Check:
    """A check that low <= value <= high; `unit` is for the reader. A NaN is in no range."""

    def check(value: object) -> object:
        if not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"expected {low} to {high}{' ' + unit if unit else ''}")
        return value

    return check
