"""The guest's networks on the host: a tap interface in a bridge, both made by ip(8) where they are missing.

Source: Documentation/ABI/testing/sysfs-class-net; IFF_UP is bit 0 of `flags` (include/uapi/linux/if.h); who may attach
to a tap is tun_not_capable() in drivers/net/tun.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from steps.actions import Inverse, Keep, RunCommand
from steps.base import Finding, Host, Severity
from steps.config import Network
from steps.guest.access import Account

NET = "/sys/class/net"


@dataclass(frozen=True, slots=True)
class LinkFact:
    """A network interface. `owner` is the uid that may attach to a tap (-1: whoever may open /dev/net/tun)."""

    name: str
    is_tap: bool
    is_bridge: bool
    is_up: bool
    master: str | None
    owner: int


@dataclass(frozen=True, slots=True)
class NetworkFact:
    """A network of the configuration, and what there is of it: None where there is nothing yet."""

    network: Network
    tap: LinkFact | None
    bridge: LinkFact | None


def look(host: Host, network: Network) -> NetworkFact:
    """What there is of a network."""
    bridge = None if network.bridge is None else _link(host, network.bridge)
    return NetworkFact(network, _link(host, network.tap), bridge)


def _link(host: Host, name: str) -> LinkFact | None:
    base = f"{NET}/{name}"
    if host.lstat(base) is None:
        return None
    try:
        flags = int(_text(host, f"{base}/flags") or "0", 16)
        owner = int(_text(host, f"{base}/owner") or "-1")
    except ValueError:
        flags, owner = 0, -1
    try:
        master = host.readlink(f"{base}/master").rpartition("/")[2]
    except OSError:
        master = None
    is_tap = host.lstat(f"{base}/tun_flags") is not None
    return LinkFact(name, is_tap, host.lstat(f"{base}/bridge") is not None, bool(flags & 1), master, owner)


def _text(host: Host, path: str) -> str:
    try:
        return host.read(path).decode("ascii", errors="replace").strip()
    except OSError:
        return ""


def findings(fact: NetworkFact, account: Account | None, has_ip: bool) -> Iterator[Finding]:
    """What keeps a network from being used or made."""
    network, tap, bridge = fact.network, fact.tap, fact.bridge
    if tap is not None and not tap.is_tap:
        hint = "Name another interface by `tap` in [[guest.networks]]: it is made when it does not exist."
        yield _refusal("tap", f"{network.tap} exists and is no tap interface.", hint, f"{NET}/{network.tap}")
    if tap is not None and account is not None and account.uid != 0 and tap.owner not in {-1, account.uid}:
        message = f"{network.tap} belongs to uid {tap.owner}, and the guest runs as {account.name} ({account.uid})."
        hint = f"Delete it (`ip tuntap del dev {network.tap} mode tap`) to have it made, or name another."
        yield _refusal("tap-owner", message, hint, f"{NET}/{network.tap}/owner")
    if bridge is not None and not bridge.is_bridge:
        message = f"{network.bridge} exists and is no bridge."
        yield _refusal("bridge", message, "Name a bridge, or an interface that does not exist.", f"{NET}/{bridge.name}")
    if tap is not None and network.bridge is not None and tap.master not in {None, network.bridge}:
        hint = f"Run `ip link set dev {network.tap} nomaster`, or name {tap.master} by `bridge`."
        message = f"{network.tap} is in the bridge {tap.master}, not in {network.bridge}."
        yield _refusal("tap-bridge", message, hint, f"{NET}/{network.tap}/master")
    if not has_ip and any(True for _ in actions(fact, "root")):
        message = f"ip(8) is needed to set up {network.tap} and is not installed."
        yield _refusal("ip-missing", message, "Install iproute2.")


def _refusal(code: str, message: str, hint: str, *evidence: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)


def actions(fact: NetworkFact, user: str) -> Iterator[RunCommand]:
    """What is missing, as commands; each takes back just what it did. What is there already is left alone."""
    tap, bridge = fact.network.tap, fact.network.bridge
    if bridge is not None and fact.bridge is None:
        undo = Inverse(("ip", "link", "delete", "dev", bridge, "type", "bridge"))
        yield RunCommand(("ip", "link", "add", "name", bridge, "type", "bridge"), f"the guest's bridge {bridge}", undo)
    if bridge is not None and (fact.bridge is None or not fact.bridge.is_up):
        yield _up(bridge, fact.bridge is None)
    if fact.tap is None:
        undo = Inverse(("ip", "tuntap", "del", "dev", tap, "mode", "tap"))
        add = ("ip", "tuntap", "add", "dev", tap, "mode", "tap", "user", user)
        yield RunCommand(add, f"the guest's network interface on the host, {tap}", undo)
    if bridge is not None and (fact.tap is None or fact.tap.master is None):
        join = ("ip", "link", "set", "dev", tap, "master", bridge)
        leave = ("ip", "link", "set", "dev", tap, "nomaster")
        undone = Keep(f"goes with {tap}") if fact.tap is None else Inverse(leave)
        yield RunCommand(join, f"{tap} into the bridge {bridge}", undone)
    if fact.tap is None or not fact.tap.is_up:
        yield _up(tap, fact.tap is None)


def _up(name: str, made: bool) -> RunCommand:
    undo = Keep(f"goes with {name}") if made else Inverse(("ip", "link", "set", "dev", name, "down"))
    return RunCommand(("ip", "link", "set", "dev", name, "up"), f"{name} in use", undo)
