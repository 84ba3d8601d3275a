"""virsh with the system daemon behind it: domains kept in /etc/libvirt/qemu, run by the QEMU double.

What it prints and how it fails is as libvirt 9.0's virsh does on its test driver and on qemu:///embed; the files are
those of its QEMU driver, and of virt-aa-helper where the machine has /etc/apparmor.d/libvirt. It does not add to a
domain what libvirt adds. `faults.commands` makes it a virsh whose daemon does not run.
"""

from __future__ import annotations

import contextlib
import json
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from xml.etree import ElementTree

from engine.guests import launch
from engine.guests.qmp import query_qmp
from engine.hosts.simulated import domain, threads
from engine.hosts.simulated.doubles.base import Double, answer
from engine.hosts.simulated.machine import Machine
from steps.actions import StartProcess
from steps.base import Completed
from steps.tuning import cpulist

DEFINITIONS = "/etc/libvirt/qemu"
RUN = "/run/libvirt/qemu"
LOGS = "/var/log/libvirt/qemu"
PROFILES = "/etc/apparmor.d/libvirt"
HEAD = """<!--
WARNING: THIS IS AN AUTO-GENERATED FILE. CHANGES TO IT ARE LIKELY TO BE
OVERWRITTEN AND LOST. Changes to this xml configuration should be made using:
  virsh edit {name}
or other application using the libvirt API.
-->

"""
START_WAIT = 10.0


class Refused(Exception):
    """virsh's last words."""


