"""virsh asked about a guest of libvirt: what is installed, whether it answers, what it knows of our domain. Only reads.

Sources: virsh(1); where the system daemon keeps its domains: virDomainDefSave in libvirt's src/conf/domain_conf.c;
where AppArmor's profiles are: src/security/virt-aa-helper.c.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from steps.base import Completed, Host
from steps.guest.base import Order, device_id
from steps.guest.libvirt_xml import uuid_of
from steps.guest.seen import PciFunction, Seen, Silence
from steps.insertion import sha256
from steps.pci import read_function
from steps.reading import names_in, text_of

VIRSH = ("virsh", "-c", "qemu:///system")
DEFINITIONS = "/etc/libvirt/qemu"
PROFILES = "/etc/apparmor.d/libvirt"
# The file a domain is defined from, beside the journal: nobody but root reads there.
FILES = "/var/lib/vfiostate"
ASK = 30.0
_VERSION = re.compile(r"^Running against daemon: (\d+)\.(\d+)\.(\d+)", re.MULTILINE)
_PID = re.compile(r"\d+")
# QEMU calls its threads so where it is told debug-threads=on, as libvirt does.
_VCPU = re.compile(r"CPU (\d+)/")


@dataclass(frozen=True, slots=True)
class Installed:
    """What there is of libvirt. `binary` is the QEMU it is to run, `silence` why virsh does not answer (None: it does),
    `incapable` why libvirt would not run such a guest; `uuid` and `definition` (sha256) are of the domain that has the
    guest's name, `file` is what ours was defined from; `keeps` and `profiles`: whether libvirt's directories are there.
    """

    virsh: bool
    binary: str | None = None
    silence: str | None = None
    version: tuple[int, int, int] | None = None
    incapable: str | None = None
    uuid: str | None = None
    definition: str | None = None
    file: bytes | None = None
    keeps: bool = False
    profiles: bool = False


def definition_of(name: str) -> str:
    """Where libvirt keeps a domain."""
    return f"{DEFINITIONS}/{name}.xml"


def file_of(name: str) -> str:
    """What ours is defined from."""
    return f"{FILES}/{name}.xml"


def query(host: Host, *words: str) -> Completed:
    """Ask virsh. One that gives no answer in time has failed."""
    try:
        return host.query((*VIRSH, *words), timeout=ASK)
    except TimeoutError:
        return Completed((*VIRSH, *words), -1, b"", f"virsh gave no answer within {ASK:g} s".encode())


def said(answer: Completed) -> str:
    """What it printed on standard error, in one line."""
    lines = answer.stderr.decode(errors="replace").splitlines()
    return "; ".join(line.removeprefix("error: ") for line in lines if line.strip()) or f"exit status {answer.status}"


def active(host: Host) -> frozenset[str]:
    """The UUIDs of the domains that run or are paused. Raises ConnectionError where libvirt does not answer."""
    return frozenset(_lines(host, "list", "--uuid"))


def _lines(host: Host, *words: str) -> Sequence[str]:
    answer = query(host, *words)
    if not answer.ok:
        raise ConnectionError(f"libvirt does not answer: {said(answer)}")
    return [line.strip() for line in answer.text.splitlines() if line.strip()]


def ask(host: Host, order: Order) -> Installed:
    """All that is to be known before it is defined and started."""
    guest = order.guest
    virsh = host.which("virsh") is not None
    binary = host.which(guest.binary) if "/" not in guest.binary else guest.binary
    file = _read(host, file_of(guest.name))
    if not virsh:
        return Installed(False, binary, file=file)
    try:
        domains = dict(_pair(line) for line in _lines(host, "list", "--all", "--uuid", "--name"))
    except ConnectionError as error:
        return Installed(True, binary, str(error), file=file)
    version = _VERSION.search(query(host, "version", "--daemon").text)
    definition = _read(host, definition_of(guest.name))
    return Installed(
        True,
        binary,
        None,
        (int(version[1]), int(version[2]), int(version[3])) if version else None,
        _incapable(host, order, binary),
        domains.get(guest.name),
        None if definition is None else sha256(definition),
        file,
        host.lstat(DEFINITIONS) is not None,
        host.lstat(PROFILES) is not None,
    )


def _pair(line: str) -> tuple[str, str]:
    found, _, name = line.partition(" ")
    return name.strip(), found


def _read(host: Host, path: str) -> bytes | None:
    try:
        return host.read(path)
    except OSError:
        return None


def _incapable(host: Host, order: Order, binary: str | None) -> str | None:
    """Why libvirt would not run such a machine with this QEMU."""
    if binary is None:
        return None
    kind = "kvm" if order.guest.accel.value == "kvm" else "qemu"
    words = ("--emulatorbin", binary, "--arch", "x86_64", "--machine", order.guest.machine, "--virttype", kind)
    answer = query(host, "domcapabilities", *words)
    return None if answer.ok else said(answer)


def uuid_defined(host: Host, name: str) -> str | None:
    """The UUID of our domain of that name, from the file that it was defined from; None where there is none."""
    content = _read(host, file_of(name))
    try:
        return None if content is None else ElementTree.fromstring(content).findtext("uuid")
    except ElementTree.ParseError:
        return None


def look(host: Host, order: Order) -> Seen | Silence | None:
    """What libvirt says of our domain. Another's of that name is none of ours."""
    name = order.guest.name
    ours = uuid_defined(host, name) or uuid_of(order.setup, name)
    if host.which("virsh") is None:
        return None
    try:
        if ours not in active(host):
            defined = ours in _lines(host, "list", "--all", "--uuid")
            return Silence("libvirt says that it is shut off", ended=True) if defined else None
        (state,) = _lines(host, "domstate", ours)
        return Seen(state, tuple(_functions(host, "\n".join(_lines(host, "dumpxml", ours)))))
    except ConnectionError as error:
        return Silence(str(error), ended=False, unasked=True)
    except (ValueError, ElementTree.ParseError) as error:
        return Silence(f"virsh was not understood: {error}", ended=False)


