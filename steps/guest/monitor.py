"""What a running guest says over QMP: its status, and the devices it shows. Checked where it enters."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from steps.base import Host, Json
from steps.guest.base import Order, device_id
from steps.guest.seen import PciFunction, Seen, Silence

LAST_LINES = 12
POLL = 0.25


def look(host: Host, order: Order) -> Seen | Silence | None:
    """What the guest says; None where none was started under that name (or it was stopped).

    A root port shows what is behind it only when the firmware has numbered its bus (hw/pci/pci-qmp-cmds.c): so this
    waits for the ordered devices that QEMU has, and for a process that lives and does not listen, at most
    `start_timeout` seconds.
    """
    if host.lstat(f"{order.socket.removesuffix('.qmp')}.pid") is None:
        return None
    name = order.guest.name
    wanted = {device_id(device.address) for device in order.devices}
    deadline = time.monotonic() + order.guest.start_timeout
    while True:
        late = time.monotonic() > deadline
        try:
            seen = _ask(host, name, max(1.0, deadline - time.monotonic()))
            coming = wanted - seen.ids and wanted - seen.ids <= _made(host, name)
        except ConnectionError as error:
            # A monitor that does not listen (yet) refuses as one that has ended.
            ended = host.alive(name) is None
            if ended or late:
                return Silence(str(error), ended)
        except (TimeoutError, ValueError) as error:
            return Silence(str(error), ended=False)
        else:
            if not coming or seen.status != "running" or late:
                return seen
        time.sleep(POLL)


def _ask(host: Host, name: str, timeout: float) -> Seen:
    answer = host.qmp(name, "query-status", timeout=timeout)
    status = answer.get("status") if isinstance(answer, dict) else None
    if not isinstance(status, str):
        raise ValueError(f"query-status was answered by {answer!r}")
    return Seen(status, read_pci(host.qmp(name, "query-pci", timeout=timeout)))


def _made(host: Host, name: str) -> frozenset[str]:
    """The ids of all devices that QEMU was told to make, whether its guest sees them yet or not."""
    answer = host.qmp(name, "qom-list", {"path": "/machine/peripheral"}, timeout=10.0)
    entries = answer if isinstance(answer, list) else []
    return frozenset(str(entry.get("name")) for entry in entries if isinstance(entry, dict))


def threads(host: Host, name: str, timeout: float = 10.0) -> Mapping[int, int]:
    """The thread of each vCPU, by its number. Raises as Host.qmp.

    query-cpus-fast came with 2.12; query-cpus, which stops every vCPU for a moment, went with 6.0.
    """
    try:
        answer = host.qmp(name, "query-cpus-fast", timeout=timeout)
        number, thread = "cpu-index", "thread-id"
    except ValueError:
        answer = host.qmp(name, "query-cpus", timeout=timeout)
        number, thread = "CPU", "thread_id"
    if not isinstance(answer, list):
        raise ValueError(f"query-cpus was answered by {answer!r}")
    return {_number(one, number): _number(one, thread) for one in answer}


def read_pci(answer: Json) -> tuple[PciFunction, ...]:
    """The functions in an answer to query-pci, those behind bridges too. Raises ValueError for what is none."""
    if not isinstance(answer, list):
        raise ValueError(f"query-pci was answered by {answer!r}")
    return tuple(function for bus in answer for function in _devices(bus))


def _devices(bus: Json) -> Iterator[PciFunction]:
    found = bus.get("devices", []) if isinstance(bus, dict) else None
    if not isinstance(found, list):
        raise ValueError(f"query-pci names a bus that is none: {bus!r}")
    for one in found:
        if not isinstance(one, dict):
            raise ValueError(f"query-pci names a device that is none: {one!r}")
        ids = one.get("id")
        yield PciFunction(
            str(one.get("qdev_id") or ""),
            *(_number(one, "bus"), _number(one, "slot"), _number(one, "function")),
            vendor=_number(ids, "vendor"),
            device=_number(ids, "device"),
        )
        if (bridge := one.get("pci_bridge")) is not None:
            yield from _devices(bridge)


def _number(value: Json, key: str) -> int:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, int):
        raise ValueError(f"there is no {key} in {value!r}")
    return found


def last_lines(host: Host, path: str) -> tuple[str, ...]:
    """The last lines of the guest's own output."""
    try:
        text = host.read(path).decode(errors="replace")
    except OSError:
        return ()
    return tuple(line for line in text.splitlines() if line.strip())[-LAST_LINES:]


def absent(order: Order, seen: Seen) -> Sequence[str]:
    """The addresses of ordered devices that the guest does not show."""
    return [device.address for device in order.devices if device_id(device.address) not in seen.ids]