def virsh(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """-c URI, then define, undefine, start, shutdown, destroy, list, domstate, domuuid, dumpxml, version,
    domcapabilities, qemu-monitor-command."""
    words = list(argv[1:])
    if words[:2] != ["-c", "qemu:///system"]:
        return answer(argv, stderr="error: the simulated machine knows qemu:///system only\n", status=1)
    verb, rest = words[2], words[3:]
    found = VERBS.get(verb)
    if found is None:
        return answer(argv, stderr=f"error: unknown command: '{verb}'\n", status=1)
    _reap(machine)
    try:
        return answer(argv, found(machine, rest) + "\n")
    except Refused as error:
        return answer(argv, stderr="".join(f"error: {line}\n" for line in str(error).splitlines()), status=1)


def _reap(machine: Machine) -> None:
    """What the daemon does when a QEMU of its has ended."""
    for name in machine.names(RUN):
        stem = name.removesuffix(".xml")
        if name.endswith(".xml") and launch.alive(stem, machine.path(RUN)) is None:
            machine.unlink(f"{PROFILES}/libvirt-{_uuid(machine, f'{RUN}/{name}')}.files")
            machine.unlink(f"{RUN}/{name}")
            _keep_log(machine, stem)
            launch.tidy(stem, machine.path(RUN))


def _keep_log(machine: Machine, name: str) -> None:
    machine.put(f"{LOGS}/{name}.log", machine.text(f"{RUN}/{name}.log"), 0o600)


def _uuid(machine: Machine, path: str) -> str:
    return ElementTree.fromstring(machine.text(path)).findtext("uuid") or ""


def _defined(machine: Machine) -> dict[str, str]:
    """Name to UUID."""
    names = (name.removesuffix(".xml") for name in machine.names(DEFINITIONS) if name.endswith(".xml"))
    return {name: _uuid(machine, f"{DEFINITIONS}/{name}.xml") for name in names}


def _running(machine: Machine) -> dict[str, str]:
    names = (name.removesuffix(".xml") for name in machine.names(RUN) if name.endswith(".xml"))
    return {name: _uuid(machine, f"{RUN}/{name}.xml") for name in names}


def _named(machine: Machine, words: Sequence[str]) -> str:
    for name, found in {**_running(machine), **_defined(machine)}.items():
        if words and words[0] in (name, found):
            return name
    raise Refused(f"failed to get domain '{words[0] if words else ''}'")


def _define(machine: Machine, words: Sequence[str]) -> str:
    try:
        text = machine.path(words[0]).read_text("utf-8")
    except OSError as error:
        raise Refused(f"Failed to open file '{words[0]}': {error.strerror}") from None
    failed = f"Failed to define domain from {words[0]}\n"
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise Refused(f"{failed}(domain_definition):{error.position[0]}: {error}") from None
    name, found = root.findtext("name"), root.findtext("uuid") or str(uuid.uuid4())
    if not name:
        raise Refused(f"{failed}XML error: missing domain name")
    other = _defined(machine).get(name)
    if other not in (None, found):
        raise Refused(f"{failed}operation failed: domain '{name}' already exists with uuid {other}")
    machine.put(f"{DEFINITIONS}/{name}.xml", HEAD.format(name=name) + text, 0o600)
    return f"Domain '{name}' defined from {words[0]}\n"


def _undefine(machine: Machine, words: Sequence[str]) -> str:
    name = _named(machine, words)
    root = ElementTree.fromstring(machine.text(f"{DEFINITIONS}/{name}.xml"))
    if root.find("os/nvram") is not None and "--keep-nvram" not in words and "--nvram" not in words:
        text = "Requested operation is not valid: cannot undefine domain with nvram"
        raise Refused(f"Failed to undefine domain '{name}'\n{text}")
    machine.unlink(f"{DEFINITIONS}/{name}.xml")
    return f"Domain '{name}' has been undefined\n"


def _start(machine: Machine, words: Sequence[str]) -> str:
    name = _named(machine, words)
    if name in _running(machine):
        raise Refused("Domain is already active")
    text = machine.text(f"{DEFINITIONS}/{name}.xml")
    root = ElementTree.fromstring(text)
    for hostdev in root.findall("devices/hostdev"):
        _refuse_unbound(machine, name, domain.address_of(hostdev))
    _confine(machine, root.findtext("uuid") or "")
    line = (sys.executable, "-m", "engine.hosts.simulated.qemu", "--machine", str(machine.directory), "")
    process = StartProcess(name, (*line, *domain.command(root)), "libvirt's", inherit_socket=True)
    launch.launch(process, machine.path(RUN))
    machine.put(f"{RUN}/{name}.xml", text, 0o600)
    try:
        query_qmp(machine.path(f"{RUN}/{name}.qmp"), "query-status", timeout=START_WAIT)
    except (ConnectionError, TimeoutError):
        launch.end(name, machine.path(RUN), timeout=1.0)
        _reap(machine)
        said = machine.text(f"{LOGS}/{name}.log").strip()
        text = f"internal error: process exited while connecting to monitor: {said}"
        raise Refused(f"Failed to start domain '{name}'\n{text}") from None
    _pin(machine, name, root)
    _keep_log(machine, name)
    return f"Domain '{name}' started\n"


def _pin(machine: Machine, name: str, root: ElementTree.Element) -> None:
    pid = launch.alive(name, machine.path(RUN))
    if pid is None:
        return
    for one in root.findall("cputune/emulatorpin"):
        threads.set_affinity(machine, pid, cpulist.parse(one.get("cpuset", "")))
    for one in root.findall("cputune/vcpupin"):
        thread = threads.thread_of(pid, int(one.get("vcpu", "0")))
        threads.set_affinity(machine, thread, cpulist.parse(one.get("cpuset", "")))


def _refuse_unbound(machine: Machine, name: str, address: str) -> None:
    driver = ""
    with contextlib.suppress(OSError):
        driver = machine.tree.readlink(f"/sys/bus/pci/devices/{address}/driver").rpartition("/")[2]
    if driver != "vfio-pci":
        text = (
            f"Requested operation is not valid: Unmanaged PCI device {address} must be manually detached from the host"
        )
        raise Refused(f"Failed to start domain '{name}'\n{text}")


def _confine(machine: Machine, found: str) -> None:
    if machine.exists(PROFILES):
        profile = f"profile libvirt-{found} {{\n  #include <libvirt/libvirt-{found}.files>\n}}\n"
        if not machine.exists(f"{PROFILES}/libvirt-{found}"):
            machine.put(f"{PROFILES}/libvirt-{found}", profile)
        machine.put(f"{PROFILES}/libvirt-{found}.files", "# DO NOT EDIT THIS FILE DIRECTLY.\n")


def _shutdown(machine: Machine, words: Sequence[str]) -> str:
    name = _active(machine, words, "shutdown")
    query_qmp(machine.path(f"{RUN}/{name}.qmp"), "system_powerdown", timeout=START_WAIT)
    return f"Domain '{name}' is being shutdown\n"


def _destroy(machine: Machine, words: Sequence[str]) -> str:
    name = _active(machine, words, "destroy")
    launch.end(name, machine.path(RUN), timeout=1.0)
    _reap(machine)
    return f"Domain '{name}' destroyed\n"


def _active(machine: Machine, words: Sequence[str], verb: str) -> str:
    name = _named(machine, words)
    if name not in _running(machine):
        raise Refused(f"Failed to {verb} domain '{words[0]}'\nRequested operation is not valid: domain is not running")
    return name


def _list(machine: Machine, words: Sequence[str]) -> str:
    found = _running(machine)
    if "--all" in words:
        found = {**_defined(machine), **found}
    uuids, names = "--uuid" in words, "--name" in words
    lines = [" ".join((*((one,) if uuids else ()), *((name,) if names else ()))) for name, one in found.items()]
    return "".join(f"{line}\n" for line in lines)


def _domstate(machine: Machine, words: Sequence[str]) -> str:
    name = _named(machine, words)
    if name not in _running(machine):
        return "shut off\n"
    found = query_qmp(machine.path(f"{RUN}/{name}.qmp"), "query-status", timeout=START_WAIT)
    return f"{found['status'] if isinstance(found, dict) else 'no state'}\n"


def _dumpxml(machine: Machine, words: Sequence[str]) -> str:
    name = _named(machine, words)
    live = f"{RUN}/{name}.xml"
    text = machine.text(live if machine.exists(live) and "--inactive" not in words else f"{DEFINITIONS}/{name}.xml")
    return text.removeprefix(HEAD.format(name=name))


def _version(machine: Machine, words: Sequence[str]) -> str:
    lines = ["Compiled against library: libvirt 9.0.0", "Using library: libvirt 9.0.0", "Using API: QEMU 9.0.0"]
    lines.append(f"Running hypervisor: QEMU {machine.description.qemu}")
    return "\n".join([*lines, *(["Running against daemon: 9.0.0"] if "--daemon" in words else []), ""])


def _domcapabilities(machine: Machine, words: Sequence[str]) -> str:
    given = dict(zip(words[::2], words[1::2], strict=True))
    binary, kind = given["--emulatorbin"], given["--virttype"]
    failed = "failed to get emulator capabilities\n"
    if not machine.exists(binary):
        raise Refused(f"{failed}Cannot check QEMU binary {binary}: No such file or directory")
    if kind == "kvm" and not machine.exists("/dev/kvm"):
        raise Refused(f"{failed}invalid argument: KVM is not supported by '{binary}' on this host")
    if not given["--machine"].startswith(("q35", "pc")):
        raise Refused(
            f"{failed}invalid argument: the machine '{given['--machine']}' is not supported by emulator '{binary}'"
        )
    return "<domainCapabilities/>\n"


def _monitor(machine: Machine, words: Sequence[str]) -> str:
    name = _active(machine, words, "qemu-monitor-command")
    wanted = json.loads(words[1])["execute"]
    found = query_qmp(machine.path(f"{RUN}/{name}.qmp"), wanted, timeout=START_WAIT)
    return json.dumps({"return": found, "id": "libvirt-1"})


VERBS: Mapping[str, Callable[[Machine, Sequence[str]], str]] = {
    "define": _define,
    "undefine": _undefine,
    "start": _start,
    "shutdown": _shutdown,
    "destroy": _destroy,
    "list": _list,
    "domstate": _domstate,
    "dumpxml": _dumpxml,
    "version": _version,
    "domcapabilities": _domcapabilities,
    "qemu-monitor-command": _monitor,
}
DOUBLES: dict[str, Double] = {"virsh": virsh}
