"""Taking out of a text what names a machine or a person: serial numbers, MAC addresses, host and user names, UUIDs.

What is taken out is replaced by a placeholder, the same for the same thing, so that the text still makes sense
(`root=UUID=…` here and there) and doing it again changes nothing.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable

from journal.events import Json
from steps.base import Host

# Names that say nothing of anybody; replacing them would only spoil the text.
GENERIC = frozenset(
    [
        "admin",
        "arch",
        "captured",
        "centos",
        "debian",
        "fedora",
        "grub",
        "guest",
        "host",
        "kernel",
        "linux",
        "live",
        "localdomain",
        "localhost",
        "none",
        "nobody",
        "opensuse",
        "pi",
        "root",
        "server",
        "simulated",
        "suse",
        "system",
        "test",
        "ubuntu",
        "user",
        "vm",
    ]
)
# What firmware says where the maker has filled nothing in.
UNFILLED = re.compile(
    r"(?i)(default string|to be filled.*|not (specified|applicable|available)|none|n/?a|unknown|0+|x+)"
)
# Accounts of people: from login.defs' UID_MIN to the last of systemd-homed's (systemd.io/UIDS-GIDS). Those of packages
# are above (Debian policy 9.2.2): libvirt-qemu is 64055, "Libvirt Qemu".
PEOPLE = range(1000, 60514)
DMI = ("product_serial", "product_uuid", "board_serial", "chassis_serial", "board_asset_tag", "chassis_asset_tag")

_UUID = re.compile(r"\b[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\b")
_SHORT_UUID = re.compile(r"(?<=UUID=)(?:[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{2}|[0-9A-Fa-f]{16})\b")
_MAC = re.compile(r"(?<![0-9A-Fa-f:-])(?:[0-9A-Fa-f]{2}[:-]){5,6}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:-])")
_NAMED_BY_MAC = re.compile(r"\b(?:enx|wlx|wwx)[0-9a-f]{12}\b")
_IPV4 = re.compile(r"(?<![\d.])(?!127\.|0\.|255\.)(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
_IPV6 = re.compile(r"(?<![0-9A-Fa-f:])[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})*::[0-9A-Fa-f:]*")
_BY_NAME = re.compile(r"(?<=/by-)(id|label|partlabel)/[^\s\"',)]+")
_LABEL = re.compile(r"(?<=LABEL=)[^\s\"',)]+")
_WORD = re.compile(r"[a-z][a-z_]*")
_MACHINE_ID = re.compile(r"(?<![0-9A-Fa-f])[0-9a-f]{32}(?![0-9A-Fa-f])")


class Redactor:
    """Replaces what is secret about one host, consistently over all its texts."""

    def __init__(self, serials: Iterable[str] = (), names: Iterable[str] = (), users: Iterable[str] = ()) -> None:
        self._known: dict[str, dict[str, str]] = {}
        self._serials = _any_of(serials, whole=False)
        self._names = _any_of(names, whole=True)
        self._users = _any_of(users, whole=True)

    def text(self, text: str) -> str:
        """The text without what is secret."""
        for pattern, kind, shape in (
            (self._serials, "serial", "serial-{}"),
            (_UUID, "uuid", "00000000-0000-4000-8000-{:012d}"),
            (_SHORT_UUID, "short", "0000-{:04d}"),
            (_MACHINE_ID, "id", "{:032d}"),
            (_MAC, "mac", "02:00:00:00:00:{:02x}"),
            (_NAMED_BY_MAC, "enx", "net{}"),
            (_IPV6, "ipv6", "2001:db8::{:x}"),
            (_IPV4, "ipv4", "192.0.2.{}"),
            (_LABEL, "label", "label-{}"),
        ):
            if pattern is not None:
                text = pattern.sub(self._numbered(kind, shape), text)
        text = _BY_NAME.sub(lambda match: f"{match[1]}/" + self._number("by", match[0], "name-{}"), text)
        for pattern, word in ((self._names, "host"), (self._users, "user")):
            if pattern is not None:
                text = pattern.sub(word, text)
        return text

    def _numbered(self, kind: str, shape: str) -> Callable[[re.Match[str]], str]:
        return lambda match: self._number(kind, match[0], shape)

    def _number(self, kind: str, found: str, shape: str) -> str:
        known = self._known.setdefault(kind, {})
        return known.setdefault(found.lower(), shape.format(len(known) + 1))

    def json(self, value: Json, *, leave: frozenset[str] = frozenset()) -> Json:
        """The same of every string in a JSON value, of keys too that are no plain words.

        Below the keys in `leave` nothing is touched.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.json(one, leave=leave) for one in value]
        if isinstance(value, dict):
            return {self._key(key): one if key in leave else self.json(one, leave=leave) for key, one in value.items()}
        return value

    def _key(self, key: str) -> str:
        """A path is redacted; a word of a format's own is not, whatever somebody's name is."""
        return key if _WORD.fullmatch(key) else self.text(key)


