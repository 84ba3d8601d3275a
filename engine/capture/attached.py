"""The disks, mounts, keyboards and network interfaces of a host, each with the PCI function it hangs on."""

from __future__ import annotations

import re

from engine.capture.kernel import names_in, text_of
from engine.hosts.simulated.parts import Disk, Interface, Keyboard, Mount
from steps import keyboards as attached
from steps.base import Host

ADDRESS = re.compile(r"[0-9a-f]{4,5}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
# Mount points that every system has or may have; their names say nothing.
SYSTEM = re.compile(
    r"/|/(boot|boot/efi|efi|home|opt|root|srv|tmp|usr|usr/local|var|var/(cache|lib|log|tmp|lib/libvirt))"
)


def disks(host: Host) -> tuple[Disk, ...]:
    """The block devices that hang on a function or are made of others."""
    found = []
    for name in names_in(host, "/sys/block"):
        base = f"/sys/block/{name}"
        slaves = names_in(host, f"{base}/slaves")
        above = ADDRESS.findall(host.resolve(base))
        if not above and not slaves:
            continue
        parts = tuple(one for one in names_in(host, base) if host.lstat(f"{base}/{one}/partition") is not None)
        sectors = int(text_of(host, f"{base}/size").strip() or 0)
        found.append(Disk(name, above[-1] if above else None, sectors, parts, slaves))
    return tuple(found)


def _plain(host: Host, path: str) -> str:
    """A block device by its kernel name: /dev/mapper/… names volume groups, which are named after hosts."""
    path = path.replace("\\040", " ")
    return host.resolve(path) if path.startswith("/dev/") else path


def mounts(host: Host) -> tuple[Mount, ...]:
    """The mounted file systems that lie on a block device; where people mounted theirs, they named them: numbered."""
    found: list[Mount] = []
    for line in text_of(host, "/proc/mounts").splitlines():
        source, target, kind, *_ = [*line.split(), "", "", ""]
        if (source.startswith("/dev/") or kind == "zfs") and target.startswith("/") and ".." not in target:
            others = sum(one.target.startswith("/mnt/") for one in found)
            shown = target if SYSTEM.fullmatch(target) else f"/mnt/{others + 1}"
            found.append(Mount(_plain(host, source), shown, kind))
    return tuple(found)


def swaps(host: Host) -> tuple[str, ...]:
    """The swap areas in use."""
    return tuple(_plain(host, line.split()[0]) for line in text_of(host, "/proc/swaps").splitlines()[1:])


def interfaces(host: Host) -> tuple[Interface, ...]:
    """The network interfaces of PCI functions, and the bridges."""
    routes = [line.split() for line in text_of(host, "/proc/net/route").splitlines()[1:]]
    default = {words[0] for words in routes if len(words) > 7 and words[1] == words[7] == "00000000"}
    found = []
    for name in names_in(host, "/sys/class/net"):
        base = f"/sys/class/net/{name}"
        above = ADDRESS.findall(host.resolve(base))
        bridge = host.lstat(f"{base}/bridge") is not None
        if above or bridge:
            ports = names_in(host, f"{base}/brif") if bridge else ()
            found.append(Interface(name, above[-1] if above else None, ports, name in default))
    return tuple(found)


def keyboards(host: Host) -> tuple[Keyboard, ...]:
    """The keyboards, numbered: what they call themselves may be a person's name."""
    return tuple(
        Keyboard(f"keyboard {n}", one.above[-1] if one.above else None) for n, one in enumerate(attached.read(host), 1)
    )
