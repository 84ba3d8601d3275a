"""ip: links, taps, bridges, addresses and routes, with -j as iproute2 6.1 prints them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from engine.hosts.simulated import net
from engine.hosts.simulated.doubles.base import Double, answer
from engine.hosts.simulated.machine import Machine
from journal.events import Json
from steps.base import Completed


class Refused(Exception):
    """What ip says on standard error before it ends with 1 or 2."""


def ip(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """The objects link, address, route and tuntap; anything else is refused as unknown."""
    flags = [word for word in argv[1:] if word.startswith("-")]
    words = [word for word in argv[1:] if not word.startswith("-")]
    if "-V" in flags:
        return answer(argv, "ip utility, iproute2-6.1.0, libbpf 1.1.0\n")
    short = any(re.fullmatch(r"-j(son)?|-[a-z]*j[a-z]*", flag) for flag in flags)
    what, verb, rest = words[0] if words else "", (words[1] if len(words) > 1 else "show"), words[2:]
    try:
        if what in ("link", "l"):
            found = _link(machine, verb, rest)
        elif what in ("address", "addr", "a"):
            found = _show(machine, rest, addresses=True)
        elif what in ("route", "r"):
            found = _routes(machine)
        elif what in ("tuntap", "tun", "tap"):
            found = _tuntap(machine, verb, rest)
        else:
            raise Refused(f'Object "{what}" is unknown, try "ip help".')
    except Refused as error:
        return answer(argv, stderr=f"{error}\n", status=1 if "Cannot find" in str(error) else 2)
    if found is None:
        return answer(argv)
    return answer(argv, json.dumps(found) + "\n" if short else "".join(_plain(one) for one in found))


def _plain(one: Json) -> str:
    if not isinstance(one, dict):
        return ""
    if "dst" in one:
        return f"{one['dst']} via {one.get('gateway', '0.0.0.0')} dev {one['dev']}\n"
    flags = one["flags"]
    shown = ",".join(str(flag) for flag in flags) if isinstance(flags, list) else ""
    return f"{one['ifindex']}: {one['ifname']}: <{shown}> mtu {one['mtu']} state {one['operstate']}\n"


def _known(machine: Machine, name: str) -> str:
    if not net.exists(machine, name):
        raise Refused(f'Cannot find device "{name}"')
    return name


def _link(machine: Machine, verb: str, words: list[str]) -> list[Json] | None:
    if verb in ("show", "list", "ls", "lst", "sh"):
        return _show(machine, words)
    if verb == "add":
        _add(machine, words)
        return None
    if verb in ("del", "delete"):
        name = _known(machine, _without(words, "dev")[0])
        if net.kind_of(machine, name) is None:
            raise Refused("RTNETLINK answers: Operation not supported")
        net.delete(machine, name)
        return None
    if verb == "set":
        _set(machine, words)
        return None
    raise Refused(f'Command "{verb}" is unknown, try "ip link help".')


def _without(words: list[str], word: str) -> list[str]:
    left = [one for one in words if one != word]
    if not left:
        raise Refused('Not enough information: "dev" argument is required.')
    return left


def _add(machine: Machine, words: list[str]) -> None:
    kind = words[words.index("type") + 1] if "type" in words[:-1] else ""
    left = [one for one in words if one not in ("name", "dev", "type", kind)]
    if not left or kind not in ("bridge", "dummy"):
        raise Refused(f"Error: Unknown device type: {kind}.")
    _new(machine, left[0], kind)


def _new(machine: Machine, name: str, kind: str, owner: int | None = None) -> None:
    if net.exists(machine, name):
        raise Refused("RTNETLINK answers: File exists")
    if not re.fullmatch(r"[^\s/]{1,15}", name):
        raise Refused(f'Error: argument "{name}" is wrong: "name" not a valid ifname')
    net.add(machine, name, kind, owner=owner)


def _set(machine: Machine, words: list[str]) -> None:
    left = _without(words, "dev")
    name = _known(machine, left.pop(0))
    while left:
        word = left.pop(0)
        if word in ("up", "down"):
            net.set_flag(machine, name, net.IFF_UP, word == "up")
        elif word == "nomaster":
            net.set_master(machine, name, None)
        elif word == "master" and left:
            bridge = left.pop(0)
            if not net.exists(machine, bridge):
                raise Refused('Error: argument "' + bridge + '" is wrong: Device does not exist')
            if net.kind_of(machine, bridge) != "bridge":
                raise Refused("RTNETLINK answers: Operation not supported")
            net.set_master(machine, name, bridge)
        elif word == "promisc" and left:
            net.set_flag(machine, name, net.IFF_PROMISC, left.pop(0) == "on")
        elif word in ("mtu", "address", "addr") and left:
            attribute = "mtu" if word == "mtu" else "address"
            machine.put(f"{net.CLASS}/{name}/{attribute}", left.pop(0) + "\n")
        else:
            raise Refused(f'Error: either "dev" is duplicate, or "{word}" is a garbage.')


def _tuntap(machine: Machine, verb: str, words: list[str]) -> list[Json] | None:
    taps = [one for one in machine.names(net.CLASS) if net.kind_of(machine, one) == "tun"]
    if verb in ("show", "list"):
        return [{"ifname": one, "flags": ["tap", "persist"]} for one in taps]
    left = list(words)
    name, owner = "", None
    while left:
        word = left.pop(0)
        if word in ("dev", "name", "mode", "user", "group") and left:
            value = left.pop(0)
            name = value if word in ("dev", "name") else name
            owner = _uid(machine, value) if word == "user" else owner
        elif word not in ("multi_queue", "vnet_hdr", "pi", "one_queue"):
            name = word
    if verb == "add":
        if net.exists(machine, name):
            raise Refused("ioctl(TUNSETIFF): Device or resource busy")
        _new(machine, name, "tun", owner)
    elif name in taps:
        net.delete(machine, name)
    else:
        raise Refused("ioctl(TUNSETIFF): Invalid argument")
    return None


def _uid(machine: Machine, value: str) -> int:
    for line in machine.text("/etc/passwd").splitlines():
        if line.split(":")[0] == value:
            return int(line.split(":")[2])
    if not value.isdecimal():
        raise Refused(f'Error: argument "{value}" is wrong: invalid "user" value')
    return int(value)


def _show(machine: Machine, words: list[str], *, addresses: bool = False) -> list[Json]:
    left = [one for one in words if one not in ("show", "dev", "list")]
    names = [_known(machine, left[0])] if left and left[0] not in ("type", "master", "up") else _by_index(machine)
    if left[:1] == ["type"]:
        names = [one for one in names if net.kind_of(machine, one) == {"tap": "tun"}.get(left[1], left[1])]
    if left[:1] == ["master"]:
        names = [one for one in names if net.master_of(machine, one) == left[1]]
    return [_one(machine, name, addresses) for name in names]


def _by_index(machine: Machine) -> list[str]:
    return sorted(machine.names(net.CLASS), key=lambda one: int(machine.text(f"{net.CLASS}/{one}/ifindex", "0")))


def _one(machine: Machine, name: str, addresses: bool) -> Json:
    base = f"{net.CLASS}/{name}"
    flags = net.flags_of(machine, name)
    loop = machine.text(f"{base}/type").strip() == str(net.LOOPBACK)
    names: list[Json] = [word for bit, word in ((0x2, "BROADCAST"), (0x1000, "MULTICAST")) if flags & bit and not loop]
    names += ["LOOPBACK"] if loop else []
    names += [word for bit, word in ((0x100, "PROMISC"), (0x1, "UP")) if flags & bit]
    found: dict[str, Json] = {
        "ifindex": int(machine.text(f"{base}/ifindex", "0")),
        "ifname": name,
        "flags": names,
        "mtu": int(machine.text(f"{base}/mtu", "1500")),
        "qdisc": "noqueue" if loop else "fq_codel",
        "operstate": machine.text(f"{base}/operstate").strip().upper(),
        "linkmode": "DEFAULT",
        "group": "default",
        "txqlen": 1000,
        "link_type": "loopback" if loop else "ether",
        "address": machine.text(f"{base}/address").strip(),
        "broadcast": "00:00:00:00:00:00" if loop else "ff:ff:ff:ff:ff:ff",
    }
    kind, master = net.kind_of(machine, name), net.master_of(machine, name)
    if kind:
        extra: dict[str, Json] = {"type": "tap"} if kind == "tun" else {}
        found["linkinfo"] = {"info_kind": kind, "info_data": extra}
    if master:
        found["master"] = master
    if addresses:
        found["addr_info"] = _addresses(machine, name)
    return found


def _addresses(machine: Machine, name: str) -> list[Json]:
    routed = any(one.default_route and one.name == name for one in machine.description.interfaces)
    return [{"family": "inet", "local": "192.0.2.2", "prefixlen": 24, "scope": "global"}] if routed else []


def _routes(machine: Machine) -> list[Json]:
    found: list[Json] = []
    for line in machine.text("/proc/net/route").splitlines()[1:]:
        name, destination, *_ = line.split()
        if destination == "00000000":
            found.append({"dst": "default", "gateway": "192.0.2.1", "dev": name, "flags": []})
        else:
            found.append({"dst": "192.0.2.0/24", "dev": name, "scope": "link", "flags": []})
    return found


DOUBLES: dict[str, Double] = {"ip": ip}
