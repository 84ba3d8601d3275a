"""SR-IOV: virtual functions, which a reboot takes away, and the physical ones that make them.

Sources: Documentation/PCI/pci-iov-howto.rst, and sriov_* in Documentation/ABI/testing/sysfs-bus-pci (sriov_vf_device
since 4.15).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from steps.base import Finding, Host, Severity
from steps.pci import DEVICES, Function, Listed
from steps.reading import names_in, text_of

# Where people have virtual functions made at every boot: udev's rules, systemd-networkd's .link files, units, ifupdown,
# sysfsutils, rc.local, and the parameter max_vfs of older drivers.
_PLACES = (
    "/etc/udev/rules.d",
    "/etc/systemd/network",
    "/etc/systemd/system",
    "/etc/modprobe.d",
    "/etc/network/interfaces.d",
    "/etc/sysfs.d",
)
_FILES = ("/etc/rc.local", "/etc/network/interfaces", "/etc/sysfs.conf")
_MAKES = re.compile(r"^[^#\n]*(sriov_numvfs|SR-IOVVirtualFunctions|\bmax_vfs=)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Physical:
    """A function that can have virtual ones: how many at most and now, which they are, and the id they have (None where
    the kernel does not say)."""

    address: str
    total: int
    now: int
    virtual: tuple[str, ...]
    virtual_id: str | None

    @property
    def attribute(self) -> str:
        """What makes and removes them."""
        return f"{DEVICES}/{self.address}/sriov_numvfs"


@dataclass(frozen=True, slots=True)
class SriovFacts:
    """The physical functions of the host, and the files that speak of making virtual ones at boot."""

    physical: tuple[Physical, ...] = ()
    made_by: tuple[str, ...] = ()


def read(host: Host, listed: Sequence[Listed]) -> SriovFacts:
    """Read it all; the files only where there are such functions."""
    found = tuple(one for function in listed if (one := _physical(host, function)) is not None)
    return SriovFacts(found, makers(host) if found else ())


def _physical(host: Host, function: Listed) -> Physical | None:
    base = f"{DEVICES}/{function.address}"
    total = _number(host, f"{base}/sriov_totalvfs")
    if not total:
        return None
    links = (name for name in names_in(host, base) if re.fullmatch(r"virtfn\d+", name))
    virtual = tuple(
        host.readlink(f"{base}/{name}").rpartition("/")[2] for name in sorted(links, key=lambda name: int(name[6:]))
    )
    device = text_of(host, f"{base}/sriov_vf_device").strip().removeprefix("0x")
    id_ = f"{function.vendor}:{device.lower():0>4}" if re.fullmatch(r"[0-9a-fA-F]{1,4}", device) else None
    return Physical(function.address, total, _number(host, f"{base}/sriov_numvfs"), virtual, id_)


def _number(host: Host, path: str) -> int:
    text = text_of(host, path).strip()
    return int(text) if re.fullmatch(r"\d{1,6}", text) else 0


def makers(host: Host) -> tuple[str, ...]:
    """The files that speak of making virtual functions at boot."""
    paths = [f"{place}/{name}" for place in _PLACES for name in names_in(host, place)]
    return tuple(path for path in (*paths, *_FILES) if _MAKES.search(text_of(host, path)))


def idle_maker(facts: SriovFacts, id_: str) -> Physical | None:
    """The physical function that would have a virtual one of that id and has none now."""
    return next((one for one in facts.physical if one.now == 0 and one.virtual_id == id_.lower()), None)


def gone(address: str, id_: str, physical: Physical) -> Finding:
    """A virtual function that is not there, because nobody has made it in this boot."""
    return Finding(
        "virtual-function-gone",
        Severity.REFUSAL,
        f"{address} [{id_}] is a virtual function of {physical.address}, which has none in this boot: they are made at"
        " run time, and a reboot takes them away.",
        (f"{physical.attribute}: 0 of {physical.total}", f"{DEVICES}/{address} does not exist"),
        f"Make them now (`echo N > {physical.attribute}`), and at every boot by a udev rule or a unit; then run"
        " `vfiostate advance` again.",
    )


def about_virtual(facts: SriovFacts, functions: Sequence[Function]) -> Iterator[Finding]:
    """What has to be known of each virtual function before the reboot."""
    for function in functions:
        if function.physfn is None:
            continue
        attribute = f"{DEVICES}/{function.physfn}/sriov_numvfs"
        number = next((one.now for one in facts.physical if one.address == function.physfn), 0)
        message = f"{function.address} is a virtual function of {function.physfn}"
        evidence = (f"{DEVICES}/{function.address}/physfn: {function.physfn}", f"{attribute}: {number}")
        if facts.made_by:
            where = ", ".join(facts.made_by)
            yield Finding(
                "virtual-function",
                Severity.NOTE,
                f"{message}, and a reboot takes it away; {where} speaks of making virtual functions at boot.",
                evidence,
            )
            continue
        yield Finding(
            "virtual-function",
            Severity.WARNING,
            f"{message}: it is made at run time, so the reboot to come takes it away, and nothing was found that makes"
            " it again.",
            evidence,
            # `add` for a driver that had it in the initramfs, before udev had the rule; `bind` (since 4.14) for others.
            f'Have a udev rule do it: ACTION=="add|bind", SUBSYSTEM=="pci", KERNEL=="{function.physfn}", DRIVER=="?*",'
            f' ATTR{{sriov_numvfs}}="{number or 1}".',
        )


def about_physical(facts: SriovFacts, listed: Sequence[Listed], own: frozenset[str]) -> Iterator[Finding]:
    """Physical functions that are to go although they have virtual ones, which end with their driver."""
    for one in facts.physical:
        if one.address not in own or not one.virtual:
            continue
        there = [function for function in listed if function.address in one.virtual]
        used = [function for function in there if function.driver is not None or function.address in own]
        lines = tuple(
            f"{function.address} [{function.id}]: "
            + ("in the configuration" if function.address in own else f"driver {function.driver or 'none'}")
            for function in there
        )
        yield Finding(
            "physical-function-in-use",
            Severity.REFUSAL if used else Severity.WARNING,
            f"{one.address} has {one.now} virtual functions, which end when its driver lets it go"
            + (f"; {len(used)} of them are in use." if used else "."),
            (f"{one.attribute}: {one.now} of {one.total}", *lines),
            f"Give the virtual functions to guests and leave {one.address} with the host, or end their use and remove"
            f" them first: `echo 0 > {one.attribute}`.",
        )