def _any_of(words: Iterable[str], *, whole: bool) -> re.Pattern[str] | None:
    found = sorted({word for word in words if len(word) > 1}, key=lambda word: (-len(word), word))
    if not found:
        return None
    pattern = "|".join(re.escape(word) for word in found)
    # Digits and underscores may touch a name (alice_backup, alice2), letters may not (alice is not in malice).
    return re.compile(rf"(?<![A-Za-z])(?:{pattern})(?:'?s)?(?![A-Za-z])" if whole else pattern, re.IGNORECASE)


def for_host(host: Host) -> Redactor:
    """The redactor that knows this host's own names and numbers."""
    return Redactor(serials(host), host_names(host), users(host))


def _text(host: Host, path: str) -> str:
    try:
        return host.read(path).decode("utf-8", errors="replace")
    except (OSError, ValueError):
        return ""


def _names(host: Host, path: str) -> tuple[str, ...]:
    with contextlib.suppress(OSError):
        return host.list(path)
    return ()


def serials(host: Host) -> tuple[str, ...]:
    """The serial numbers the host shows: board, disks, USB devices, its machine id."""
    paths = [f"/sys/class/dmi/id/{name}" for name in DMI] + ["/etc/machine-id"]
    for disk in _names(host, "/sys/block"):
        paths += [f"/sys/block/{disk}/{name}" for name in ("serial", "wwid", "device/serial", "device/wwid")]
    # A root hub, usbN, has its controller's address there (rh_string in drivers/usb/core/hcd.c): no secret.
    usb = (name for name in _names(host, "/sys/bus/usb/devices") if not name.startswith("usb"))
    paths += [f"/sys/bus/usb/devices/{name}/serial" for name in usb]
    found = {_text(host, path).strip().strip("\0") for path in paths}
    # wwid joins a vendor and a serial with runs of spaces or dots.
    words = {word for one in found for word in (one, *re.split(r"[\s.]+", one))}
    return tuple(sorted(one for one in words if len(one) >= 6 and not UNFILLED.fullmatch(one)))


def host_names(host: Host) -> tuple[str, ...]:
    """The host's name, whole and in parts, as its files and its kernel have it."""
    found = {_text(host, "/etc/hostname").strip(), _text(host, "/proc/sys/kernel/hostname").strip()}
    for line in _text(host, "/etc/hosts").splitlines():
        words = line.split("#")[0].split()
        if words and words[0] == "127.0.1.1":
            found.update(words[1:])
    found |= {one.partition(".")[0] for one in found} | {one.partition(".")[2] for one in found}
    return tuple(sorted(one for one in found if len(one) > 1 and one.lower() not in GENERIC))


def users(host: Host) -> tuple[str, ...]:
    """The names of people with an account: login and real names."""
    found: set[str] = set()
    for line in _text(host, "/etc/passwd").splitlines():
        fields = line.split(":")
        if len(fields) >= 7 and fields[2].isdecimal() and int(fields[2]) in PEOPLE:
            real = fields[4].split(",")[0].strip()
            found.update((fields[0], real, fields[5].rpartition("/")[2], *real.split()))
    return tuple(sorted(one for one in found if len(one) > 1 and one.lower() not in GENERIC))
