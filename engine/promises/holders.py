"""Who has the VFIO groups of the configured devices open: a guest that vfiostate did not start keeps them from being
taken away, and an unbind would hang until it ends."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.hosts.base import ChangeableHost
from steps.base import Host
from steps.guest import way
from steps.guest.base import Way

if TYPE_CHECKING:
    from engine.setup import Deed, Setup

NODES = "/dev/vfio"
_GROUP = re.compile(rf"{NODES}/(\d+)")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process with a VFIO group open. `group` is None where only its name is known to us."""

    pid: int
    name: str
    group: int | None

    def __str__(self) -> str:
        node = f", which has {NODES}/{self.group} open" if self.group is not None else ""
        return f"process {self.pid} ({self.name}){node}"


def holders(host: Host, groups: Iterable[int]) -> Iterator[Holder]:
    """Every process that has one of these groups open: proc(5), /proc/PID/fd. One that ends meanwhile has none."""
    wanted = set(groups)
    for pid in host.list("/proc") if wanted else ():
        if not pid.isdecimal():
            continue
        for group in sorted(_open_groups(host, pid) & wanted):
            yield Holder(int(pid), _name(host, pid), group)


def _open_groups(host: Host, pid: str) -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for number in host.list(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                match = _GROUP.fullmatch(host.readlink(f"/proc/{pid}/fd/{number}"))
                found |= {int(match.group(1))} if match else set()
    return found


def _name(host: Host, pid: str) -> str:
    with contextlib.suppress(OSError):
        return host.read(f"/proc/{pid}/comm").decode(errors="replace").strip()
    return "it has ended"


def way_to_run(setup: Setup) -> Way[Any]:
    """The way that the guest of a setup is run. A journal of before there were several says nothing of it."""
    return way(str((setup.config.get("guest") or {}).get("backend", "qemu")))


def guest_process(host: ChangeableHost, setup: Setup) -> int | None:
    """The pid of the guest, None where none is configured or runs. Raises ConnectionError where it cannot be told."""
    guest = setup.config.get("guest")
    return way_to_run(setup).process(host, str(guest["name"])) if guest else None


def strangers(host: ChangeableHost, setup: Setup, groups: Iterable[int]) -> list[Holder]:
    """The holders that vfiostate did not start: any process but our guest, and our guest where no start is standing."""
    guest = setup.config.get("guest")
    name = str(guest["name"]) if guest else ""
    try:
        ours = guest_process(host, setup)
    except ConnectionError:
        # Which of them is our guest cannot be told: whoever asks for the guest itself hears why.
        return []
    known = ours is not None and started_by_us(setup, name, host.boot_id)
    found = {holder.pid: holder for holder in holders(host, groups)}
    if ours is not None and known:
        found.pop(ours, None)
    elif ours is not None:
        found.setdefault(ours, Holder(ours, name, None))
    return list(found.values())


def started_by_us(setup: Setup, name: str, boot: str) -> bool:
    """Whether the last thing that the journal says of a guest in this boot is that it was started."""
    about = [deed for deed in setup.deeds.values() if _guest_of(deed) == name and deed.boot == boot]
    return bool(about) and about[-1].action["type"] in ("start_process", "run_command") and about[-1].standing


def _guest_of(deed: Deed) -> str | None:
    """The guest that a deed starts or stops: a command starts one when its undo shuts one down."""
    undo = deed.action.get("undo")
    if isinstance(undo, Mapping) and undo.get("type") == "shutdown":
        return str(undo["name"])
    name = deed.action.get("name")
    return None if name is None else str(name)