def _functions(host: Host, text: str) -> list[PciFunction]:
    """The host's functions in a live domain's XML: libvirt takes out what QEMU has let go."""
    found = []
    for hostdev in ElementTree.fromstring(text).findall("devices/hostdev[@type='pci']"):
        source, place = hostdev.find("source/address"), hostdev.find("address")
        if source is None or place is None:
            raise ValueError("a <hostdev> without an address")
        domain, bus, slot, function = (int(source.get(key, ""), 16) for key in ("domain", "bus", "slot", "function"))
        address = f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"
        known = read_function(host, address)
        vendor, _, device = (known.id if known is not None and known.id else "0:0").partition(":")
        inside = [int(place.get(key, "0"), 16) for key in ("bus", "slot", "function")]
        found.append(PciFunction(device_id(address), inside[0], inside[1], inside[2], int(vendor, 16), int(device, 16)))
    return found


def process(host: Host, name: str) -> int | None:
    """The pid of our domain's QEMU, None where it does not run; 0 where libvirt does not say which it is.

    Raises ConnectionError where libvirt does not answer.
    """
    ours = uuid_defined(host, name)
    if ours is None or ours not in active(host):
        return None
    match = _PID.match((_read(host, f"/run/libvirt/qemu/{name}.pid") or b"").decode("ascii", errors="replace"))
    return int(match[0]) if match else 0


def threads(host: Host, pid: int) -> Mapping[int, int]:
    """The thread of each vCPU of a QEMU that libvirt started, by its number."""
    found = {}
    for thread in names_in(host, f"/proc/{pid}/task"):
        match = _VCPU.match(text_of(host, f"/proc/{pid}/task/{thread}/comm"))
        if match is not None and thread.isdecimal():
            found[int(match[1])] = int(thread)
    return found
